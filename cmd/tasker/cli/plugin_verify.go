package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// verifyFlags are the flags of `plugin verify`.
type verifyFlags struct {
	only     []string
	list     bool
	fixtures string
	config   string
	patience time.Duration
	json     *bool
}

func (a *app) pluginVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "verify PROGRAM [ARGUMENT...]",
		Args: func(c *cobra.Command, given []string) error {
			if list, err := c.Flags().GetBool("list"); err != nil || list {
				return args(0, 0)(c, given)
			}
			return args(1, -1)(c, given)
		},
		Short: "Check that a plugin, in any language, keeps the wire",
		Long: `Check that a plugin, in any language, keeps the wire: the handshake, mutual TLS, the
manifest, configuration, attempts, cancels, deadlines, events, signals, drain, the death
of the host, and what it prints. docs/plugin-wire.md has the rules; each check names the
chapter of its own.

The plugin is started many times. Its handlers are called with examples of their inputs,
taken from the schemas, and its subscriptions get the examples of the catalog, so it does
what it does: check plugins where that does no harm. A file of fixtures says what to call
handlers with, and names those that checks need and that cannot be guessed:

  config: {greeting: Hello}         # of the plugin; --config wins
  bad_configs: [{greeting: 7}]      # must be refused, too
  handlers:
    greet: {input: {name: Ada}, expected: {text: "Hello, Ada"}}
    wipe: {skip: it deletes things}
  subscriptions:
    audit: {config: {file: audit.log}}   # of a binding; or skip: why
  roles:
    slow: {handler: wait, config: {for: 1h}}   # goes on until it is cancelled
    panic: {handler: boom}                     # panics, or throws
    flood: {handler: shout}                    # floods standard error
    large: {handler: dump}                     # returns 4 to 16 MiB

What a plugin does not offer is skipped, with the reason. --list lists the checks.

--json prints {"command", "plugin", "version", "sdk", "passed", "failed", "skipped",
"seconds", "checks": [{"id", "title", "rule", "doc", "result", "reason", "problems",
"seen", "seconds"}]}; with --list the checks alone. result is pass, fail or skip.

The exit code is 1 when a check fails.`,
		Example: `  tasker plugin verify bin/plugins/tasker-plugin-mock --fixtures plugins/mock/verify.yaml
  tasker plugin verify ./tasker-plugin-greeter --only work --only life.drain
  tasker plugin verify node dist/main.js --config '{"greeting": "Hello"}' --json`,
	}
	f := c.Flags()
	flags := verifyFlags{json: jsonFlag(c)}
	f.StringArrayVar(&flags.only, "only", nil, "`CHECK` or group to run (may be repeated)")
	f.BoolVar(&flags.list, "list", false, "list the checks and run none")
	f.StringVar(&flags.fixtures, "fixtures", "", "YAML `FILE` that says what handlers are called with")
	f.StringVar(&flags.config, "config", "", "configuration of the plugin, `JSON`")
	f.DurationVar(&flags.patience, "patience", 10*time.Second, "how long the plugin has for whatever it must do")
	c.RunE = func(c *cobra.Command, given []string) error {
		if flags.list {
			return a.listChecks(*flags.json)
		}
		return a.verify(c, flags, given)
	}
	return c
}

// listChecks prints what would be checked.
func (a *app) listChecks(asJSON bool) error {
	checks := host.VerifyChecks()
	if asJSON {
		return a.printJSON(checks)
	}
	for _, c := range checks {
		a.out.printf("%-28s %s\n", c.ID, c.Title)
	}
	return nil
}

func (a *app) verify(c *cobra.Command, flags verifyFlags, given []string) error {
	opts, err := flags.options(given)
	if err != nil {
		return usageOf(c, err)
	}
	if !*flags.json {
		opts.Progress = a.verifyProgress
	}
	report, err := host.VerifyPlugin(c.Context(), opts)
	if errors.Is(err, host.ErrVerifyUsage) {
		return usageOf(c, err)
	}
	if err != nil {
		return err
	}
	if *flags.json {
		err = a.printJSON(report)
	} else {
		a.printConformance(report)
	}
	if err == nil && report.Failed > 0 {
		return exit(exitFailed)
	}
	return err
}

// options makes the options of a run.
func (f *verifyFlags) options(given []string) (host.VerifyOptions, error) {
	opts := host.VerifyOptions{Command: given, Only: f.only, Patience: f.patience}
	if len(given) == 0 {
		return opts, errors.New("an argument is missing: the plugin's program")
	}
	program, err := exec.LookPath(given[0])
	if err != nil {
		return opts, err
	}
	if program, err = filepath.Abs(program); err != nil { // it runs in a directory of its own
		return opts, err
	}
	opts.Command = append([]string{program}, given[1:]...)
	for i, arg := range opts.Command[1:] { // a script, as seen from here
		if path, err := filepath.Abs(arg); err == nil && fileExists(path) {
			opts.Command[i+1] = path
		}
	}
	if f.config != "" {
		if !json.Valid([]byte(f.config)) {
			return opts, fmt.Errorf("--config: no valid JSON: %s", f.config)
		}
		opts.Config = []byte(f.config)
	}
	if f.fixtures == "" {
		return opts, nil
	}
	doc, err := os.ReadFile(f.fixtures)
	if err != nil {
		return opts, fmt.Errorf("--fixtures: %w", err)
	}
	if opts.Fixtures, err = host.ParseVerifyFixtures(doc); err != nil {
		return opts, fmt.Errorf("--fixtures: %s: %w", f.fixtures, err)
	}
	return opts, nil
}

func fileExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// verifyProgress tells of each check that fails as soon as it has, and counts.
func (a *app) verifyProgress(done, of int, o host.VerifyOutcome) {
	switch {
	case isTerminal(a.stderr):
		_, _ = fmt.Fprintf(a.stderr, "\r\x1b[K%d/%d %s", done, of, o.ID) // nowhere to report its failure
		if done == of {
			_, _ = fmt.Fprint(a.stderr, "\r\x1b[K")
		}
	case o.Result == host.VerifyFail:
		a.note("%d/%d %s fails", done, of, o.ID)
	}
}

// printConformance prints a report for people.
func (a *app) printConformance(r *host.VerifyReport) {
	name := strings.TrimSpace(r.Plugin + " " + r.Version)
	if r.SDK != "" {
		name += " (" + r.SDK + ")"
	}
	if name == "" {
		name = filepath.Base(r.Command[0])
	}
	a.out.printf("%s\n", oneLine(name))
	group, reason := "", ""
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		if o.Group() != group {
			group = o.Group()
			a.out.printf("\n")
		}
		a.printCheck(o, o.Reason != reason)
		reason = o.Reason
	}
	a.out.printf("\n%d passed, %d failed, %d skipped in %s\n", r.Passed, r.Failed, r.Skipped, seconds(time.Duration(r.Seconds*float64(time.Second))))
}

// printCheck prints one check; a reason that the line above gave is left out.
func (a *app) printCheck(o *host.VerifyOutcome, why bool) {
	word := string(o.Result)
	if o.Result == host.VerifyFail {
		word = "FAIL"
	}
	a.out.printf("%-4s  %-28s %s\n", word, o.ID, o.Title)
	const indent = "      "
	if why && o.Reason != "" {
		a.out.printf("%s%s\n", indent, oneLine(o.Reason))
	}
	if o.Result != host.VerifyFail {
		return
	}
	for _, p := range o.Problems {
		a.out.printf("%s- %s\n", indent, oneLine(p))
	}
	a.out.printf("%srule: %s\n%ssee %s\n", indent, o.Rule, indent, o.Doc)
}
