package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// TestSchemaDrawing compares the drawing in schema.go with a file that a scenario
// filled: every bucket, every form of key and value, nothing more and nothing less.
func TestSchemaDrawing(t *testing.T) {
	s, running, failed := openScenario(t)
	folder := &folder{t: t, tasks: make(map[taskKey]bool)}
	for _, f := range []*storetest.Flow{running, failed} {
		k, err := parseTaskKey(f.Task.ID)
		if err != nil {
			t.Fatal(err)
		}
		folder.tasks[k] = true
	}
	halfGone := storetest.NewFlow(3, 3)
	storetest.MustCommit(t, s, halfGone.Create(0, 1, 2), halfGone.Succeed(0), halfGone.Succeed(1), halfGone.Succeed(2))
	k, err := parseTaskKey(halfGone.Task.ID)
	if err != nil {
		t.Fatal(err)
	}
	folder.tasks[k] = true
	j := &deleteJob{s: s, keys: []taskKey{k}, limit: 4, done: make(chan error, 1)}
	if err := errors.Join(s.queue.push(j), <-j.done); err != nil {
		t.Fatal(err)
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				folder.add(string(name), k, v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, line := range folder.lines {
		found[line] = true
	}
	drawn := make(map[string]bool)
	for _, line := range drawing(t) {
		drawn[line] = true
	}
	if diff := cmp.Diff(drawn, found); diff != "" {
		t.Errorf("the drawing in schema.go and the file differ (-drawn +found):\n%s", diff)
	}
}

// drawing returns the lines of the drawing in schema.go with single blanks between the
// columns.
func drawing(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "schema.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var group *ast.CommentGroup
	for _, g := range file.Comments {
		if strings.HasPrefix(g.Text(), "The file, schema version") {
			group = g
		}
	}
	if want := fmt.Sprintf("schema version %d", SchemaVersion); group == nil || !strings.Contains(group.Text(), want) {
		t.Fatalf("schema.go has no drawing of %s", want)
	}
	var lines []string
	for line := range strings.Lines(group.Text()) {
		if strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, "\tbucket ") {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return lines
}

// folder turns records into lines of the drawing.
type folder struct {
	t     *testing.T
	tasks map[taskKey]bool
	lines []string
}

func (f *folder) add(bucket string, key, value []byte) {
	line := bucket + " " + f.key(bucket, key) + " " + f.value(bucket, key, value)
	f.lines = append(f.lines, line)
}

// task requires b to be one of the scenario's tasks.
func (f *folder) task(b []byte) string {
	if k, ok := asTaskKey(b); ok && f.tasks[k] {
		return "task"
	}
	return fmt.Sprintf("UNKNOWN TASK %x", b)
}

func (f *folder) key(bucket string, key []byte) string {
	bad := fmt.Sprintf("MALFORMED KEY %q", key)
	switch bucket {
	case "meta":
		return string(key)
	case "specs", "tasks", "live", "gone":
		return f.task(key)
	case "steps", "checkpoints", "blobs":
		if len(key) != stepLen {
			return bad
		}
		return f.task(key[:taskLen]) + map[bool]string{true: " | n", false: " | ordinal"}[bucket == "blobs"]
	case "spans":
		if k, _, _, ok := asAttemptKey(key); ok {
			return f.task(k[:]) + " | ordinal | n"
		}
	case "templates":
		if len(key) == hashLen {
			return "hash"
		}
	case "log":
		if len(key) == seqLen {
			return "seq"
		}
	case "keys":
		if string(key) == "shop\x00order\x00key-1" {
			return "namespace 0 template 0 key"
		}
	case "crashes":
		if plugin, at, ok := asCrashKey(key); ok && plugin == "mock" && at.Equal(storetest.Start()) {
			return "plugin 0 time"
		}
	case "cursors":
		if string(key) == "mock/audit" {
			return "subscription"
		}
	case "dead_letters":
		if subscription, seq, ok := asDeadLetterKey(key); ok && subscription == "mock/audit" && seq == 5 {
			return "subscription 0 seq"
		}
	case "custom_events":
		if string(key) == "mock.done" {
			return "name"
		}
	default:
		return f.indexKey(bucket, key)
	}
	return bad
}

func (f *folder) indexKey(bucket string, key []byte) string {
	if name, status, k, ok := asStateKey(key); ok && bucket == "by_state" && name == "shop/order" && status == task.Error {
		return "namespace / template 0 status 0 " + f.task(k[:])
	}
	name, k, ok := asIndexKey(key)
	if !ok {
		return fmt.Sprintf("MALFORMED KEY %q", key)
	}
	want := map[string]struct{ names, form string }{
		"by_tag":         {"eu vip", "tag"},
		"by_correlation": {"order-1", "correlation"},
	}[bucket]
	if !strings.Contains(want.names, name) {
		return fmt.Sprintf("UNKNOWN NAME %q", name)
	}
	return want.form + " 0 " + f.task(k[:])
}

func (f *folder) value(bucket string, key, value []byte) string {
	records := map[string]proto.Message{
		"counters": &storev1.CountersRecord{}, "specs": &storev1.SpecRecord{}, "tasks": &storev1.TaskRecord{},
		"steps": &storev1.StepRecord{}, "log": &storev1.LogRecord{}, "checkpoints": &storev1.CheckpointRecord{},
		"keys": &storev1.KeyRecord{}, "crashes": &storev1.CrashRecord{}, "cursors": &storev1.CursorRecord{},
		"dead_letters": &storev1.DeadLetterRecord{}, "custom_events": &storev1.CustomEventRecord{},
	}
	prefix := map[string]string{"tasks": "seq | ", "steps": "seq | ", "log": "prev | "}[bucket]
	name := bucket
	if bucket == "meta" {
		name = string(key)
	}
	if m, ok := records[name]; ok {
		if prefix != "" {
			value = value[prefixLen:]
		}
		if err := proto.Unmarshal(value, m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
			return fmt.Sprintf("NO %T: %v", m, err)
		}
		return prefix + string(m.ProtoReflect().Descriptor().Name())
	}
	switch {
	case name == "version" && len(value) == 1:
		return "byte"
	case name == "host_id" && len(value) == taskLen:
		return "ulid"
	case name == "epoch" && len(value) == 8:
		return "uint64"
	case name == "templates":
		return "snapshot"
	case name == "spans" && string(value) == "spans":
		return "ExportTraceServiceRequest"
	case name == "blobs" && bytes.HasPrefix(value, []byte(`"`)):
		return "JSON"
	case name == "live" && string(value) == "shop/order":
		return "namespace / template"
	case len(value) == 0:
		return "(empty)"
	}
	return fmt.Sprintf("UNKNOWN VALUE %x", value)
}

// TestKindNames holds the names in the file apart and in the order of the drawing.
func TestKindNames(t *testing.T) {
	var want, got []string
	for _, line := range drawing(t) {
		name, _, _ := strings.Cut(line, " ")
		if len(want) == 0 || want[len(want)-1] != name {
			want = append(want, name)
		}
	}
	for k := range kinds {
		got = append(got, k.name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("buckets (-drawn +named):\n%s", diff)
	}
}
