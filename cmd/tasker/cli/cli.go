package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// app is one call of the command: its streams, environment and clock.
type app struct {
	stdin  io.Reader
	out    *answer
	stderr io.Writer
	lookup func(name string) (string, bool) // of environment variables
	now    func() time.Time
	home   string // as named by --home, empty when it was not
}

// Run runs the command and returns its exit code. When ctx ends it stops in an orderly
// way; a second interrupt skips the waiting.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// Asking for the signal turns a write to a closed pipe into an error: a host must
	// not die of the `head` that its output went to.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	a := &app{stdin: stdin, out: &answer{w: stdout}, stderr: stderr, lookup: os.LookupEnv, now: time.Now}
	root := a.root() //nolint:contextcheck // commands get their context from cobra
	if v, rest := a.verbOf(root, args); v != nil {
		return a.finish(a.runVerb(ctx, root, v, rest))
	}
	if len(args) == 0 || !builtin(root, args[0]) || args[0] == "help" || strings.HasPrefix(args[0], "__") {
		a.listVerbs(root) // to be shown
	}
	root.SetArgs(args)
	return a.finish(root.ExecuteContext(ctx))
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "tasker",
		Short: "Run workflows of steps in plugin processes",
		Long: `Tasker runs tasks: templates of steps, each carried out by a handler in a plugin
process. What has happened is kept in the home, a directory, and survives the loss
of any process.`,
		Example: `  tasker run order.yaml --input '{"id": 7}'   run one task and wait for its end
  tasker serve                                keep a host running in .tasker
  tasker task list --status error             what has failed`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
		RunE:              a.group,
		Args:              cobra.ArbitraryArgs,
	}
	c.Version = buildVersion().Version
	c.SetVersionTemplate("tasker {{.Version}}\n")
	c.SetIn(a.stdin)
	c.SetOut(a.out)
	c.SetErr(a.stderr)
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageOf(c, err) })
	c.PersistentPreRun = a.noteHome
	c.PersistentFlags().String("home", "", "`DIR` that holds everything (default $TASKER_HOME, else .tasker)")
	c.AddCommand(
		a.initCommand(), a.runCommand(), a.serveCommand(), a.taskCommand(), a.templateCommand(), a.pluginCommand(), a.eventCommand(),
		a.subscriberCommand(), a.storeCommand(), a.configCommand(), a.healthCommand(), a.debugCommand(), a.benchCommand(), a.versionCommand(),
	)
	return c
}

// group is what a command that only has verbs does when called: help, or the name of
// the verb that was probably meant.
func (a *app) group(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		if c.HasParent() {
			c.SetOut(a.stderr)
			_ = c.Help() // to stderr: nowhere to report its failure
			return exit(exitUsage)
		}
		return c.Help()
	}
	var known []string
	for _, sub := range c.Commands() {
		known = append(known, sub.Name())
	}
	return usageOf(c, fmt.Errorf("unknown command %q for %q%s", args[0], c.CommandPath(), didYouMean(args[0], known)))
}

// noun makes a command that only has verbs.
func (a *app) noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, RunE: a.group, Args: cobra.ArbitraryArgs}
	c.AddCommand(verbs...)
	return c
}

// finish reports an error, once, and returns the exit code.
func (a *app) finish(err error) int {
	if err == nil {
		if a.out.err != nil && !a.out.closed() {
			err = fmt.Errorf("write the answer: %w", a.out.err)
		} else {
			return exitDone
		}
	}
	if status, ok := errors.AsType[exitError](err); ok {
		return status.code
	}
	var diagnostics template.Diagnostics
	switch {
	case errors.As(err, &diagnostics):
		a.note("%s", diagnostics.Error()) // "file:line:column: ..." is for editors, so without a prefix
	case errors.Is(err, context.Canceled):
		a.note("tasker: interrupted")
	default:
		a.note("tasker: %s", message(err))
	}
	if hint := hintFor(err); hint != "" {
		a.note("hint: %s", a.remedy(hint))
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// message is an error's text without trailing blanks.
func message(err error) string { return strings.TrimRight(printable(err.Error(), true), "\n ") }

// hintFor returns the remedy of an error: its own, else one for its kind.
func hintFor(err error) string {
	if h, ok := errors.AsType[host.Hinter](err); ok && h.Hint() != "" {
		return h.Hint()
	}
	switch {
	case errors.Is(err, host.ErrNoHost):
		return "start a host: tasker serve"
	case errors.Is(err, task.ErrLocked):
		return "tasker health tells of that host; stop it, or name another home with --home"
	case errors.Is(err, task.ErrAmbiguous):
		return "give more of the id: tasker task list"
	case errors.Is(err, task.ErrNotFound):
		return listHint(err)
	case errors.Is(err, task.ErrKeyConflict):
		return "use another --idempotency-key, or the input that the key was first used with"
	case errors.Is(err, task.ErrTransition):
		return subscriptionHint(err)
	case errors.Is(err, task.ErrStopping):
		return "start a host again: tasker serve"
	default:
		return ""
	}
}

// listHint names the command that lists what was not found.
func listHint(err error) string {
	text := err.Error()
	noun, _, _ := strings.Cut(text, " ")
	switch {
	case strings.Contains(text, "subscription"):
		return "tasker subscriber list"
	case noun == "task", noun == "template", noun == "plugin":
		return "tasker " + noun + " list"
	default:
		return ""
	}
}

// exitError ends the command with a code when everything has been said.
type exitError struct{ code int }

func exit(code int) error { return exitError{code} }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// usageError says that the command was used wrongly.
type usageError struct {
	err  error
	hint string
}

func usageOf(c *cobra.Command, err error) error {
	return usageError{err: err, hint: "see " + c.CommandPath() + " --help"}
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }
func (e usageError) Hint() string  { return e.hint }

// hintedError adds a remedy to an error.
type hintedError struct {
	error

	hint string
}

func withHint(err error, hint string) error { return &hintedError{err, hint} }

func (e *hintedError) Unwrap() error { return e.error }
func (e *hintedError) Hint() string  { return e.hint }

// args checks the number of arguments; most below 0 means no limit.
func args(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		switch {
		case len(given) < least:
			return usageOf(c, fmt.Errorf("an argument is missing: %s", c.UseLine()))
		case most >= 0 && len(given) > most:
			return usageOf(c, fmt.Errorf("unexpected argument %q", given[most]))
		default:
			return nil
		}
	}
}

// answer is stdout. After the first failed write it swallows the rest, so that a reader
// who has seen enough does not disturb the work.
type answer struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (o *answer) Write(p []byte) (int, error) {
	if o.err == nil {
		_, o.err = o.w.Write(p)
	}
	return len(p), nil
}

// closed reports whether the reader has gone away, which is his right.
func (o *answer) closed() bool {
	return errors.Is(o.err, syscall.EPIPE) || errors.Is(o.err, io.ErrClosedPipe) || errors.Is(o.err, fs.ErrClosed)
}

// printf writes to the answer; a failure is kept there.
func (o *answer) printf(format string, args ...any) { _, _ = fmt.Fprintf(o, format, args...) }

// note tells the person at the terminal something beside the answer; nobody is left to
// tell when that fails.
func (a *app) note(format string, args ...any) { _, _ = fmt.Fprintf(a.stderr, format+"\n", args...) }
