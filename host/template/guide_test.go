package template

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/expr"
	catalog "github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// guideBlocks returns the code blocks of a language in docs/guides/templates.md.
func guideBlocks(t *testing.T, language string) []string {
	t.Helper()
	var blocks []string
	fence := regexp.MustCompile("(?s)```" + language + "\n(.*?)```")
	for _, m := range fence.FindAllStringSubmatch(string(readFile(t, "../../docs/guides/templates.md")), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("the guide has no %s", language)
	}
	return blocks
}

// TestGuide: the templates of the guide are right, each further block beside the steps
// of the first, and what it says of a mistake is what is said.
func TestGuide(t *testing.T) {
	blocks := guideBlocks(t, "yaml")
	head, _, _ := strings.Cut(blocks[0], "environments:")
	for i, block := range blocks {
		if i > 0 {
			block = head + block
		}
		for _, environment := range []string{"", "test"} {
			tmpl, err := Parse("order.yaml", []byte(block), Options{Environment: environment})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(block, "subscriptions: []") && (len(tmpl.Subscriptions) == 0) != (environment == "test") {
				t.Errorf("environment %q: subscriptions %v", environment, tmpl.Subscriptions)
			}
		}
	}
	_, err := Parse("order.yaml", []byte(strings.Replace(blocks[0], "[validate]", "[validat]", 1)), Options{})
	ds, ok := errors.AsType[Diagnostics](err)
	guide := string(readFile(t, "../../docs/guides/templates.md"))
	if !ok || !strings.Contains(guide, "`"+ds[0].Error()+"`") {
		t.Errorf("the guide does not tell %v", err)
	}
	_, err = Parse("order.yaml", []byte(head+strings.Replace(blocks[1], "=input.order_id", "=input.order_ids", 1)), Options{})
	if ds, ok = errors.AsType[Diagnostics](err); !ok || !strings.Contains(guide, "`"+ds[0].Error()+"`") {
		t.Errorf("the guide does not tell %v", err)
	}
	for _, refused := range []string{"concurrency"} {
		if !strings.Contains(guide[strings.Index(guide, "## Not yet"):], "`"+refused+"`") {
			t.Errorf("the guide does not say that %s is refused", refused)
		}
	}
	for _, source := range EventSources() {
		if !strings.Contains(guide, "`"+source+"`") {
			t.Errorf("the guide does not name %s", source)
		}
	}
}

// TestGuideFilters: the filters of the guide compile, and each holds for some event.
func TestGuideFilters(t *testing.T) {
	const at = 1_700_000_000_000_000_000 // 23:13 in Berlin
	event := func(typ, step string, at int64, payload string) *expr.Event {
		raw, err := proto.Marshal(&eventv1.Event{Type: typ, Step: step, At: at, Payload: []byte(payload)})
		if err != nil {
			t.Fatal(err)
		}
		return expr.NewEvent(raw)
	}
	example, ok := catalog.Lookup("task.failed")
	if !ok {
		t.Fatal("no task.failed")
	}
	events := []*expr.Event{
		event("step.failed", "ship", at, `{"final":true,"error_code":"bank_down","error_message":"Timed out","attempt_number":3}`),
		event("step.failed", "pack", at+4*3600e9, `{"final":false,"attempt_number":2,"error_message":"no"}`),
		event("task.failed", "", at, string(example.Example)),
	}
	for source := range strings.Lines(strings.Join(guideBlocks(t, "cel"), "")) {
		f, err := expr.Compile(strings.TrimSpace(source))
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		var held []bool
		for _, e := range events {
			ok, err := f.Match(e)
			if err != nil {
				t.Errorf("%s: %v", source, err)
			}
			held = append(held, ok)
		}
		if !slices.Contains(held, true) || !slices.Contains(held, false) {
			t.Errorf("%s holds for %v, want some and not all", source, held)
		}
	}
}
