package cli

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/cmd/tasker/cli/timeline"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// traceTree is a trace as it is drawn.
type traceTree struct {
	id       string
	roots    []*traceNode
	from, to time.Time
	open     bool
}

// traceNode is a span with those below it, by time.
type traceNode struct {
	*tracepb.Span

	attributes map[string]string
	from, to   time.Time
	children   []*traceNode
	critical   bool // a step that the task waited for last
}

// readTrace makes a tree of spans. Those whose parents are not among them are at its top.
func readTrace(req *coltracepb.ExportTraceServiceRequest) *traceTree {
	t := &traceTree{}
	byID := make(map[string]*traceNode)
	var all []*traceNode
	for _, rs := range req.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				n := newTraceNode(s)
				all = append(all, n)
				byID[string(s.GetSpanId())] = n
				t.id = hex.EncodeToString(s.GetTraceId())
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *traceNode) int { return cmp.Or(a.from.Compare(b.from), b.to.Compare(a.to)) })
	for _, n := range all {
		if t.from.IsZero() || n.from.Before(t.from) {
			t.from = n.from
		}
		if n.to.After(t.to) {
			t.to = n.to
		}
		t.open = t.open || n.isOpen()
		if parent := byID[string(n.GetParentSpanId())]; parent != nil && parent != n {
			parent.children = append(parent.children, n)
		} else {
			t.roots = append(t.roots, n)
		}
	}
	t.markCritical(all, byID)
	return t
}

func newTraceNode(s *tracepb.Span) *traceNode {
	at := func(nanos uint64) time.Time { return time.Unix(0, int64(min(nanos, 1<<62))).UTC() }
	n := &traceNode{
		Span: s, attributes: make(map[string]string, len(s.GetAttributes())), from: at(s.GetStartTimeUnixNano()), to: at(s.GetEndTimeUnixNano()),
	}
	for _, kv := range s.GetAttributes() {
		n.attributes[kv.GetKey()] = shownValue(kv.GetValue())
	}
	return n
}

func shownValue(v *commonpb.AnyValue) string {
	switch k := v.GetValue().(type) {
	case *commonpb.AnyValue_IntValue:
		return fmt.Sprint(k.IntValue)
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(k.BoolValue)
	default:
		return v.GetStringValue()
	}
}

// markCritical marks the step that ended last, the dependency that it waited for last, and
// so on to the first one.
func (t *traceTree) markCritical(all []*traceNode, byID map[string]*traceNode) {
	var last *traceNode
	for _, n := range all {
		if n.GetName() == trace.SpanStep && (last == nil || n.to.After(last.to)) {
			last = n
		}
	}
	for last != nil && !last.critical {
		last.critical = true
		var before *traceNode
		for _, l := range last.GetLinks() {
			if d := byID[string(l.GetSpanId())]; d != nil && d.GetName() == trace.SpanStep && (before == nil || d.to.After(before.to)) {
				before = d
			}
		}
		last = before
	}
}

// title says what the trace is about.
func (t *traceTree) title() string {
	text := shortly(t.to.Sub(t.from))
	if t.open {
		text += " so far"
	}
	if len(t.roots) > 0 {
		a := t.roots[0].attributes
		if status := a[trace.KeyTaskStatus]; status != "" { // it has ended
			text = status + "  " + text
		}
		text = fmt.Sprintf("%s/%s@%s  %s", a[trace.KeyTaskNamespace], a[trace.KeyTaskTemplate], a[trace.KeyTaskVersion], text)
	}
	return text
}

func (n *traceNode) isOpen() bool { return n.attributes[trace.KeyOpen] == "true" }

func (n *traceNode) failed() bool {
	return n.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR
}

// label is what a span is called: a task by its template, a step by its name, an attempt by
// its number, an HTTP call by what it calls.
func (n *traceNode) label() string {
	a := n.attributes
	switch n.GetName() {
	case trace.SpanTask:
		return cmp.Or(a[trace.KeyTaskTemplate], n.GetName())
	case trace.SpanStep:
		name := cmp.Or(a[trace.KeyStepName], n.GetName())
		if n.critical {
			name += " *"
		}
		return name
	case trace.SpanHandler:
		return "attempt " + a[trace.KeyAttempt]
	}
	if method := a["http.request.method"]; method != "" {
		where := a["url.full"]
		if u, err := url.Parse(where); err == nil && u.Path != "" {
			where = u.Path
		}
		return method + " " + cmp.Or(where, a["server.address"])
	}
	return n.GetName()
}

