package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
)

// vendorDir is where a project in TypeScript keeps a package of the SDK.
const vendorDir = "vendor"

// writeNodePlugin writes a project in TypeScript and installs its packages.
func (a *app) writeNodePlugin(ctx context.Context, n *newPlugin, p scaffold.Plugin, how string) (scaffold.Plugin, error) {
	sdk := "" // the directory of the SDK in a checkout
	p.SDK.Npm = strings.TrimPrefix(p.SDK.Version, "v")
	if p.SDK.Replace != "" {
		sdk = filepath.Join(p.SDK.Replace, "plugin", "sdk", "node")
		name, err := npmPackage(sdk)
		if err != nil {
			return p, err
		}
		p.SDK.Npm = "file:" + vendorDir + "/" + name
	}
	files, err := p.Files()
	if err != nil {
		return p, err
	}
	if err := a.writeProject(n.dir, files, n.force); err != nil {
		return p, err
	}
	a.note("%s", how)
	if sdk != "" {
		vendor, err := filepath.Abs(filepath.Join(n.dir, vendorDir))
		if err != nil {
			return p, err
		}
		if err := vendorSDK(ctx, sdk, vendor); err != nil {
			a.note("the SDK is not packed: %v", err)
			a.note("next: (cd %s && npm ci --ignore-scripts && npm run build && npm pack --ignore-scripts --pack-destination %s)", shellWord(sdk), shellWord(vendor))
			a.note("then: (cd %s && npm install)", shellWord(n.dir))
			return p, nil
		}
		a.out.printf("wrote %s\n", filepath.Join(n.dir, filepath.FromSlash(p.SDK.Vendored())))
	}
	if err := npm(ctx, n.dir, "install"); err != nil {
		a.note("its packages are not installed: %v", err)
		a.note("next: (cd %s && npm install)", shellWord(n.dir))
	}
	return p, nil
}

// npmPackage is the name of the file that npm pack makes of the SDK in a directory.
func npmPackage(sdk string) (string, error) {
	text, err := os.ReadFile(filepath.Join(sdk, "package.json"))
	if err != nil {
		return "", fmt.Errorf("the checkout has no SDK for Node.js: %w", err)
	}
	var is struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &is); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(sdk, "package.json"), err)
	}
	name := strings.NewReplacer("@", "", "/", "-").Replace(is.Name)
	return name + "-" + is.Version + ".tgz", nil
}

// vendorSDK builds the SDK in its directory and packs it into another one.
func vendorSDK(ctx context.Context, sdk, vendor string) error {
	if err := os.MkdirAll(vendor, 0o755); err != nil { //nolint:gosec // a project is as open as its umask
		return fmt.Errorf("sdk: %w", err)
	}
	if _, err := os.Stat(filepath.Join(sdk, "node_modules", "typescript")); err != nil {
		if err := npm(ctx, sdk, "ci", "--ignore-scripts"); err != nil {
			return err
		}
	}
	if err := npm(ctx, sdk, "run", "build"); err != nil {
		return err
	}
	return npm(ctx, sdk, "pack", "--ignore-scripts", "--pack-destination", vendor)
}

// npm runs npm in a directory. The error has what it printed.
func npm(ctx context.Context, dir string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, "npm", append([]string{"--no-update-notifier", "--no-fund", "--no-audit"}, arguments...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("there is no npm command; it comes with Node.js: https://nodejs.org")
	case err != nil:
		return fmt.Errorf("npm %s: %w: %s", arguments[0], err, bytes.TrimSpace(out))
	default:
		return nil
	}
}
