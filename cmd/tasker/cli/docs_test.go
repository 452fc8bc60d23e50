package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the generated documents instead of comparing them")

// docs is where the project's documents lie.
const docs = "../../../docs"

// TestDocs: what the documents say of commands and settings is what the commands say.
func TestDocs(t *testing.T) {
	for _, tt := range []struct {
		file string
		make func() string
	}{
		{"cli.md", cliDocument},
		{"configuration.md", configurationDocument},
		{"events.md", eventsDocument},
	} {
		t.Run(tt.file, func(t *testing.T) {
			path := filepath.Join(docs, tt.file)
			want := tt.make()
			if *update {
				if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("%s is stale; write it with: go test ./cmd/tasker/cli -run TestDocs -update\n(-want +got)\n%s", path, diff)
			}
		})
	}
}

// everyCommand calls f for all visible commands, depth first.
func everyCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			everyCommand(sub, f)
		}
	}
}

func cliDocument() string {
	var b strings.Builder
	b.WriteString(`# The command line

This file is written from the commands' own help by ` + "`go test ./cmd/tasker/cli -run TestDocs -update`" + `.

stdout carries the answer and stderr everything else. Every reading command has ` + "`--json`" + `: its keys are snake_case and only
ever added to, its times RFC 3339 in UTC with nine fractional digits (inside an event's payload: as many as it takes), and
what is not set is null. The exit code is 0 when done, 1 when failed, 2 when used wrongly. An error is told once; what to do about it stands on the line after it.

` + "`tasker completion bash|zsh|fish|powershell`" + ` prints a completion script, which also proposes templates, tasks, plugins, subscribers and
events.
`)
	root := (&app{out: &answer{w: &bytes.Buffer{}}, stderr: &bytes.Buffer{}}).root()
	everyCommand(root, func(c *cobra.Command) {
		if !c.HasParent() || (c.HasSubCommands() && c.Example == "") {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s\n\n%s\n```\n", c.CommandPath(), c.UseLine(), c.Long)
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindent(c.Example))
		}
		if usages := c.LocalFlags().FlagUsages(); usages != "" {
			fmt.Fprintf(&b, "\n```text\n%s```\n", usages)
		}
	})
	return b.String()
}

func unindent(s string) string {
	return strings.TrimPrefix(strings.ReplaceAll(s, "\n  ", "\n"), "  ")
}

func configurationDocument() string {
	var b strings.Builder
	b.WriteString(`# Configuration

The tables are written from the code by ` + "`go test ./cmd/tasker/cli -run TestDocs -update`" + `.

Nothing has to be set. What is set comes, in this order, from a flag, from an environment variable, from the file
` + "`tasker.yaml`" + ` in the home, or it is the default; ` + "`tasker config show`" + ` prints every value with its origin. A key that
is not known is refused with its place in the file, and so is a value that cannot be right. Relative directories in the
file are relative to the home; lists in variables are separated as in PATH.

| key | variable | flag | default | meaning |
|---|---|---|---|---|
`)
	cfg := defaults()
	cfg.Home = defaultHome
	for _, s := range settings() {
		flagName := "-"
		if s.flag != "" {
			flagName = "`--" + s.flag + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | `%s` | %s |\n", s.key, s.variable(), flagName, showValue(s.show(cfg)), s.help)
	}
	b.WriteString(`
A list ` + "`subscriptions`" + ` says what subscribers get of the events of all tasks, in the file only. What a template says of
its own tasks comes first; of several entries for one subscriber, an event takes the first that lets it through, and when none
does, it does not reach the subscriber. An entry can only narrow what the plugin declares. Each has:

| key | meaning |
|---|---|
`)
	for _, k := range subscriptionKeys() {
		fmt.Fprintf(&b, "| `subscriptions.%s` | %s |\n", k.key, k.help)
	}
	b.WriteString(`
A list ` + "`retention.rules`" + `, in the file only, says otherwise for some templates; of several that fit, what a later one says
counts. A template's own ` + "`retention`" + ` can only narrow all of this. Each has:

| key | meaning |
|---|---|
| ` + "`retention.rules.template`" + ` | Whose tasks it is about: ` + "`namespace/name`, or `namespace/*`" + ` for all of a namespace. |
| ` + "`retention.rules.complete`" + ` | As ` + "`retention.complete`" + `. |
| ` + "`retention.rules.error`" + ` | As ` + "`retention.error`" + `. |
| ` + "`retention.rules.cancelled`" + ` | As ` + "`retention.cancelled`" + `. |
| ` + "`retention.rules.resolved_manually`" + ` | As ` + "`retention.resolved_manually`" + `. |
| ` + "`retention.rules.last`" + ` | As ` + "`retention.last`" + `. |
`)
	b.WriteString(`
A program ` + "`tasker-NAME` that `tasker NAME`" + ` runs, below ` + "`commands`" + ` and by its name, in the file only:

| key | meaning |
|---|---|
| ` + "`commands.access`" + ` | What it may ask of the host: ` + "`read`, the default, or `write`" + `. |
`)
	b.WriteString(`
For each plugin, below ` + "`plugins.NAME`" + ` and in the file only:

| key | meaning |
|---|---|
`)
	for _, k := range pluginKeys() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", k.key, k.help)
	}
	b.WriteString(`
## Example

` + "```yaml" + `
# /var/lib/tasker/tasker.yaml
plugin_dirs: [/usr/lib/tasker/plugins]
template_dirs: [templates]
environment: production
health_addr: 127.0.0.1:7701
grace: 2m
events:
  keep: 2160h
retention:
  complete: 168h
  export: /var/backups/tasker
  rules:
    - {template: audit/*, complete: forever}
subscriptions:
  - subscriber: mail/failures
    events: [task.failed]
    filter: event.namespace == "shop"
    config: {to: [ops@example.com]}
plugins:
  exec:
    env: [REPORT_TOKEN]
    start_timeout: 1m
` + "```" + `

A template may set more for its own steps: attempts, backoff, time limits. Step settings win over template defaults, these
over what the plugin's manifest says, and that over the host.
`)
	return b.String()
}

