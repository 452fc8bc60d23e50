package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// sizesChunk is how many entries of an index Sizes counts in one transaction.
const sizesChunk = 1 << 16

// headPages are the pages of a file that belong to no bucket: two heads, the list of free
// pages, and the tree of the buckets.
const headPages = 4

// Sizes returns what takes the room of the store; see [store.Retention]. It looks at every
// page once and counts the finished tasks in their index, in transactions of a bucket or
// sizesChunk entries each, so it is for operators.
func (s *Store) Sizes(ctx context.Context, samples int) (store.Sizes, error) {
	out := store.Sizes{}
	file, err := os.Stat(s.path)
	if err != nil {
		return out, err
	}
	out.FileBytes = file.Size()
	used := int64(headPages)
	for k := range kinds {
		err := s.view(ctx, opSizes, func(t *txn) error {
			out.PageBytes = t.tx.DB().Info().PageSize
			out.Pages = t.tx.Size() / int64(out.PageBytes)
			st := t.bucket(k).Stats()
			b := store.BucketSize{
				Name: k.name(), Keys: st.KeyN, Bytes: bucketStats(k, st).Bytes,
				Pages: int64(st.BranchPageN + st.BranchOverflowN + st.LeafPageN + st.LeafOverflowN),
			}
			if k == kindLive {
				out.Unfinished = uint64(st.KeyN) //nolint:gosec // not negative
			}
			used += b.Pages
			out.Buckets = append(out.Buckets, b)
			return nil
		})
		if err != nil {
			return out, fmt.Errorf("sizes: %w", err)
		}
	}
	out.FreePages = max(0, out.Pages-used)
	m := &sizing{samples: uint64(max(samples, 1)), pos: []byte{}}
	for m.pos != nil {
		if err := s.view(ctx, opSizes, m.scan); err != nil {
			return out, fmt.Errorf("sizes: %w", err)
		}
	}
	for _, g := range m.groups {
		if g.Sampled > 0 {
			g.Bytes = int64(float64(g.Bytes) / float64(g.Sampled) * float64(g.Tasks))
		}
		out.Finished = append(out.Finished, *g)
	}
	return out, nil
}

// sizing counts the finished tasks by template and status and reads the oldest of each,
// as many as samples says.
type sizing struct {
	samples uint64
	pos     []byte // where in by_state to go on; nil = its end was reached
	group   string
	groups  []*store.TaskSize
}

func (m *sizing) scan(t *txn) error {
	c := t.cursor(kindByState)
	key, _ := c.Seek(m.pos)
	for n := 0; key != nil; key, _ = c.Next() {
		if n++; n > sizesChunk {
			m.pos = bytes.Clone(key)
			return nil
		}
		t.reads++
		if len(m.groups) == 0 || len(key) != len(m.group)+taskLen || !bytes.HasPrefix(key, []byte(m.group)) {
			template, status, k, ok := asStateKey(key)
			if !ok {
				return fmt.Errorf("%w: by_state/%q", store.ErrCorrupt, key)
			}
			m.enter(string(key[:len(key)-taskLen]), template, status, k)
		}
		g := m.groups[len(m.groups)-1]
		g.Tasks++
		if g.Sampled < m.samples {
			g.Sampled++
			g.Bytes += taskBytes(t, key, taskKey(key[len(key)-taskLen:]))
		}
	}
	m.pos = nil
	return nil
}

func (m *sizing) enter(group, template string, status task.Status, oldest taskKey) {
	namespace, name, _ := strings.Cut(template, "/")
	m.group = group
	m.groups = append(m.groups, &store.TaskSize{
		Namespace: namespace, Template: name, Status: status,
		Oldest: time.UnixMilli(int64(ulid.ULID(oldest).Time())).UTC(), //nolint:gosec // 48 bits
	})
}

// taskBytes is the size of a task's keys and values, and of its entry in the index.
func taskBytes(t *txn, entry []byte, k taskKey) int64 {
	n := int64(len(entry))
	for _, kd := range []kind{kindSpecs, kindTasks} {
		n += int64(taskLen + len(t.get(kd, k[:])))
	}
	for _, kd := range []kind{kindSteps, kindBlobs, kindCheckpoints, kindSpans} {
		c := t.cursor(kd)
		for key, value := c.Seek(k[:]); key != nil && bytes.HasPrefix(key, k[:]); key, value = c.Next() {
			t.reads++
			n += int64(len(key) + len(value))
		}
	}
	return n
}
