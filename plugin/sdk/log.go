package sdk

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// maxLogFields is the size in bytes of the largest fields of one log line.
const maxLogFields = 32 << 10

// hclog returns the attempt's logger; it is made when first asked for.
func (a *attempt) hclog() hclog.Logger {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.logger == nil {
		a.logger = newHclog(a.work.d.level(), a.log)
	}
	return a.logger
}

// slog returns the attempt's logger in the form of the standard library.
func (a *attempt) slog() *slog.Logger {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.slogger == nil {
		a.slogger = newSlog(a.work.d.level, a.log)
	}
	return a.slogger
}

// log queues one line. Pairs are alternating keys and values.
func (a *attempt) log(level hclog.Level, msg string, pairs []any) {
	if level < a.work.d.level() {
		return
	}
	a.work.send(a, &pluginv1.Update{Kind: &pluginv1.Update_Log{Log: logLine(level, msg, pairs)}})
}

// write brings a line on its way to the host.
type write func(level hclog.Level, msg string, pairs []any)

// newHclog makes a logger of what brings lines on their way.
func newHclog(level hclog.Level, w write) hclog.Logger {
	// What the root formats is thrown away: it is there for its level, names and implied fields.
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: level, Output: io.Discard})
	l.RegisterSink(&sink{w})
	return l
}

// newSlog makes a logger of what brings lines on their way.
func newSlog(level func() hclog.Level, w write) *slog.Logger {
	return slog.New(&slogHandler{write: w, enabled: func(l hclog.Level) bool { return l >= level() }})
}

// sink brings what an hclog logger says to the host.
type sink struct{ write write }

// Accept implements hclog.SinkAdapter.
func (s *sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	if name != "" {
		args = append([]any{"logger", name}, args...) // before: a key without a value may come last
	}
	s.write(level, msg, args)
}

// logLine makes the wire's form of a line.
func logLine(level hclog.Level, msg string, pairs []any) *pluginv1.Log {
	return &pluginv1.Log{Level: level.String(), Message: cut(msg, maxMessage), Fields: logFields(pairs)}
}

// logFields makes a JSON object of alternating keys and values. Nil = none.
func logFields(pairs []any) []byte {
	if len(pairs) == 0 {
		return nil
	}
	if len(pairs)%2 != 0 {
		pairs = slices.Insert(slices.Clone(pairs), len(pairs)-1, any(hclog.MissingKey))
	}
	fields := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		fields[fmt.Sprint(pairs[i])] = logValue(pairs[i+1])
	}
	return document(fields, maxLogFields)
}

// logValue turns a value into something that marshals to JSON.
func logValue(v any) (out any) {
	defer func() {
		if recover() != nil { // a nil pointer with a value method, as %v would show it
			out = "<nil>"
		}
	}()
	switch v := v.(type) {
	case error:
		return v.Error()
	case json.Marshaler, encoding.TextMarshaler:
	case fmt.Stringer:
		return v.String()
	}
	doc, err := encodeSafely(v)
	if err != nil {
		return fmt.Sprintf("%+v", v)
	}
	return json.RawMessage(doc)
}

// slogHandler is a slog.Handler over a function. Groups become prefixes of keys.
type slogHandler struct {
	write   write
	enabled func(hclog.Level) bool
	prefix  string
	pairs   []any
}

var _ slog.Handler = (*slogHandler)(nil)

// Enabled implements slog.Handler.
func (h *slogHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.enabled(hclogLevel(level))
}

// Handle implements slog.Handler.
func (h *slogHandler) Handle(_ context.Context, r slog.Record) error { //nolint:gocritic // the interface's signature
	pairs := slices.Clip(h.pairs)
	r.Attrs(func(a slog.Attr) bool {
		pairs = flatten(pairs, h.prefix, a)
		return true
	})
	h.write(hclogLevel(r.Level), r.Message, pairs)
	return nil
}

// WithAttrs implements slog.Handler.
func (h *slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.pairs = slices.Clip(c.pairs)
	for _, a := range attrs {
		c.pairs = flatten(c.pairs, h.prefix, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *slogHandler) WithGroup(name string) slog.Handler {
	c := *h
	if name != "" {
		c.prefix += name + "."
	}
	return &c
}

// flatten appends an attribute, and those of groups within it, as alternating keys and values.
func flatten(pairs []any, prefix string, a slog.Attr) []any {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		if a.Key == "" {
			return pairs
		}
		return append(pairs, prefix+a.Key, v.Any())
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, inner := range v.Group() {
		pairs = flatten(pairs, prefix, inner)
	}
	return pairs
}

func hclogLevel(l slog.Level) hclog.Level {
	switch {
	case l < slog.LevelDebug:
		return hclog.Trace
	case l < slog.LevelInfo:
		return hclog.Debug
	case l < slog.LevelWarn:
		return hclog.Info
	case l < slog.LevelError:
		return hclog.Warn
	default:
		return hclog.Error
	}
}

// enabledIn reports whether a logger takes lines of a level.
func enabledIn(l hclog.Logger) func(hclog.Level) bool {
	return func(level hclog.Level) bool { return level >= l.GetLevel() }
}