// TestHelp: each command says what it is for, how it is used, and documents its flags.
func TestHelp(t *testing.T) {
	root := (&app{out: &answer{w: &bytes.Buffer{}}, stderr: &bytes.Buffer{}}).root()
	everyCommand(root, func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			if c.Short == "" {
				t.Error("no short description")
			}
			if c.HasSubCommands() {
				return
			}
			if c.Long == "" || c.Example == "" {
				t.Error("no long description or no example")
			}
			if c.Args == nil {
				t.Error("the number of arguments is not checked")
			}
			for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
				if len(line) > 100 {
					t.Errorf("a line of %d characters: %s", len(line), line)
				}
			}
			if c.Flags().Lookup("json") != nil && !strings.Contains(c.Long, "json prints") {
				t.Error("--json is not documented")
			}
			c.Flags().VisitAll(func(f *pflag.Flag) {
				if f.Usage == "" {
					t.Errorf("--%s has no description", f.Name)
				}
			})
		})
	})
}

// subscriptionKeys are the keys of an entry of subscriptions, with their help.
func subscriptionKeys() []struct{ key, help string } {
	return []struct{ key, help string }{
		{"subscriber", "Whom it is about: `plugin/name`, or `plugin` when the plugin has one subscription."},
		{"template", "Only events of tasks of this template: `[namespace/]name[@version]`. Default: all events."},
		{"events", "The events that reach it: names such as `step.failed` and wildcards such as `task.*`. Default: all that it declares."},
		{"filter", "A condition (CEL) on the event, as in a [template](guides/templates.md#subscriptions). Default: none."},
		{"config", "What the subscriber gets with these events, as its manifest describes it."},
		{"enabled", "`false`: nothing reaches it through this entry. Default: `true`."},
	}
}
