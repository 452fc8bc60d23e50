package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// traceID returns the id of a task's trace.
func traceID(v *task.View) string { return trace.Of(string(v.ID), v.Traceparent).Trace.String() }

// minTraceWidth is the least that --width takes.
const minTraceWidth = 40

func (a *app) taskTraceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "trace ID",
		Short: "Draw what a task did, down to its API calls",
		Long: `Draw the trace of a task: its steps, the attempts of each, and below them the API calls and
whatever else the handlers recorded, with times, results and errors. Steps that the task
waited for last are marked with *: they are the critical path. It needs no backend: spans
of steps and attempts follow from the task's events, and those of API calls are kept with
the task unless tracing.keep is false. What goes on ends at the present. The drawing is as
wide as the terminal, or 100 columns. ID may be shortened as long as it is unambiguous.

--json prints the trace as OTLP JSON, one request as it is posted to /v1/traces of a
collector.`,
		Example: `  tasker task trace 01JD
  tasker task trace 01JD --json > trace.json   # OTLP: post it to a collector's /v1/traces`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTasks,
	}
	width := c.Flags().Int("width", 0, "draw in so many `COLUMNS` (default those of the terminal)")
	ascii := c.Flags().Bool("ascii", false, "draw with ASCII characters only")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		if *width != 0 && *width < minTraceWidth {
			return usageOf(c, fmt.Errorf("--width %d: want at least %d", *width, minTraceWidth))
		}
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			otlp, err := s.Trace(ctx, given[0])
			if err != nil {
				return err
			}
			req := &coltracepb.ExportTraceServiceRequest{}
			if err := proto.Unmarshal(otlp, req); err != nil {
				return fmt.Errorf("trace: %w", err)
			}
			if *asJSON {
				doc, err := otlpJSON(req)
				if err != nil {
					return err
				}
				return a.printJSON(doc)
			}
			a.printTrace(readTrace(req), *width, *ascii || !a.unicode())
			return nil
		})
	}
	return c
}

// printTrace prints a trace as a tree with bars.
func (a *app) printTrace(t *traceTree, width int, ascii bool) {
	const noTerminal = 100
	screen := a.terminal(a.out)
	switch {
	case width > 0:
	case screen != nil:
		width, _ = screen.size()
		width-- // a full line would wrap on some terminals
	default:
		width = noTerminal
	}
	width = max(width, minTraceWidth)
	a.out.printf("%s\ntrace %s\n", cut(t.title(), width), t.id)
	for _, line := range t.draw(width, ascii) {
		text := line.text
		if line.failed && screen != nil && screen.colour {
			text = "\x1b[" + red + "m" + text + "\x1b[0m"
		}
		a.out.printf("%s\n", text)
	}
}

// otlpJSON returns a request in the JSON of OTLP, whose ids are hexadecimal digits and whose
// enumerations are numbers.
func otlpJSON(req *coltracepb.ExportTraceServiceRequest) (json.RawMessage, error) {
	for _, rs := range req.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				writeIDs(s)
			}
		}
	}
	doc, err := protojson.MarshalOptions{UseEnumNumbers: true}.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the trace: %w", err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, doc); err != nil {
		return nil, fmt.Errorf("encode the trace: %w", err)
	}
	return out.Bytes(), nil
}

// writeIDs replaces the ids of a span by what protobuf's JSON, which writes bytes in base64,
// turns into hexadecimal digits: ids are as long as base64 takes them for whole.
func writeIDs(s *tracepb.Span) {
	s.TraceId, s.SpanId, s.ParentSpanId = asDigits(s.GetTraceId()), asDigits(s.GetSpanId()), asDigits(s.GetParentSpanId())
	for _, l := range s.GetLinks() {
		l.TraceId, l.SpanId = asDigits(l.GetTraceId()), asDigits(l.GetSpanId())
	}
}

func asDigits(id []byte) []byte {
	out, err := base64.StdEncoding.DecodeString(hex.EncodeToString(id))
	if err != nil {
		return nil // no id is so long
	}
	return out
}
