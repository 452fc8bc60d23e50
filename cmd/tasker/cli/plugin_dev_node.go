package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// npmGrace is how long npm may take to end when a build is cut short.
const npmGrace = time.Second

// compileNode runs the script "build" of package.json, and copies the executable that it
// makes in the directory bin.
func (p *devProject) compileNode(ctx context.Context, out string) error {
	if _, err := os.Stat(filepath.Join(p.dir, "node_modules")); err != nil {
		return withHint(fmt.Errorf("the packages of %s are not installed", p.dir), "(cd "+shellWord(p.dir)+" && npm install)")
	}
	cmd := exec.CommandContext(ctx, "npm", "--no-update-notifier", "run", "--silent", "build")
	cmd.Dir = p.dir
	if p.debug {
		cmd.Env = append(os.Environ(), "TASKER_PLUGIN_SOURCEMAP=1")
	}
	cmd.WaitDelay = npmGrace // what npm has started may hold its output open
	text, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return withHint(errors.New("there is no npm command"), "install Node.js: https://nodejs.org")
	case err != nil:
		return p.findings(text, regexp.MustCompile(`^(.+\.ts)\((\d+),(\d+)\): (.+)$`))
	}
	made, err := filepath.Glob(filepath.Join(p.dir, "bin", pluginPrefix+"*"))
	if err != nil || len(made) != 1 {
		return fmt.Errorf("npm run build has to make one executable %s; there are %d", filepath.Join(p.dir, "bin", pluginPrefix+"NAME"), len(made))
	}
	data, err := os.ReadFile(made[0])
	if err == nil {
		err = os.WriteFile(out, data, 0o700) //nolint:gosec // it is started
	}
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	return nil
}
