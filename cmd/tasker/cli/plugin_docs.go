package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) pluginDocsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "docs PLUGIN|EXECUTABLE",
		Short: "Print what a plugin declares as Markdown",
		Long: `Print what a plugin declares as Markdown: its handlers with tables of what they take and
result in, its subscriptions, the events that it emits, its configuration, and the
permissions that it asks for.`,
		Example: `  tasker plugin docs bin/tasker-plugin-orders > REFERENCE.md
  tasker plugin docs journal --plugin-dir bin/plugins`,
		Args: args(1, 1),
		ValidArgsFunction: func(c *cobra.Command, done []string, typed string) ([]string, cobra.ShellCompDirective) {
			names, _ := a.completePlugins(c, done, typed)
			return names, cobra.ShellCompDirectiveDefault
		},
	}
	pluginFlags(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		raw, err := a.manifestOf(c, given[0])
		if err != nil {
			return err
		}
		var m manifestDoc
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("manifest of %s: %w", given[0], err)
		}
		a.out.printf("%s", m.markdown())
		return nil
	}
	return c
}

// manifestOf returns the manifest of an executable or of a plugin that is known by name.
func (a *app) manifestOf(c *cobra.Command, which string) (json.RawMessage, error) {
	if info, err := os.Stat(which); err == nil && info.Mode().IsRegular() {
		ctx, cancel := context.WithTimeout(c.Context(), describeTimeout)
		defer cancel()
		p, err := host.DescribePlugin(ctx, which)
		return p.Manifest, err
	}
	cfg, err := a.config(c)
	if err != nil {
		return nil, err
	}
	p, err := a.plugin(c.Context(), cfg, which)
	if err == nil && p.Manifest == nil {
		err = fmt.Errorf("plugin %s is %s and has told nothing of itself: %s", which, p.State, p.Cause)
	}
	if err != nil {
		return nil, err
	}
	return p.Manifest, nil
}

// manifestDoc is what is documented of a manifest.
type manifestDoc struct {
	Name          string            `json:"name"`
	Version       string            `json:"version"`
	Title         string            `json:"title"`
	Description   string            `json:"description"`
	Handlers      []handlerDoc      `json:"handlers"`
	Subscriptions []subscriptionDoc `json:"subscriptions"`
	Emits         []emitDoc         `json:"emits"`
	ConfigSchema  json.RawMessage   `json:"config_schema"`
	Permissions   permissionsDoc    `json:"permissions"`
}

type handlerDoc struct {
	Name         string          `json:"name"`
	Version      uint32          `json:"version"`
	Description  string          `json:"description"`
	Idempotent   string          `json:"idempotent"`
	Timeout      string          `json:"timeout"`
	ErrorCodes   []string        `json:"error_codes"`
	InputSchema  json.RawMessage `json:"input_schema"`
	ConfigSchema json.RawMessage `json:"config_schema"`
	OutputSchema json.RawMessage `json:"output_schema"`
}

type subscriptionDoc struct {
	Name         string          `json:"name"`
	Description  string          `json:"description"`
	Events       []string        `json:"events"`
	Filter       string          `json:"filter"`
	Order        string          `json:"order"`
	Bound        bool            `json:"bound"`
	ConfigSchema json.RawMessage `json:"config_schema"`
}

type emitDoc struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Immediate   bool            `json:"immediate"`
	Schema      json.RawMessage `json:"schema"`
	Example     json.RawMessage `json:"example"`
}

type permissionsDoc struct {
	FSRead     []string `json:"fs_read"`
	FSWrite    []string `json:"fs_write"`
	Network    string   `json:"network"`
	Env        []string `json:"env"`
	Subprocess bool     `json:"subprocess"`
}

