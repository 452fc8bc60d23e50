package boltstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/tasker-engine/tasker/host/task"
)

// Sizes of the parts of keys and values, in bytes.
const (
	taskLen = 16
	ordLen  = 4
	seqLen  = 8
	hashLen = 32
	stepLen = taskLen + ordLen
	// attemptLen is the size of a key that is a task, a step and the number of an attempt.
	attemptLen = stepLen + ordLen
	prefixLen  = seqLen // in front of the values of tasks, steps and log
	// maxName is the size of the longest text that may be part of a key: tag,
	// correlation id, idempotency key, name of a template, plugin, subscription or event.
	maxName = 1024
)

// taskKey is a task id as it lies in keys.
type taskKey [taskLen]byte

// parseTaskKey converts an id. Errors: task.ErrBadID.
func parseTaskKey(id task.ID) (taskKey, error) {
	u, err := ulid.ParseStrict(string(id))
	if err != nil {
		return taskKey{}, fmt.Errorf("task id %q: %w", string(id), task.ErrBadID)
	}
	return taskKey(u), nil
}

// id is the inverse of parseTaskKey.
func (k taskKey) id() task.ID { return task.ID(ulid.ULID(k).String()) }

// step appends the ordinal of a step or the number of a blob.
func (k taskKey) step(n uint32) [stepLen]byte {
	var b [stepLen]byte
	copy(b[:], k[:])
	binary.BigEndian.PutUint32(b[taskLen:], n)
	return b
}

// firstTaskKey is the least key of a task created at or after t, to the millisecond.
func firstTaskKey(t time.Time) taskKey {
	var u ulid.ULID
	ms := min(max(t.UnixMilli(), 0), int64(ulid.MaxTime()))
	if err := u.SetTime(uint64(ms)); err != nil {
		return taskKey{}
	}
	return taskKey(u)
}

// asTaskKey reads a key that is a task and nothing else.
func asTaskKey(key []byte) (taskKey, bool) {
	if len(key) != taskLen {
		return taskKey{}, false
	}
	return taskKey(key), true
}

// asStepKey reads a key that is a task and a number.
func asStepKey(key []byte) (k taskKey, n uint32, ok bool) {
	if len(key) != stepLen {
		return taskKey{}, 0, false
	}
	return taskKey(key[:taskLen]), binary.BigEndian.Uint32(key[taskLen:]), true
}

// attempt appends the ordinal of a step and the number of its attempt.
func (k taskKey) attempt(ordinal, number uint32) [attemptLen]byte {
	var b [attemptLen]byte
	step := k.step(ordinal)
	copy(b[:], step[:])
	binary.BigEndian.PutUint32(b[stepLen:], number)
	return b
}

// asAttemptKey reads a key that is a task, a step and a number.
func asAttemptKey(key []byte) (k taskKey, ordinal, number uint32, ok bool) {
	if len(key) != attemptLen {
		return taskKey{}, 0, 0, false
	}
	k, ordinal, _ = asStepKey(key[:stepLen])
	return k, ordinal, binary.BigEndian.Uint32(key[stepLen:]), true
}

func seqKey(seq uint64) [seqLen]byte {
	var b [seqLen]byte
	binary.BigEndian.PutUint64(b[:], seq)
	return b
}

// asSeq reads 8 big-endian bytes at the start of b.
func asSeq(b []byte) (uint64, bool) {
	if len(b) < seqLen {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// indexKey is the key of an index entry: name NUL task.
func indexKey(name string, k taskKey) []byte {
	b := make([]byte, 0, len(name)+1+taskLen)
	b = append(b, name...)
	b = append(b, 0)
	return append(b, k[:]...)
}

// asIndexKey is the inverse of indexKey.
func asIndexKey(key []byte) (name string, k taskKey, ok bool) {
	i := len(key) - taskLen - 1
	if i < 0 || key[i] != 0 || bytes.IndexByte(key[:i], 0) >= 0 {
		return "", taskKey{}, false
	}
	return string(key[:i]), taskKey(key[i+1:]), true
}

// templateName is the name under which a template's tasks are indexed.
func templateName(namespace, name string) string { return namespace + "/" + name }

// stateName is the name under which finished tasks of a template in a status are
// indexed, and what all of them begin with when the status is empty.
func stateName(template string, status task.Status) string { return template + "\x00" + string(status) }

// asStateKey reads a key of by_state.
func asStateKey(key []byte) (template string, status task.Status, k taskKey, ok bool) {
	i := len(key) - taskLen - 1
	if i < 0 || key[i] != 0 {
		return "", "", taskKey{}, false
	}
	name, of, found := strings.Cut(string(key[:i]), "\x00")
	if !found || strings.IndexByte(of, 0) >= 0 {
		return "", "", taskKey{}, false
	}
	return name, task.Status(of), taskKey(key[i+1:]), true
}

// idempotencyKey is the key of a KeyRecord.
func idempotencyKey(namespace, name, key string) []byte {
	return []byte(namespace + "\x00" + name + "\x00" + key)
}

// crashKey is the key of a crash report.
func crashKey(plugin string, at time.Time) []byte {
	b := make([]byte, 0, len(plugin)+1+seqLen)
	b = append(b, plugin...)
	b = append(b, 0)
	return binary.BigEndian.AppendUint64(b, uint64(nanos(at)))
}

// asCrashKey is the inverse of crashKey.
func asCrashKey(key []byte) (plugin string, at time.Time, ok bool) {
	i := len(key) - seqLen - 1
	if i < 0 || key[i] != 0 || bytes.IndexByte(key[:i], 0) >= 0 {
		return "", time.Time{}, false
	}
	ns := binary.BigEndian.Uint64(key[i+1:])
	return string(key[:i]), time.Unix(0, int64(ns)).UTC(), true
}

// deadLetterKey is the key of a dead letter.
func deadLetterKey(subscription string, seq uint64) []byte {
	b := make([]byte, 0, len(subscription)+1+seqLen)
	return appendDeadLetterKey(b, subscription, seq)
}

func appendDeadLetterKey(b []byte, subscription string, seq uint64) []byte {
	b = append(b, subscription...)
	b = append(b, 0)
	return binary.BigEndian.AppendUint64(b, seq)
}

// asDeadLetterKey is the inverse of deadLetterKey.
func asDeadLetterKey(key []byte) (subscription string, seq uint64, ok bool) {
	i := len(key) - seqLen - 1
	if i < 0 || key[i] != 0 || bytes.IndexByte(key[:i], 0) >= 0 {
		return "", 0, false
	}
	return string(key[:i]), binary.BigEndian.Uint64(key[i+1:]), true
}

// checkName returns an error wrapping task.ErrInvalid when s may not be part of a key.
func checkName(what, s string) error {
	switch {
	case len(s) > maxName:
		return fmt.Errorf("%s has %d bytes, at most %d are allowed: %w", what, len(s), maxName, task.ErrInvalid)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%s contains a NUL byte: %w", what, task.ErrInvalid)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not valid UTF-8: %w", what, task.ErrInvalid)
	default:
		return nil
	}
}

// parseHash reads a SHA-256 in hex. Errors: task.ErrInvalid.
func parseHash(what, s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != hashLen {
		return nil, fmt.Errorf("%s %q: %w: want a SHA-256 in hex", what, s, task.ErrInvalid)
	}
	return b, nil
}
