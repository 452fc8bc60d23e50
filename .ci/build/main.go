// Command build compiles every binary of the project, or packs release archives of them.
//
// What there is to build is what `go list` finds: cmd/tasker becomes bin/tasker, each main package
// under plugins/ an executable in bin/plugins, each one under examples/ an executable in bin/examples.
// A new plugin or example therefore needs no edit here. Modules of their own are left alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	version := flags.String("version", "0.0.0-dev", "version that the binaries report")
	out := flags.String("out", "bin", "directory to build into")
	goos := flags.String("os", "", "target operating system (default: this one)")
	goarch := flags.String("arch", "", "target architecture (default: this one)")
	release := flags.Bool("release", false, "build as for a release: no cgo, no symbols, no paths of this machine")
	dist := flags.String("dist", "", "pack archives into this directory instead")
	platforms := flags.String("platforms", "", "with -dist: os/arch pairs, separated by spaces")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *dist != "" {
		return packAll(ctx, *dist, strings.Fields(*platforms), *version)
	}
	mains, err := listMains(ctx)
	if err != nil {
		return err
	}
	built, err := target{os: *goos, arch: *goarch, version: *version, release: *release}.build(ctx, mains, *out)
	for _, name := range built {
		fmt.Println(name)
	}
	return err
}

// A binary is one main package and the place its executable takes below the output directory,
// slash-separated and without the extension that some systems want.
type binary struct {
	pkg, out string
}

// listMains finds every main package that is to become a binary.
func listMains(ctx context.Context) ([]binary, error) {
	patterns := []string{"./cmd/..."}
	for _, dir := range []string{"plugins", "examples"} {
		if _, err := os.Stat(dir); err == nil {
			patterns = append(patterns, "./"+dir+"/...")
		}
	}
	args := append([]string{"list", "-f", `{{if eq .Name "main"}}{{.Module.Path}} {{.ImportPath}} {{join .Imports " "}}{{end}}`}, patterns...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	listed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var mains []binary
	for line := range strings.Lines(string(listed)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		module, pkg, imports := fields[0], fields[1], fields[2:]
		plugin := slices.Contains(imports, module+"/plugin/sdk")
		mains = append(mains, binary{pkg: pkg, out: outPath(strings.TrimPrefix(pkg, module+"/"), plugin)})
	}
	if len(mains) == 0 {
		return nil, errors.New("no main packages found: run it at the top of the repository")
	}
	return mains, nil
}

// outPath says where the executable of the main package at dir goes, given relative to the module, and whether it
// is a plugin: whether it imports the SDK.
//
//	cmd/tasker                         tasker
//	plugins/http                       plugins/tasker-plugin-http
//	examples/03-census                 examples/tasker-plugin-census
//	examples/02-orders/shopd           examples/orders-shopd
//	examples/04-subscribers/alerting   examples/subscribers/tasker-plugin-alerting
//
// The plugins of an example that has several are in a directory of their own, so that a host gets all of them and
// no others. A program that an example needs must not look like a plugin to the host that searches the directory.
func outPath(dir string, plugin bool) string {
	parts := strings.Split(dir, "/")
	top, rest := parts[0], parts[1:]
	if top == "cmd" {
		return strings.Join(rest, "-")
	}
	// The number in front of an example orders the examples and names nothing.
	if number, name, ok := strings.Cut(rest[0], "-"); ok && strings.Trim(number, "0123456789") == "" {
		rest[0] = name
	}
	switch {
	case len(rest) == 1:
		return top + "/tasker-plugin-" + rest[0]
	case plugin:
		return top + "/" + rest[0] + "/tasker-plugin-" + strings.Join(rest[1:], "-")
	default:
		return top + "/" + strings.Join(rest, "-")
	}
}

// A target says for which machine and how to build.
type target struct {
	os, arch string // empty means this machine's
	version  string
	release  bool
}

// build compiles the binaries into dir, one after the other, as each uses all processors anyway, and
// returns the paths of those it built.
func (t target) build(ctx context.Context, mains []binary, dir string) ([]string, error) {
	var built []string
	for _, b := range mains {
		out := filepath.Join(dir, filepath.FromSlash(b.out)) + t.extension()
		args := []string{"build", "-o", out, "-ldflags", t.ldflags()}
		if t.release {
			args = append(args, "-trimpath")
		}
		cmd := exec.CommandContext(ctx, "go", append(args, b.pkg)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), t.environ()...)
		if err := cmd.Run(); err != nil {
			return built, fmt.Errorf("%s: %w", b.pkg, err)
		}
		built = append(built, out)
	}
	return built, nil
}

func (t target) ldflags() string {
	flags := "-X github.com/tasker-engine/tasker/cmd/tasker/cli.version=" + t.version
	if t.release {
		flags += " -s -w" // no symbol table, no debug information; stack traces keep their names
	}
	return flags
}

func (t target) environ() []string {
	var env []string
	if t.os != "" {
		env = append(env, "GOOS="+t.os)
	}
	if t.arch != "" {
		env = append(env, "GOARCH="+t.arch)
	}
	if t.release {
		env = append(env, "CGO_ENABLED=0")
	}
	return env
}

func (t target) extension() string {
	system := t.os
	if system == "" {
		system = os.Getenv("GOOS")
	}
	if system == "windows" || system == "" && os.PathSeparator == '\\' {
		return ".exe"
	}
	return ""
}
