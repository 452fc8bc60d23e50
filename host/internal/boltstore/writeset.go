package boltstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// maxPooled is the capacity in bytes up to which an encoding buffer is used again.
const maxPooled = 256 << 10

// maxLogValue is how many bytes the events of one write set may have together: they are
// one value of the file, which takes no more than 2 GiB.
const maxLogValue = 256 << 20

// span is one record in an encoding buffer: a key and, right behind it, its value.
type span struct {
	kind            kind
	gone            bool // the record is removed; there is no value
	key, value, end int
}

// indexEntry is a key without a value.
type indexEntry struct {
	kind kind
	key  []byte
}

// setJob is an encoded write set on its way to the committer.
type setJob struct {
	buf   []byte
	spans []span
	blobs []store.Blob // not copied into buf
	index []indexEntry // in by_tag and by_correlation

	key        taskKey
	hasTask    bool
	expected   uint64
	revision   uint64
	status     task.Status    // of ws.Task, empty when the task's record does not change
	ofTemplate string         // namespace/template, when the task's record changes
	satisfied  []task.Ordinal // steps that never run again by themselves or by a retry
	events     uint64
	logValue   [2]int // the log value in buf
	logKey     [seqLen]byte
	template   []byte // the snapshot and its hash, on creation
	hash       []byte
	idempotent *keyClaim // nil without a key
	head       *head     // of the task, from check to apply
	forgotten  []string  // subscriptions whose records go
	highest    uint64    // the largest sequence that a subscription's record names

	err      error // why it could not be encoded
	firstSeq uint64
	done     func(store.Commit, error)
	pool     *setPool
}

// setPool holds jobs with their buffers between write sets.
type setPool struct{ pool sync.Pool }

func (p *setPool) get() *setJob {
	if j, ok := p.pool.Get().(*setJob); ok {
		return j
	}
	return &setJob{}
}

func (p *setPool) put(j *setJob) {
	if cap(j.buf) <= maxPooled {
		j.reset()
		p.pool.Put(j)
	}
}

// reset forgets everything but the memory that another write set can use.
func (j *setJob) reset() {
	clear(j.blobs)
	clear(j.index)
	clear(j.forgotten)
	*j = setJob{
		buf: j.buf[:0], spans: j.spans[:0], blobs: j.blobs[:0], index: j.index[:0],
		satisfied: j.satisfied[:0], forgotten: j.forgotten[:0],
	}
}

// Submit queues a write set; see [store.Store]. It never blocks. When nothing can be
// queued at all, because the store is closed or open for reading, done is called
// before Submit returns.
func (s *Store) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	if s.readOnly {
		done(store.Commit{}, store.ErrReadOnly)
		return
	}
	j := s.sets.get()
	j.pool, j.done = &s.sets, done
	if j.err = j.encode(ws); j.err != nil {
		j.err = describe(ws, j.err)
	}
	if err := s.queue.push(j); err != nil {
		j.finish(err)
	}
}

func describe(ws *store.WriteSet, err error) error {
	if ws.TaskID == "" {
		return fmt.Errorf("write set without a task: %w", err)
	}
	return fmt.Errorf("write set of task %s: %w", ws.TaskID, err)
}

// encode turns a write set into records. It does everything that needs no look at the
// file, so that the committer only writes.
func (j *setJob) encode(ws *store.WriteSet) (err error) {
	if ws.TaskID != "" {
		if j.key, err = parseTaskKey(ws.TaskID); err != nil {
			return err
		}
		j.hasTask = true
	}
	if err := checkShape(ws); err != nil {
		return err
	}
	if ws.TaskID != "" {
		if err := j.encodeTask(ws); err != nil {
			return err
		}
	}
	if ws.Delivery != nil {
		if err := j.encodeDelivery(ws.Delivery); err != nil {
			return err
		}
	}
	return j.encodeLog(ws.Events)
}