// markdown is the document.
func (m *manifestDoc) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s %s\n", m.Name, m.Version)
	paragraph(&b, m.Title)
	paragraph(&b, m.Description)
	for _, h := range m.Handlers {
		h.document(&b, m.Name)
	}
	for _, s := range m.Subscriptions {
		s.document(&b, m.Name)
	}
	for _, e := range m.Emits {
		e.document(&b)
	}
	if fields := schemaFields(m.ConfigSchema); len(fields) > 0 {
		fmt.Fprintf(&b, "\n## Configuration\n\nBelow `plugins.%s.config` in `tasker.yaml`.\n", m.Name)
		fieldTable(&b, fields)
	}
	b.WriteString("\n## Permissions\n")
	if lines := permissionLines(&m.Permissions); len(lines) > 0 {
		b.WriteString("\n- " + strings.Join(lines, "\n- ") + "\n")
	} else {
		paragraph(&b, "None.")
	}
	return b.String()
}

func (h *handlerDoc) document(b *strings.Builder, plugin string) {
	fmt.Fprintf(b, "\n## Handler `%s/%s`", plugin, h.Name)
	if h.Version > 1 {
		fmt.Fprintf(b, ", version %d", h.Version)
	}
	b.WriteString("\n")
	paragraph(b, h.Description)
	if h.Timeout != "" {
		paragraph(b, "An attempt may take "+h.Timeout+".")
	}
	switch h.Idempotent {
	case "yes":
		paragraph(b, "It may be repeated without harm.")
	case "no":
		paragraph(b, "It must not be repeated unseen.")
	}
	for _, part := range []struct {
		title  string
		schema json.RawMessage
	}{{"Input", h.InputSchema}, {"Config", h.ConfigSchema}, {"Result", h.OutputSchema}} {
		if fields := schemaFields(part.schema); len(fields) > 0 {
			b.WriteString("\n### " + part.title + "\n")
			fieldTable(b, fields)
		}
	}
	if len(h.ErrorCodes) > 0 {
		paragraph(b, "Error codes: `"+strings.Join(h.ErrorCodes, "`, `")+"`.")
	}
}

func (s *subscriptionDoc) document(b *strings.Builder, plugin string) {
	fmt.Fprintf(b, "\n## Subscriber `%s/%s`\n", plugin, s.Name)
	paragraph(b, s.Description)
	gets := "Gets `" + strings.Join(s.Events, "`, `") + "`"
	if s.Filter != "" {
		gets += " for which `" + s.Filter + "`"
	}
	if s.Order == "task" {
		gets += ", in the order of each task"
	} else {
		gets += ", in the order of the log"
	}
	if s.Bound {
		gets += ", through bindings only"
	}
	paragraph(b, gets+".")
	if fields := schemaFields(s.ConfigSchema); len(fields) > 0 {
		b.WriteString("\n### Config of a binding\n")
		fieldTable(b, fields)
	}
}

func (e *emitDoc) document(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Event `%s`\n", e.Name)
	paragraph(b, e.Description)
	if e.Immediate {
		paragraph(b, "It is recorded at once, and again by a further attempt.")
	}
	fieldTable(b, schemaFields(e.Schema))
	var example bytes.Buffer
	if len(e.Example) > 0 && json.Indent(&example, e.Example, "", "  ") == nil {
		fmt.Fprintf(b, "\n```json\n%s\n```\n", example.String())
	}
}

func paragraph(b *strings.Builder, text string) {
	if text != "" {
		fmt.Fprintf(b, "\n%s\n", text)
	}
}

// permissionLines says what a plugin asks for, for people.
func permissionLines(p *permissionsDoc) []string {
	var lines []string
	add := func(what string, names []string) {
		if len(names) > 0 {
			lines = append(lines, what+": `"+strings.Join(names, "`, `")+"`")
		}
	}
	add("reads files", p.FSRead)
	add("writes files", p.FSWrite)
	if p.Network != "" && p.Network != "none" {
		lines = append(lines, "network: "+p.Network)
	}
	add("environment", p.Env)
	if p.Subprocess {
		lines = append(lines, "starts processes")
	}
	return lines
}
