package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
)

// sdkModule is the module that the SDK is part of.
const sdkModule = "github.com/tasker-engine/tasker"

// noVersion is what go.mod requires of a module that a directory stands in for.
const noVersion = "v0.0.0"

// sdkOf finds where a new project takes the SDK from: the checkout that is named, the
// release that this binary is, or the checkout that it was built in or is called from.
// How says which one it was, in words.
func sdkOf(named string) (from scaffold.SDK, how string, err error) {
	if named != "" {
		dir, err := filepath.Abs(named)
		if err == nil && !isCheckout(dir) {
			err = fmt.Errorf("--sdk: %s holds no go.mod of %s", named, sdkModule)
		}
		return scaffold.SDK{Version: noVersion, Replace: dir}, "the SDK is that of " + dir, err
	}
	if v, err := semver.StrictNewVersion(strings.TrimPrefix(buildVersion().Version, "v")); err == nil && v.Prerelease() == "" && v.Metadata() == "" {
		return scaffold.SDK{Version: "v" + v.String()}, "the SDK is v" + v.String() + ", as this tasker", nil
	}
	starts := []string{"."}
	if exe, err := os.Executable(); err == nil {
		starts = []string{filepath.Dir(exe), "."}
	}
	for _, start := range starts {
		if dir := checkoutAbove(start); dir != "" {
			return scaffold.SDK{Version: noVersion, Replace: dir}, "this tasker is no release, so the SDK is that of the checkout " + dir, nil
		}
	}
	return scaffold.SDK{}, "", withHint(
		fmt.Errorf("this tasker is %s and no release, so it is not known which SDK goes with it", buildVersion().Version),
		"name a checkout of "+sdkModule+": --sdk DIR")
}

// checkoutAbove finds the checkout that a directory is in, empty when it is in none.
func checkoutAbove(start string) string {
	dir, err := filepath.Abs(start)
	for err == nil {
		if isCheckout(dir) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// isCheckout reports whether a directory is the root of the SDK's module.
func isCheckout(dir string) bool {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && bytes.HasPrefix(mod, []byte("module "+sdkModule+"\n"))
}

// goVersion is the Go version of new modules: that of the toolchain's release, which is
// at least what the SDK asks for.
func goVersion() string {
	v := strings.TrimPrefix(runtime.Version(), "go")
	major, rest, _ := strings.Cut(v, ".")
	minor, _, _ := strings.Cut(rest, ".")
	if strings.Trim(major+minor, "0123456789") != "" {
		return "1.26.0" // a toolchain from its own repository
	}
	return major + "." + minor + ".0"
}

// tidy completes go.mod and go.sum of a new module. The sums of a checkout that stands in
// for the SDK are a beginning: with them nothing is asked of the network that is known.
func tidy(ctx context.Context, dir string, from scaffold.SDK) error {
	if from.Replace != "" {
		sums, err := os.ReadFile(filepath.Join(from.Replace, "go.sum"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644) //nolint:gosec // as open as its neighbours
		}
		if err != nil {
			return fmt.Errorf("go.sum: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "tidy")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("there is no go command")
	case err != nil:
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	default:
		return nil
	}
}
