package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// verbPrefix begins the name of every program that `tasker NAME` runs.
const verbPrefix = "tasker-"

// verbGroup is the group of verbs among the commands that are shown.
const verbGroup = "verbs"

// What a verb finds in its environment, beside that of its caller.
const (
	verbBinary = "TASKER_BIN"    // the path of tasker
	verbHome   = "TASKER_HOME"   // the home, absolute
	verbSocket = "TASKER_SOCKET" // the control socket; unset when no host runs
	verbToken  = "TASKER_TOKEN"  // what is sent with each call, as the metadata tasker-token
	verbAccess = "TASKER_ACCESS" // read or write: what the token allows
)

// verb is a command that somebody else wrote.
type verb struct {
	name  string
	path  string // of the program
	short string

	plugin string   // the installed plugin that it is part of; empty = none
	first  []string // arguments before those that were typed; of an installed one they are known when it is run
}

// commandConfig is what is set for one verb.
type commandConfig struct{ Access host.Access }

// verbOf returns the verb that a command line asks for, and what it is given. Builtin
// commands come first.
func (a *app) verbOf(root *cobra.Command, args []string) (v *verb, rest []string) {
	for len(args) > 0 {
		if value, ok := strings.CutPrefix(args[0], "--home="); ok {
			a.home, args = value, args[1:]
			continue
		}
		if args[0] == "--home" && len(args) > 1 {
			a.home, args = args[1], args[2:]
			continue
		}
		break
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || builtin(root, args[0]) {
		return nil, nil
	}
	for _, v := range a.verbs() {
		if v.name == args[0] {
			return &v, args[1:]
		}
	}
	return nil, nil
}

// builtin reports whether tasker itself has a command.
func builtin(root *cobra.Command, name string) bool {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return strings.HasPrefix(name, "__") || slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool {
		return c.Name() == name || c.HasAlias(name)
	})
}

// reserved returns the names that commands of plugins cannot have: those of tasker itself.
func reserved(root *cobra.Command) []string {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var names []string
	for _, c := range root.Commands() {
		if c.GroupID != verbGroup {
			names = append(append(names, c.Name()), c.Aliases...)
		}
	}
	return names
}

// verbs lists the verbs by name: those of installed plugins, and the programs in the
// search path. Of several that have a name the first found counts, and one that nobody
// approved is in no other's way.
func (a *app) verbs() []verb {
	found := make(map[string]verb)
	add := func(v verb) {
		if _, known := found[v.name]; !known {
			found[v.name] = v
		}
	}
	approved, others := a.installedVerbs()
	for _, v := range approved {
		add(v)
	}
	path, _ := a.lookup("PATH")
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // whoever owns the working directory is not to choose what runs
		}
		paths, err := filepath.Glob(filepath.Join(dir, verbPrefix+"*"))
		if err != nil {
			continue // a directory whose name is a bad pattern holds none
		}
		for _, p := range paths {
			name := strings.TrimPrefix(filepath.Base(p), verbPrefix)
			if runtime.GOOS == "windows" {
				name = strings.TrimSuffix(name, filepath.Ext(name))
			}
			if !strings.HasPrefix(filepath.Base(p), pluginPrefix) && isProgram(p) {
				add(verb{name: name, path: p, short: "Run " + p})
			}
		}
	}
	for _, v := range others {
		add(v)
	}
	return slices.SortedFunc(maps.Values(found), func(a, b verb) int { return strings.Compare(a.name, b.name) })
}

// installedVerbs lists the verbs of the plugins that are installed in the home: those that
// were approved, and the others. What cannot be read has none; tasker plugin verify-lock
// says why.
func (a *app) installedVerbs() (approved, others []verb) {
	home := a.home
	if home == "" {
		home, _ = a.lookup(verbHome)
	}
	depot, err := host.OpenDepot(cmp.Or(home, defaultHome))
	if err != nil {
		return nil, nil
	}
	commands, err := depot.Commands()
	if err != nil {
		return nil, nil
	}
	for i := range commands {
		c := &commands[i]
		v := verb{name: c.Name, short: oneLine(c.Description), plugin: c.Plugin}
		if c.Approved {
			approved = append(approved, v)
			continue
		}
		v.short = a.remedy("Not approved: tasker plugin approve " + c.Plugin)
		others = append(others, v)
	}
	return approved, others
}

// find finds the program of an installed verb, when all is as the lock approved it.
func (v *verb) find(cfg *config) error {
	if v.plugin == "" {
		return nil
	}
	depot, err := host.OpenDepot(cfg.Home)
	if err != nil {
		return err
	}
	if v.path, v.first, err = depot.Program(v.plugin, v.name); err != nil {
		return fmt.Errorf("tasker %s: %w", v.name, err)
	}
	return nil
}