// checkShape refuses write sets that no decision can have made.
func checkShape(ws *store.WriteSet) error {
	bad := ""
	switch {
	case ws.TaskID == "":
		if ws.Create != nil || ws.Task != nil || len(ws.Steps) > 0 || len(ws.Blobs) > 0 {
			bad = "it has no task but changes one"
		} else if len(ws.Events) == 0 && changesNothing(ws.Delivery) {
			bad = "it is empty"
		}
	case ws.Delivery != nil:
		bad = "it has a task and changes subscriptions"
	case ws.Revision != ws.Expected+1:
		bad = fmt.Sprintf("revision %d does not follow %d", ws.Revision, ws.Expected)
	case (ws.Create != nil) != (ws.Expected == 0):
		bad = "only a creation expects revision 0"
	case ws.Create != nil && ws.Task == nil:
		bad = "a creation needs the task"
	case ws.Create != nil && ws.Create.Spec.ID != ws.TaskID:
		bad = "it creates another task"
	case ws.Task == nil && len(ws.Steps) == 0:
		bad = "it changes neither the task nor a step"
	}
	if bad != "" {
		return fmt.Errorf("%w: %s", task.ErrInvalid, bad)
	}
	return nil
}

func (j *setJob) encodeTask(ws *store.WriteSet) (err error) {
	j.expected, j.revision = ws.Expected, ws.Revision
	if ws.Create != nil {
		if err := j.encodeCreation(ws.Create); err != nil {
			return err
		}
	}
	if ws.Task != nil {
		j.status, j.ofTemplate = ws.Task.Status, templateName(ws.Task.Template.Namespace, ws.Task.Template.Name)
		j.begin(kindTasks, j.key[:])
		e := encoder{j.buf}
		e.task(ws.Task, ws.Revision, ws.Seq)
		j.buf = e.buf
		j.end()
	}
	for _, step := range ws.Steps {
		if err := j.encodeStep(step, ws); err != nil {
			return err
		}
	}
	for _, b := range ws.Blobs {
		if len(b.Data) > task.MaxValue {
			return fmt.Errorf("%s has %d bytes, at most %d are allowed: %w", blobName(b.N), len(b.Data), task.MaxValue, task.ErrTooLarge)
		}
		j.blobs = append(j.blobs, b)
	}
	return nil
}

// blobName says what a blob number of a task stands for.
func blobName(n uint32) string {
	if n == task.InputBlob {
		return "the input"
	}
	o, input, _ := task.BlobStep(n)
	if input {
		return fmt.Sprintf("the input of step %d", o)
	}
	return fmt.Sprintf("the result of step %d", o)
}

func (j *setJob) encodeStep(step *task.Step, ws *store.WriteSet) error {
	key := j.key.step(uint32(step.Ordinal))
	j.begin(kindSteps, key[:])
	e := encoder{j.buf}
	if err := e.step(step, ws.Revision, ws.Seq); err != nil {
		return fmt.Errorf("step %q: %w", step.Name, err)
	}
	j.buf = e.buf
	if n := j.end(); n > task.MaxValue {
		return fmt.Errorf("step %q: its record has %d bytes, at most %d are allowed: %w", step.Name, n, task.MaxValue, task.ErrTooLarge)
	}
	if step.Status.Satisfies() {
		j.satisfied = append(j.satisfied, step.Ordinal)
	}
	return nil
}

func (j *setJob) encodeCreation(c *store.Creation) (err error) {
	spec := &c.Spec
	name := templateName(spec.Template.Namespace, spec.Template.Name)
	if err := checkName("template name", name); err != nil {
		return err
	}
	for _, tag := range spec.Tags {
		if err := j.addIndex(kindByTag, "tag", tag); err != nil {
			return err
		}
	}
	if spec.CorrelationSet {
		if err := j.addIndex(kindByCorrelation, "correlation id", spec.CorrelationID); err != nil {
			return err
		}
	}
	if j.idempotent, err = newKeyClaim(spec); err != nil {
		return err
	}
	j.template = c.Template
	if j.hash, err = parseHash("template hash", spec.Template.Hash); err != nil {
		return err
	}
	if sum := sha256.Sum256(c.Template); !bytes.Equal(sum[:], j.hash) {
		return fmt.Errorf("%w: template snapshot of %s has the hash %x, not %x", task.ErrInvalid, name, sum, j.hash)
	}
	j.begin(kindSpecs, j.key[:])
	e := encoder{j.buf}
	if err := e.spec(spec, j.hash, c.Steps); err != nil {
		return err
	}
	j.buf = e.buf
	if n := j.end(); n > task.MaxValue {
		return fmt.Errorf("the task's spec has %d bytes, at most %d are allowed: %w", n, task.MaxValue, task.ErrTooLarge)
	}
	return nil
}

