package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// packedJSON is what `plugin pack --json` prints.
type packedJSON struct {
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	Package   string   `json:"package"`
	Signature *string  `json:"signature"` // its file
	SHA256    string   `json:"sha256"`
	Bytes     int64    `json:"bytes"`
	Platforms []string `json:"platforms"`
	Files     int      `json:"files"`
}

func (a *app) pluginPackCommand() *cobra.Command {
	var out, key string
	var binaries []string
	c := &cobra.Command{
		Use:   "pack DIR | EXECUTABLE",
		Short: "Make a package of a plugin",
		Long: `Make a package of a plugin, NAME-VERSION.tar.gz: the same files give the same bytes. The
executable for this platform is started and asked for its manifest.

A directory is packed with all that lies in it, but for what begins with a dot. Executables
named tasker-plugin-* are found in directories such as linux-amd64 or bin/linux-amd64, or by
names such as tasker-plugin-greeter-linux-amd64; one without a platform is for this one, a
script for all. What lies in the directory of a platform is installed there only. A file
commands.json, a list of {"name", "description", "executable"}, names verbs that the plugin
adds to the command line. --binary names further executables.

With --sign the package is signed by a key of ` + "`tasker plugin keygen`" + ` or of minisign; the
signature lies beside it, as NAME-VERSION.tar.gz.minisig. The password of an encrypted key is
asked for on a terminal; elsewhere it is TASKER_SIGNING_PASSWORD.

--json prints {"name", "version", "package", "signature", "sha256", "bytes", "platforms",
"files"}.`,
		Example: `  tasker plugin pack bin/plugins/tasker-plugin-greeter
  tasker plugin pack dist --out packages --sign tasker.key
  tasker plugin pack tasker-plugin-greeter --binary linux/arm64=arm64/tasker-plugin-greeter`,
		Args: args(0, 1),
	}
	c.Flags().StringVar(&out, "out", ".", "`DIR` for the package")
	c.Flags().StringVar(&key, "sign", "", "`FILE` with the private key that signs the package")
	c.Flags().StringArrayVar(&binaries, "binary", nil, "`OS/ARCH=FILE`: the executable for a platform (may be repeated)")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		req := host.PackRequest{Out: out, Reserved: reserved(c.Root())}
		if err := packSources(c, &req, given, binaries); err != nil {
			return err
		}
		if key != "" {
			private, err := host.ReadSigningKey(key, func() (string, error) { return a.password("password of " + key + ": ") })
			if err != nil {
				return err
			}
			req.Key = &private
		}
		p, err := host.Pack(c.Context(), &req)
		if err != nil {
			return err
		}
		return a.printPacked(p, *asJSON)
	}
	return c
}

// packSources reads what to pack from the arguments.
func packSources(c *cobra.Command, req *host.PackRequest, given, binaries []string) error {
	req.Binaries = make(map[string]string)
	for _, text := range binaries {
		platform, file, ok := strings.Cut(text, "=")
		if !ok || file == "" {
			return usageOf(c, fmt.Errorf("--binary %s: want OS/ARCH=FILE", text))
		}
		req.Binaries[platform] = file
	}
	for _, source := range given {
		info, err := os.Stat(source)
		switch {
		case err != nil:
			return withHint(fmt.Errorf("pack: %w", err), "name the executable, or a directory with executables: tasker plugin pack --help")
		case info.IsDir():
			req.Dir = source
		default:
			req.Binaries[host.Platform()] = source
		}
	}
	if req.Dir == "" && len(req.Binaries) == 0 {
		return usageOf(c, errors.New("name a directory or an executable"))
	}
	return nil
}

func (a *app) printPacked(p *host.Package, asJSON bool) error {
	if asJSON {
		return a.printJSON(packedJSON{
			Name: p.Manifest.Name, Version: p.Manifest.Version, Package: p.Path, Signature: optional(p.Signature), SHA256: p.SHA256,
			Bytes: p.Size, Platforms: p.Manifest.Platforms(), Files: len(p.Manifest.Files),
		})
	}
	a.out.printf("%s\n", p.Path)
	a.note("%s %s: %s, %s, for %s", p.Manifest.Name, p.Manifest.Version, plural(len(p.Manifest.Files), "file"), size(p.Size), strings.Join(p.Manifest.Platforms(), ", "))
	if len(p.Manifest.Commands) > 0 {
		a.note("commands: tasker %s", strings.Join(commandNames(p.Manifest), ", tasker "))
	}
	if p.Signature != "" {
		a.note("signed by %s: %s", p.Manifest.Signer, p.Signature)
	}
	return nil
}