// isProgram reports whether a file can be executed.
func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && (runtime.GOOS == "windows" || info.Mode().Perm()&0o111 != 0)
}

// listVerbs adds the verbs to the commands that are shown: for help and completion.
func (a *app) listVerbs(root *cobra.Command) {
	for _, v := range a.verbs() {
		if builtin(root, v.name) {
			continue
		}
		if !root.ContainsGroup(verbGroup) {
			root.AddGroup(&cobra.Group{ID: verbGroup, Title: "Commands of others:"})
		}
		root.AddCommand(&cobra.Command{
			Use: v.name, Short: v.short, GroupID: verbGroup, DisableFlagParsing: true,
			Run: func(*cobra.Command, []string) {}, // [Run] has looked for verbs before
		})
	}
}

// runVerb runs a program in the place of a command. It returns the program's exit code.
func (a *app) runVerb(ctx context.Context, root *cobra.Command, v *verb, args []string) error {
	if a.home != "" {
		if err := root.ParseFlags([]string{"--home", a.home}); err != nil {
			return fmt.Errorf("--home: %w", err)
		}
	}
	cfg, err := a.config(root)
	if err != nil {
		return err
	}
	if err := v.find(cfg); err != nil {
		return err
	}
	env, err := a.verbEnv(ctx, cfg, v)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), v.path, append(v.first, args...)...) //nolint:gosec // it is what was asked for
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.out.w, a.stderr
	err = a.runForwarding(cmd)
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.Exited() {
		return exit(failed.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("tasker %s: %w", v.name, err)
	}
	return nil
}

// runForwarding runs a program and passes on the signals that are to end this process. Of a
// terminal's interrupt the program hears by itself: it gets no other one.
func (a *app) runForwarding(cmd *exec.Cmd) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	f, ok := a.stdin.(*os.File)
	atTerminal := ok && isTerminal(f)
	if err := cmd.Start(); err != nil {
		signal.Stop(signals)
		return err
	}
	done := make(chan struct{})
	var forwarding sync.WaitGroup
	forwarding.Go(func() {
		for {
			select {
			case s := <-signals:
				if s != os.Interrupt || !atTerminal {
					_ = cmd.Process.Signal(s) // it may have ended
				}
			case <-done:
				return
			}
		}
	})
	err := cmd.Wait()
	signal.Stop(signals)
	close(done)
	forwarding.Wait()
	return err
}

// verbEnv returns what a verb finds in its environment.
func (a *app) verbEnv(ctx context.Context, cfg *config, v *verb) ([]string, error) {
	home, err := filepath.Abs(cfg.Home)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	own, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("the path of tasker: %w", err)
	}
	access := host.AccessRead
	if c, ok := cfg.Commands[v.name]; ok {
		access = c.Access
	}
	env := []string{verbBinary + "=" + own, verbHome + "=" + home, verbAccess + "=" + string(access)}
	client, err := a.running(ctx, cfg)
	switch {
	case errors.Is(err, host.ErrNoHost):
		return append(env, verbSocket+"=", verbToken+"="), nil
	case err != nil:
		return nil, err
	}
	defer func() { _ = client.Close() }() // nothing was written
	r := client.Record()
	return append(env, verbSocket+"="+r.Socket, verbToken+"="+r.Token(v.name, access)), nil
}

// given returns the socket and the token that this process was given to reach the host
// of a home: it is a part of a verb.
func (a *app) given(home string) (socket, token string, ok bool) {
	of, _ := a.lookup(verbHome)
	socket, _ = a.lookup(verbSocket)
	token, _ = a.lookup(verbToken)
	abs, err := filepath.Abs(home)
	return socket, token, err == nil && abs == of && socket != "" && token != ""
}

// command reads commands.NAME.
func (r *configReader) command(key string, keyNode, value ast.Node) {
	r.mapping(value, key+".", func(path string, keyNode, value ast.Node) {
		if path != key+".access" {
			r.add(keyNode, fmt.Sprintf("unknown key %q", path), "it has the key access alone")
			return
		}
		switch access := host.Access(value.GetToken().Value); access {
		case host.AccessRead, host.AccessWrite:
			r.cfg.Commands[strings.TrimPrefix(key, "commands.")] = commandConfig{Access: access}
		default:
			r.add(value, fmt.Sprintf("%s: %q: want read or write", path, access), "")
		}
	})
}
