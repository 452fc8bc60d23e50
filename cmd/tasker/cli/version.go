package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker: see `make build`.
var version string

// versionJSON is what `version --json` prints.
type versionJSON struct {
	Version  string  `json:"version"`
	Commit   *string `json:"commit"`
	Date     *string `json:"date"` // of the commit
	Modified bool    `json:"modified"`
	Go       string  `json:"go"`
	Platform string  `json:"platform"`
}

// buildVersion says what this binary is.
func buildVersion() versionJSON {
	v := versionJSON{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if v.Version == "" {
		v.Version = "0.0.0-dev"
		if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
			v.Version = info.Main.Version // installed with `go install`
		}
	}
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = optional(s.Value)
		case "vcs.time":
			v.Date = optional(s.Value)
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Long: `Say which version this is.

--json prints {"version", "commit", "date", "modified", "go", "platform"}.`,
		Example: "  tasker version --json | jq -r .version",
		Args:    args(0, 0),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		v := buildVersion()
		if *asJSON {
			return a.printJSON(v)
		}
		a.out.printf("tasker %s (%s, %s)\n", v.Version, v.Go, v.Platform)
		if v.Commit != nil {
			a.out.printf("commit %s\n", *v.Commit)
		}
		return nil
	}
	return c
}