// tail says how long a span took and what came of it.
func (n *traceNode) tail() string {
	a := n.attributes
	parts := []string{shortly(n.to.Sub(n.from))}
	if code := a["http.response.status_code"]; code != "" {
		parts = append(parts, code)
	}
	if status := cmp.Or(a[trace.KeyTaskStatus], a[trace.KeyStepStatus]); status != "" {
		parts = append(parts, status)
	}
	if n.failed() && n.GetName() != trace.SpanTask {
		if why := cmp.Or(a[trace.KeyErrorCode], a[trace.KeyErrorType], "error"); !slices.Contains(parts, why) {
			parts = append(parts, why)
		}
	}
	if n.isOpen() {
		parts = append(parts, "goes on")
	}
	return strings.Join(parts, " ")
}

// bars are what is drawn of a span: of a step its attempts, and between them that it waits.
func (n *traceNode) bars() []timeline.Bar {
	if n.GetName() != trace.SpanStep {
		return []timeline.Bar{n.bar(timeline.Running)}
	}
	bars := []timeline.Bar{n.bar(timeline.Waiting)}
	for _, c := range n.children {
		if c.GetName() == trace.SpanHandler {
			bars = append(bars, c.bar(timeline.Running))
		}
	}
	return bars
}

func (n *traceNode) bar(kind timeline.Kind) timeline.Bar {
	b := timeline.Bar{Kind: kind, From: n.from, To: n.to, Open: n.isOpen(), Outcome: task.AttemptSucceeded}
	if n.failed() && kind == timeline.Running {
		b.Outcome = task.AttemptFailed
	}
	if n.GetName() == trace.SpanHandler {
		_, _ = fmt.Sscan(n.attributes[trace.KeyAttempt], &b.Attempt) // without one it has no number
	}
	return b
}

// shown are the spans below one that have a line: the only attempt of a step has one if there
// is something below it.
func (n *traceNode) shown() []*traceNode {
	if n.GetName() == trace.SpanStep && len(n.children) == 1 && len(n.children[0].children) == 0 && n.children[0].GetName() == trace.SpanHandler {
		return nil
	}
	return n.children
}

// traceLine is a line of the drawing.
type traceLine struct {
	text   string
	failed bool
}

type traceRow struct {
	node        *traceNode
	label, tail string
}

// rows are the lines of spans and those below them.
func rows(nodes []*traceNode, depth int, out []traceRow) []traceRow {
	for _, n := range nodes {
		out = append(out, traceRow{n, strings.Repeat("  ", depth) + oneLine(n.label()), oneLine(n.tail())})
		out = rows(n.shown(), depth+1, out)
	}
	return out
}

// draw draws the trace in so many columns.
func (t *traceTree) draw(width int, ascii bool) []traceLine {
	all := rows(t.roots, 0, nil)
	names, ends, starred := minName, minName, false
	for _, r := range all {
		names, ends = max(names, columns(r.label)), max(ends, columns(r.tail))
		starred = starred || r.node.critical
	}
	names, ends = min(names, width*2/5), min(ends, width*3/10)
	g := &gantt{
		timeline: &timeline.Timeline{From: t.from, To: t.to, Open: t.open}, ascii: ascii,
		cells: max(width-names-ends-len("  || "), minBars),
	}
	lines := []traceLine{{text: strings.TrimRight(pad("", names)+"  |"+g.scaleIn(shortly)+"|", " ")}}
	for _, r := range all {
		row := g.row(&timeline.Row{Bars: r.node.bars()})
		text := pad(cut(r.label, names), names) + "  |" + row + "| " + cut(r.tail, ends)
		lines = append(lines, traceLine{strings.TrimRight(text, " "), r.node.failed()})
	}
	lines = append(lines, traceLine{})
	for _, line := range g.legend(width) {
		lines = append(lines, traceLine{text: line})
	}
	if starred {
		lines = append(lines, traceLine{text: "* critical path: what the task waited for last"})
	}
	return lines
}

// shortly is a duration in the unit that fits: API calls take milliseconds.
func shortly(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%dus", max(d, 0).Microseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	default:
		return seconds(d)
	}
}
