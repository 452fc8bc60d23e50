package runner_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// blobReader is a store that counts the blobs read, and fails the first ones.
type blobReader struct {
	store.Store

	reads, fails atomic.Int32
}

func (s *blobReader) Blob(ctx context.Context, id task.ID, n uint32) ([]byte, error) {
	s.reads.Add(1)
	if s.fails.Add(-1) >= 0 {
		return nil, errors.New("the disk is away")
	}
	return s.Store.Blob(ctx, id, n)
}

// TestBlobReads is the budget of reads for expressions: a large value is read once however
// many steps read it, and nothing is read for small ones or by steps without expressions.
func TestBlobReads(t *testing.T) {
	tests := []struct {
		name   string
		large  int
		reader string
		reads  int32
	}{
		{name: "no expressions", large: 100_000, reader: ""},
		{name: "expressions that read something else", large: 100_000, reader: `, with: {n: "=results.other"}, when: results.other == 1`},
		{name: "small values", large: 100, reader: `, with: {n: "=size(results.big)"}, when: results.big != ''`},
		{name: "large values", large: 100_000, reader: `, with: {n: "=size(results.big)"}`, reads: 1},
		{name: "large values, and a condition", large: 100_000, reader: `, with: {n: "=size(results.big)"}, when: results.big != ''`, reads: 1},
		{name: "large values, again and again", large: 100_000, reader: `, with: {n: "=size(results.big)"}, config: {fails: 2}, retry: {base: 1ms, factor: 1}`, reads: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var counted *blobReader
			g := newRig(t, t.TempDir(), func(s store.Store) store.Store {
				counted = &blobReader{Store: s}
				return counted
			})
			g.plugins.start("p#1", 100)
			steps := []string{
				fmt.Sprintf("big, handler: p/do, config: {large: %d}", tt.large),
				"other, handler: p/do, depends_on: [big]",
			}
			for i := range 10 {
				steps = append(steps, fmt.Sprintf("r%d, handler: p/do, depends_on: [big, other]%s", i, tt.reader))
			}
			g.end(g.create(parse(t, "", steps...)), task.Complete)
			if got := counted.reads.Load(); got != tt.reads {
				t.Errorf("%d blobs read, want %d", got, tt.reads)
			}
			g.close("")
		})
	}
}

// TestBlobNotRead: while a value cannot be read, the step waits, and goes on when it can.
func TestBlobNotRead(t *testing.T) {
	g := newRig(t, t.TempDir(), func(s store.Store) store.Store {
		b := &blobReader{Store: s}
		b.fails.Store(1)
		return b
	})
	g.plugins.start("p#1", 100)
	v := g.end(g.create(parse(t, "", "big, handler: p/do, config: {large: 100000}", "other, handler: p/do, depends_on: [big]",
		"r, handler: p/do, depends_on: [other], with: {n: \"=size(results.big)\"}")), task.Complete)
	if got := string(v.Steps[2].Attempt.Input.Inline); got != `{"n":100000}` {
		t.Errorf("input %s", got)
	}
	g.close("commit failed")
}

// TestUnresolvedClaims: claims whose inputs cannot be made give their slots back.
func TestUnresolvedClaims(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.plugins.start("p#1", 2)
	var steps []string
	for i := range 10 {
		steps = append(steps, fmt.Sprintf("s%d, handler: p/do, optional: true, with: {n: \"=input.absent\"}", i))
	}
	steps = append(steps, "last, handler: p/do, depends_on: [s0, s9]")
	v := g.end(g.create(parse(t, "", steps...)), task.Complete)
	if s := v.Steps[10]; s.Status != task.StepComplete || v.Steps[9].Failure.Code != task.CodeWithFailed {
		t.Errorf("last is %s, s9 failed with %+v", s.Status, v.Steps[9].Failure)
	}
	g.close("")
}
