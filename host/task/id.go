package task

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrBadID is returned by the Parse functions for text that is no id.
var ErrBadID = errors.New("malformed id")

// ID identifies a task: a ULID, 26 characters of Crockford base 32, upper case,
// ordered by creation time.
type ID string

// IDLen is the length of a task id in characters.
const IDLen = 26

// ParseID checks that s is a whole task id and returns it in upper case.
func ParseID(s string) (ID, error) {
	if len(s) != IDLen {
		return "", fmt.Errorf("task id %q: %w: want %d characters", s, ErrBadID, IDLen)
	}
	for i := range len(s) {
		if !strings.ContainsRune("0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz", rune(s[i])) {
			return "", fmt.Errorf("task id %q: %w: character %q", s, ErrBadID, s[i])
		}
	}
	return ID(strings.ToUpper(s)), nil
}

// Ordinal is the position of a step in its task, counted from 0. Ordinals are
// append-only: they are never reused or reordered within a task.
type Ordinal uint32

// StepName is the name of a step within its template: [a-z][a-z0-9_]*.
type StepName string

// StepID identifies a step: "task/ordinal".
type StepID struct {
	Task    ID
	Ordinal Ordinal
}

// String returns the step id as "task/ordinal". It is also the step's idempotency
// key, the same for all its attempts.
func (id StepID) String() string {
	return string(id.Task) + "/" + strconv.FormatUint(uint64(id.Ordinal), 10)
}

// AttemptID identifies an attempt: "task/ordinal/number". It routes and fences
// results without an index.
type AttemptID struct {
	Task    ID
	Ordinal Ordinal
	Number  uint32 // counted from 1 per step, never reset
}

// Step returns the id of the step that the attempt belongs to.
func (id AttemptID) Step() StepID { return StepID{Task: id.Task, Ordinal: id.Ordinal} }

// String returns the attempt id as "task/ordinal/number".
func (id AttemptID) String() string {
	b := append(make([]byte, 0, 64), id.Task...) // on the stack: every attempt comes by here
	b = strconv.AppendUint(append(b, '/'), uint64(id.Ordinal), 10)
	b = strconv.AppendUint(append(b, '/'), uint64(id.Number), 10)
	return string(b)
}

// ParseAttemptID parses "task/ordinal/number".
func ParseAttemptID(s string) (AttemptID, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return AttemptID{}, fmt.Errorf("attempt id %q: %w: want task/ordinal/number", s, ErrBadID)
	}
	id, err := ParseID(parts[0])
	if err != nil {
		return AttemptID{}, err
	}
	ord, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return AttemptID{}, fmt.Errorf("attempt id %q: %w: ordinal", s, ErrBadID)
	}
	num, err := strconv.ParseUint(parts[2], 10, 32)
	if err != nil || num == 0 {
		return AttemptID{}, fmt.Errorf("attempt id %q: %w: number", s, ErrBadID)
	}
	return AttemptID{Task: id, Ordinal: Ordinal(ord), Number: uint32(num)}, nil
}

// HandlerRef names a handler: "plugin/handler" or "plugin/handler@version". A
// reference without a version means the highest version offered at the step's first
// claim.
type HandlerRef struct {
	Plugin  string
	Handler string
	Version uint32 // 0 = highest offered
}

// String returns the reference as it is written in a template.
func (r HandlerRef) String() string {
	if r.Version == 0 {
		return r.Plugin + "/" + r.Handler
	}
	return r.Plugin + "/" + r.Handler + "@" + strconv.FormatUint(uint64(r.Version), 10)
}

// ParseHandlerRef parses "plugin/handler[@version]"; plugin and handler names are
// [a-z][a-z0-9-]{0,31}, handlers may use underscores too.
func ParseHandlerRef(s string) (HandlerRef, error) {
	name, version, versioned := strings.Cut(s, "@")
	plugin, handler, ok := strings.Cut(name, "/")
	if !ok || !ValidPluginName(plugin) || !ValidHandlerName(handler) {
		return HandlerRef{}, fmt.Errorf("handler %q: %w: want plugin/handler or plugin/handler@version", s, ErrBadID)
	}
	ref := HandlerRef{Plugin: plugin, Handler: handler}
	if versioned {
		v, err := strconv.ParseUint(version, 10, 32)
		if err != nil || v == 0 {
			return HandlerRef{}, fmt.Errorf("handler %q: %w: version is a whole number from 1", s, ErrBadID)
		}
		ref.Version = uint32(v)
	}
	return ref, nil
}

// maxNameLen is the limit of plugin and handler names, in characters.
const maxNameLen = 32

// ValidPluginName reports whether s is a plugin name: [a-z][a-z0-9-]{0,31}.
func ValidPluginName(s string) bool { return validName(s, "-") }

// ValidHandlerName reports whether s is a handler name: [a-z][a-z0-9_-]{0,31}.
func ValidHandlerName(s string) bool { return validName(s, "-_") }

// ValidStepName reports whether s is a step name: [a-z][a-z0-9_]*, at most 100
// characters.
func ValidStepName(s string) bool {
	const maxStepName = 100
	return len(s) <= maxStepName && validChars(s, "_")
}

func validName(s, extra string) bool { return len(s) <= maxNameLen && validChars(s, extra) }

func validChars(s, extra string) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune(extra, rune(c)) {
			return false
		}
	}
	return true
}
