package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// eventsDocument is the catalog as a document: fields that all events of a family have
// stand once, at the family.
func eventsDocument() string {
	var b strings.Builder
	b.WriteString(`# Events

This file is written from the catalog in ` + "`plugin/sdk/event`" + ` by ` + "`go test ./cmd/tasker/cli -run TestDocs -update`" + `.
` + "`tasker event list`" + ` and ` + "`tasker event show EVENT`" + ` print the same, with the JSON Schema of each payload.

An event is recorded in the transaction of what it tells of, exactly once. Events about a task are numbered without gaps
from 1 by their ` + "`task_seq`" + `. Times are RFC 3339 in UTC, durations are seconds with three decimals. A payload only ever
grows: readers pass over fields that they do not know. An optional field is absent where it has nothing to say.
The events of the family ` + "`workflow`" + ` are recorded only by a host with the setting ` + "`events.workflow`" + `.

`)
	families := make(map[string][]event.Entry)
	for _, e := range event.Catalog() {
		families[e.Category] = append(families[e.Category], e)
	}
	b.WriteString("| event | fired by | how often |\n|---|---|---|\n")
	for _, family := range event.Families() {
		for i := range families[family] {
			e := &families[family][i]
			fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s |\n", e.Name, strings.ReplaceAll(e.Name, ".", ""), firedBy(e), e.Frequency)
		}
	}
	for _, family := range event.Families() {
		familyDocument(&b, family, families[family])
	}
	return b.String()
}

func familyDocument(b *strings.Builder, family string, entries []event.Entry) {
	var shared []event.Field
	for _, f := range entries[0].Fields() {
		if !slices.ContainsFunc(entries, func(e event.Entry) bool { return !slices.Contains(e.Fields(), f) }) {
			shared = append(shared, f)
		}
	}
	fmt.Fprintf(b, "\n## The family %s\n\nAll its events have these fields:\n\n", family)
	fieldsDocument(b, shared)
	for i := range entries {
		e := &entries[i]
		fmt.Fprintf(b, "\n### %s\n\n%s\n\nFired by the %s, %s; since %s.\n", e.Name, e.Description, firedBy(e), e.Frequency, e.Since)
		if e.DeprecatedBy != nil {
			fmt.Fprintf(b, "Deprecated: use `%s`.\n", *e.DeprecatedBy)
		}
		own := slices.DeleteFunc(e.Fields(), func(f event.Field) bool { return slices.Contains(shared, f) })
		if len(own) > 0 {
			b.WriteString("\n")
			fieldsDocument(b, own)
		}
		var example bytes.Buffer
		_ = json.Indent(&example, e.Example, "", "  ") // the catalog's own tests read every example
		fmt.Fprintf(b, "\n```json\n%s\n```\n", &example)
	}
}

func fieldsDocument(b *strings.Builder, fields []event.Field) {
	b.WriteString("| field | type | required | |\n|---|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, required(f), f.Description)
	}
}
