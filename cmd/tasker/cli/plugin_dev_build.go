package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// devProject is the source of a plugin, and where its binaries are built.
type devProject struct {
	dir   string
	out   string // a temporary directory
	debug bool   // build for a debugger
	node  bool   // it is in TypeScript, not in Go
	sum   [sha256.Size]byte
	last  build
}

// build is a binary of the plugin.
type build struct {
	path          string
	name, version string
}

// openProject checks that a directory holds the source of a program in Go or TypeScript.
func openProject(dir string, debug bool) (*devProject, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*.go"))
	node := false
	if err != nil || len(found) == 0 {
		if _, err := os.Stat(filepath.Join(dir, "package.json")); err != nil {
			return nil, withHint(fmt.Errorf("%s holds no Go program and no package.json", dir), "begin one: tasker plugin new NAME")
		}
		node = true
	}
	out, err := os.MkdirTemp("", "tasker-dev-")
	if err != nil {
		return nil, fmt.Errorf("dev: %w", err)
	}
	return &devProject{dir: dir, out: out, debug: debug, node: node}, nil
}

func (p *devProject) close() error { return os.RemoveAll(p.out) }

// build compiles the plugin and asks the binary what it is called. A binary of its own
// stays for each build that differs, so that a process keeps the one that it was started
// from.
func (p *devProject) build(ctx context.Context) (build, error) {
	raw := filepath.Join(p.out, "new"+executableSuffix())
	compile := p.compileGo
	if p.node {
		compile = p.compileNode
	}
	if err := compile(ctx, raw); err != nil {
		return build{}, err
	}
	data, err := os.ReadFile(raw)
	if err != nil {
		return build{}, fmt.Errorf("dev: %w", err)
	}
	sum := sha256.Sum256(data)
	if p.last.path != "" && sum == p.sum {
		return p.last, nil
	}
	info := describe(ctx, raw, host.Options{})
	if info.State == task.PluginRefused {
		return build{}, errors.New(info.Cause)
	}
	dir := filepath.Join(p.out, hex.EncodeToString(sum[:4]))
	b := build{path: filepath.Join(dir, pluginPrefix+info.Name+executableSuffix()), name: info.Name, version: info.Version}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Rename(raw, b.path)); err != nil { //nolint:gosec // the manifest's name was checked
		return build{}, fmt.Errorf("dev: %w", err)
	}
	p.sum, p.last = sum, b
	return b, nil
}

func (p *devProject) compileGo(ctx context.Context, out string) error {
	arguments := []string{"build", "-o", out}
	if p.debug {
		arguments = append(arguments, "-gcflags", "all=-N -l")
	}
	cmd := exec.CommandContext(ctx, "go", append(arguments, ".")...)
	cmd.Dir = p.dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return p.explain(ctx, text, err)
	}
	return nil
}

func executableSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// explain shows what the Go compiler says.
func (p *devProject) explain(ctx context.Context, text []byte, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return withHint(errors.New("there is no go command"), "install Go: https://go.dev/dl")
	}
	return p.findings(text, regexp.MustCompile(`^(.+\.go):(\d+):(\d+): (.+)$`))
}

// findings shows what a compiler says, each place with its line of source. The pattern has
// file, line, column and message.
func (p *devProject) findings(text []byte, pattern *regexp.Regexp) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s does not build", p.dir)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		m := pattern.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "# "): // names the package
		case m == nil:
			b.WriteString("\n" + line)
		default:
			path := filepath.Join(p.dir, m[1])
			if filepath.IsAbs(m[1]) {
				path = m[1]
			}
			fmt.Fprintf(&b, "\n%s:%s:%s: %s%s", path, m[2], m[3], m[4], excerpt(path, m[2], m[3]))
		}
	}
	return errors.New(b.String())
}

// excerpt is a line of a file with a mark below a column, empty when there is none.
func excerpt(path, line, column string) string {
	n, _ := strconv.Atoi(line)
	at, _ := strconv.Atoi(column) // in bytes, from 1
	src, err := os.ReadFile(path)
	lines := bytes.Split(src, []byte("\n"))
	if err != nil || n < 1 || n > len(lines) || at < 1 || at > len(lines[n-1])+1 {
		return ""
	}
	text := string(lines[n-1])
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, text[:at-1])
	return fmt.Sprintf("\n%5d | %s\n      | %s^", n, text, indent)
}