func (j *setJob) addIndex(k kind, what, name string) error {
	if err := checkName(what, name); err != nil {
		return err
	}
	j.index = append(j.index, indexEntry{k, indexKey(name, j.key)})
	return nil
}

// begin starts a record; the caller appends its value to buf and calls end.
func (j *setJob) begin(k kind, key []byte) {
	sp := span{kind: k, key: len(j.buf)}
	j.buf = append(j.buf, key...)
	sp.value = len(j.buf)
	if k == kindTasks || k == kindSteps {
		j.buf = append(j.buf, make([]byte, prefixLen)...) // set by apply
	}
	j.spans = append(j.spans, sp)
}

// end finishes the record and returns the size of its value.
func (j *setJob) end() int {
	sp := &j.spans[len(j.spans)-1]
	sp.end = len(j.buf)
	return sp.end - sp.value
}

// logEvents is the field of LogRecord that holds the events.
const logEvents protowire.Number = 1

func (j *setJob) encodeLog(events []store.Event) error {
	if len(events) == 0 {
		return nil
	}
	size := 0
	for i := range events {
		size += len(events[i].Encoded)
	}
	if size > maxLogValue {
		return fmt.Errorf("%d events of %d bytes, at most %d are taken at once: %w", len(events), size, maxLogValue, task.ErrTooLarge)
	}
	j.events = uint64(len(events))
	j.logValue[0] = len(j.buf)
	j.buf = append(j.buf, make([]byte, prefixLen)...) // set by apply
	for i := range events {
		j.buf = protowire.AppendTag(j.buf, logEvents, protowire.BytesType)
		j.buf = protowire.AppendBytes(j.buf, events[i].Encoded)
	}
	j.logValue[1] = len(j.buf)
	return nil
}

func (j *setJob) op() operation { return opSubmit }

func (j *setJob) size() int {
	n := len(j.buf) + len(j.template)
	for i := range j.blobs {
		n += len(j.blobs[i].Data)
	}
	return n
}

// check refuses a set that was not decided on the stored revision, a creation whose
// idempotency key is taken, and a cursor behind the end of the log.
func (j *setJob) check(c *committer, t *txn) error {
	if j.err != nil {
		return j.err
	}
	if !j.hasTask {
		return j.checkDelivery(c)
	}
	if until, ok := c.refused[j.key]; ok && c.ticket <= until {
		return fmt.Errorf("task %s: a write set before this one failed: %w", j.key.id(), store.ErrConflict)
	}
	h, err := c.head(t, j.key)
	if err != nil {
		return err
	}
	if h == nil {
		h = &head{}
	}
	j.head = h
	if stored := h.revision; stored != j.expected {
		return fmt.Errorf("task %s is at revision %d, not %d: %w", j.key.id(), stored, j.expected, store.ErrConflict)
	}
	if j.idempotent != nil {
		return j.idempotent.check(t)
	}
	return nil
}

func (j *setJob) apply(c *committer, t *txn) error {
	c.s.writeSets.Add(1)
	if !j.hasTask {
		if err := j.applyLog(c, t, &head{}); err != nil {
			return err
		}
		return j.applyDelivery(t)
	}
	h := j.head
	if err := j.applyLog(c, t, h); err != nil {
		return err
	}
	for _, sp := range j.spans {
		value := j.buf[sp.value:sp.end]
		if sp.kind == kindTasks || sp.kind == kindSteps {
			binary.BigEndian.PutUint64(value, h.lastLog)
		}
		if err := t.put(sp.kind, j.buf[sp.key:sp.value], value); err != nil {
			return err
		}
	}
	if err := j.applyValues(c, t, h); err != nil {
		return err
	}
	h.revision = j.revision
	if err := j.applyStatus(c, t, h); err != nil {
		return err
	}
	c.remember(j.key, h)
	return nil
}

