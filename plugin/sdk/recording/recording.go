// Package recording is the file format of recorded attempts: what a handler was asked, and what came of it. `tasker
// plugin record` writes such files from real tasks, `tasker plugin replay` and sdktest's Replay ask a plugin the same
// again and compare what comes.
//
// A file is one JSON object, [Attempt]. Values that change from run to run are named in Volatile and are not compared.
package recording

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Format is the version of the format that this package writes.
const Format = 1

// Redacted stands in for values that schemas mark as secret.
const Redacted = "REDACTED"

// Attempt is one attempt at a step, recorded.
type Attempt struct {
	// Format is the version of the format.
	Format int `json:"format"`
	// Plugin and PluginVersion are who executed it.
	Plugin        string `json:"plugin"`
	PluginVersion string `json:"plugin_version,omitempty"`
	// Handler and Version name the handler.
	Handler string `json:"handler"`
	Version uint32 `json:"version,omitempty"`
	// Step is the step's name, Number the attempt's number, Limit the failures that are allowed.
	Step   string `json:"step"`
	Number uint32 `json:"number"`
	Limit  uint32 `json:"limit,omitempty"`
	// IdempotencyKey is the step's.
	IdempotencyKey string   `json:"idempotency_key,omitempty"`
	Tags           []string `json:"tags,omitempty"`
	// Input, Config and Checkpoint are JSON. Nil = none.
	Input      json.RawMessage `json:"input,omitempty"`
	Config     json.RawMessage `json:"config,omitempty"`
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
	// Results are those of the dependencies, by step; of Skipped there are none.
	Results map[string]json.RawMessage `json:"results,omitempty"`
	Skipped []string                   `json:"skipped,omitempty"`
	// Previous is the failure of an earlier attempt that this one was told of. Nil = there was none.
	Previous *Error `json:"previous,omitempty"`
	// Outcome is what came of it.
	Outcome Outcome `json:"outcome"`
	// Backoff is how long the host waited after it before the next attempt. It is the host's and not compared. 0 = none
	// followed.
	Backoff Duration `json:"backoff,omitempty"`
	// Volatile are JSON pointers into Outcome ("/output/at") whose values are not compared, nor what lies below them; * stands for any key or
	// index.
	Volatile []string `json:"volatile,omitempty"`
	// Redacted are JSON pointers into the attempt whose values were left out.
	Redacted []string `json:"redacted,omitempty"`
}

// Outcome is an output or an error.
type Outcome struct {
	// Output is JSON. Nil = it failed.
	Output json.RawMessage `json:"output,omitempty"`
	// Error is why it failed. Nil = it did not.
	Error *Error `json:"error,omitempty"`
	// Events are the custom events that it emitted; nil = they were not recorded and are not compared.
	Events []Event `json:"events,omitempty"`
}

// Error is why an attempt failed. Of an error that is compared, what is empty is not looked at.
type Error struct {
	// Kind is retryable, permanent, timeout or cancelled.
	Kind    string `json:"kind"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Details and Partial are JSON: what the handler said beside the message, and what it made all the same. Nil = nothing,
	// or nothing that was kept; both are not compared.
	Details json.RawMessage `json:"details,omitempty"`
	Partial json.RawMessage `json:"partial,omitempty"`
}

// Duration is a time that JSON writes as "1.5s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Event is a custom event.
type Event struct {
	Name    string          `json:"name"`
	Payload json.RawMessage `json:"payload"`
}

// ErrFormat is returned for files that are no recordings, or of a later format.
var ErrFormat = errors.New("no recording that can be read")

// Read reads a recording.
func Read(path string) (*Attempt, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var a Attempt
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFormat, err)
	}
	if a.Format != Format || a.Handler == "" {
		return nil, fmt.Errorf("%s: %w: it has format %d and handler %q, want format %d and a handler", path, ErrFormat, a.Format, a.Handler, Format)
	}
	return &a, nil
}

// Files returns the files of paths: files as they are, and of directories those that end in .json, sorted.
func Files(paths ...string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		err = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && filepath.Ext(path) == ".json" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// Write writes a recording for people to read and edit.
func (a *Attempt) Write(path string) error {
	a.Format = Format
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("recording %s: %w", path, err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// Difference is one value that is not as recorded.
type Difference struct {
	Pointer string `json:"pointer"` // into the outcome
	Want    string `json:"want"`    // JSON; empty = nothing
	Got     string `json:"got"`
}

// String returns the difference on one line.
func (d Difference) String() string {
	return fmt.Sprintf("%s: want %s, got %s", d.Pointer, orNothing(d.Want), orNothing(d.Got))
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// Compare returns how an outcome differs from the recorded one; nil = not at all.
func (a *Attempt) Compare(got Outcome) []Difference {
	c := comparison{volatile: a.Volatile}
	c.value("/output", decode(a.Outcome.Output), decode(got.Output))
	switch want, is := a.Outcome.Error, got.Error; {
	case want == nil && is == nil:
	case want == nil:
		c.differ("/error", "", encode(is))
	case is == nil:
		c.differ("/error", encode(want), "")
	default:
		for _, f := range []struct{ name, want, got string }{
			{"kind", want.Kind, is.Kind}, {"code", want.Code, is.Code}, {"message", want.Message, is.Message},
		} {
			if f.want != "" && f.want != f.got {
				c.differ("/error/"+f.name, encode(f.want), encode(f.got))
			}
		}
	}
	if a.Outcome.Events != nil {
		c.value("/events", decode([]byte(encode(a.Outcome.Events))), decode([]byte(encode(got.Events))))
	}
	return c.found
}

type comparison struct {
	volatile []string
	found    []Difference
}

// nothing is what is absent; null is a value.
type nothing struct{}

func decode(doc []byte) any {
	if len(doc) == 0 {
		return nothing{}
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return string(doc)
	}
	return v
}

func encode(v any) string {
	if v == (nothing{}) {
		return ""
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(doc)
}

func (c *comparison) differ(at, want, got string) {
	if !slices.ContainsFunc(c.volatile, func(pattern string) bool { return covers(pattern, at) }) {
		c.found = append(c.found, Difference{Pointer: at, Want: want, Got: got})
	}
}

// covers reports whether a pointer is a place, or one above it.
func covers(pattern, at string) bool {
	want, is := strings.Split(pattern, "/"), strings.Split(at, "/")
	if len(want) > len(is) {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != is[i] {
			return false
		}
	}
	return true
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

func (c *comparison) value(at string, want, got any) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		keys := maps.Clone(w)
		maps.Copy(keys, g)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			c.value(at+"/"+escape.Replace(key), member(w, key), member(g, key))
		}
		return
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			break
		}
		for i := range w {
			c.value(at+"/"+strconv.Itoa(i), w[i], g[i])
		}
		return
	case json.Number:
		if g, ok := got.(json.Number); ok && sameNumber(w, g) {
			return
		}
	default:
		if want == got {
			return
		}
	}
	c.differ(at, encode(want), encode(got))
}

func member(m map[string]any, key string) any {
	if v, ok := m[key]; ok {
		return v
	}
	return nothing{}
}

// sameNumber compares what numbers mean: 1.0 is 1.
func sameNumber(a, b json.Number) bool {
	x, _, errX := big.ParseFloat(string(a), 10, 256, big.ToNearestEven)
	y, _, errY := big.ParseFloat(string(b), 10, 256, big.ToNearestEven)
	return a == b || errX == nil && errY == nil && x.Cmp(y) == 0
}