// applyLog gives the events their sequence and links them to the task's events before.
func (j *setJob) applyLog(c *committer, t *txn, h *head) error {
	if j.events == 0 {
		return nil
	}
	j.firstSeq = c.next
	c.next += j.events
	value := j.buf[j.logValue[0]:j.logValue[1]]
	binary.BigEndian.PutUint64(value, h.lastLog)
	h.lastLog = j.firstSeq
	j.logKey = seqKey(j.firstSeq)
	return t.put(kindLog, j.logKey[:], value)
}

// applyValues writes what lies beside the records: the snapshot, indexes, the key,
// blobs; and drops the checkpoints that no attempt will ask for.
func (j *setJob) applyValues(c *committer, t *txn, h *head) error {
	if err := j.applyCreation(c, t); err != nil {
		return err
	}
	for i := range j.blobs {
		key := j.key.step(j.blobs[i].N)
		if err := t.put(kindBlobs, key[:], j.blobs[i].Data); err != nil {
			return err
		}
	}
	return j.dropCheckpoints(t, h)
}

// dropCheckpoints drops the checkpoints of steps whose work is done, and all of a task
// that nobody can retry. Those of a step in error stay: an operator's retry goes on
// from there.
func (j *setJob) dropCheckpoints(t *txn, h *head) error {
	if len(h.checkpoints) == 0 {
		return nil
	}
	drop := j.satisfied
	if j.status.Terminal() && !keepsCheckpoints(j.status) {
		drop = slices.Sorted(maps.Keys(h.checkpoints))
	}
	for _, o := range drop {
		if _, ok := h.checkpoints[o]; !ok {
			continue
		}
		delete(h.checkpoints, o)
		key := j.key.step(uint32(o))
		if err := t.del(kindCheckpoints, key[:]); err != nil {
			return err
		}
	}
	return nil
}

// keepsCheckpoints reports whether a task of a status may have checkpoints.
func keepsCheckpoints(s task.Status) bool { return !s.Terminal() || s == task.Error }

func (j *setJob) applyCreation(c *committer, t *txn) error {
	if j.hash == nil {
		return nil
	}
	if _, known := c.hashes[string(j.hash)]; !known {
		if t.get(kindTemplates, j.hash) == nil {
			if err := t.put(kindTemplates, j.hash, j.template); err != nil {
				return err
			}
		}
		c.hashes[string(j.hash)] = struct{}{}
	}
	for _, e := range j.index {
		if err := t.mark(e.kind, e.key); err != nil {
			return err
		}
	}
	if j.idempotent == nil {
		return nil
	}
	return j.idempotent.apply(t)
}

// applyStatus moves the task between live, by_state and the counters.
func (j *setJob) applyStatus(c *committer, t *txn, h *head) error {
	from, to := h.status, j.status
	if to == "" || to == from {
		return nil
	}
	h.status = to
	c.counters.move(from, to)
	c.counted = true
	wasLive := from != "" && !from.Terminal()
	switch isLive := !to.Terminal(); {
	case isLive && !wasLive:
		if err := t.put(kindLive, j.key[:], []byte(j.ofTemplate)); err != nil {
			return err
		}
	case wasLive && !isLive:
		if err := t.del(kindLive, j.key[:]); err != nil {
			return err
		}
	}
	if from.Terminal() {
		if err := t.del(kindByState, indexKey(stateName(j.ofTemplate, from), j.key)); err != nil {
			return err
		}
	}
	if to.Terminal() {
		return t.mark(kindByState, indexKey(stateName(j.ofTemplate, to), j.key))
	}
	return nil
}

func (j *setJob) finish(err error) {
	done, commit := j.done, store.Commit{}
	if err == nil {
		commit.FirstSeq = j.firstSeq
	}
	j.pool.put(j)
	done(commit, err)
}
