package boltstore

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

func (v *verifier) meta() error {
	meta := v.t.bucket(kindMeta)
	if err := errors.Join(checkVersion(v.t.tx), (&Store{}).readIdentity(v.t.tx)); err != nil {
		v.damage("meta", err)
	}
	return v.walk(kindMeta, func(key, _ []byte) {
		known := []string{metaVersion, metaHostID, metaEpoch, metaCounters}
		if !slices.Contains(known, string(key)) || meta.Get(key) == nil {
			v.report(fmt.Sprintf("meta/%q", key), remedyRecord, "no such entry is known")
		}
	})
}

// log checks order and links, and builds the chains. It may have been cut at its
// beginning.
func (v *verifier) log() error {
	v.next = 1
	return v.walk(kindLog, func(key, value []byte) {
		r, err := parseLog(key, value)
		if err != nil {
			v.damage("log", err)
			return
		}
		place := fmt.Sprintf("log/%d", r.seq)
		switch {
		case v.first == 0:
			v.first = r.seq
		case r.seq < v.next:
			v.report(place, remedyRecord, "it overlaps the record before, which ends at %d", v.next-1)
		case r.seq > v.next:
			v.report(place, remedyRecord, "it follows %d, the records between are missing", v.next-1)
		}
		v.next = r.end()
		v.logRecord(place, &r)
	})
}

func (v *verifier) logRecord(place string, r *logRecord) {
	var of *chain
	var owner string
	for i, encoded := range r.events {
		e := &eventv1.Event{}
		if err := proto.Unmarshal(encoded, e); err != nil {
			v.damage(place, fmt.Errorf("event %d: %w", i, err))
			return
		}
		if i == 0 {
			owner = e.GetTaskId()
			of = v.chainOf(place, owner)
			if of != nil && of.last == 0 && r.prev != 0 && r.prev < v.first {
				of.taskSeq = e.GetTaskSeq() - 1 // the chain was cut here
			} else if of != nil && r.prev != of.last {
				v.report(place, remedyRecord, "it follows %d, but the task's record before is %d", r.prev, of.last)
			} else if of == nil && r.prev != 0 {
				v.report(place, remedyRecord, "it follows %d without a task", r.prev)
			}
		}
		if e.GetTaskId() != owner {
			v.report(place, remedyRecord, "it mixes events of %q and %q", owner, e.GetTaskId())
			return
		}
		if of == nil {
			continue
		}
		if e.GetTaskSeq() != of.taskSeq+1 {
			v.report(place, remedyRecord, "task_seq %d of task %s follows %d", e.GetTaskSeq(), owner, of.taskSeq)
		}
		of.taskSeq = e.GetTaskSeq()
		of.ended = of.ended || ends(e.GetType())
	}
	if of != nil {
		of.last = r.seq
	}
}

func (v *verifier) chainOf(place, owner string) *chain {
	if owner == "" {
		return nil
	}
	k, err := parseTaskKey(task.ID(owner))
	if err != nil {
		v.damage(place, err)
		return nil
	}
	if v.chains[k] == nil {
		v.chains[k] = &chain{}
	}
	return v.chains[k]
}

// ends reports whether an event says that a task has ended.
func ends(event string) bool {
	switch event {
	case "task.completed", "task.failed", "task.cancelled", "task.resolved_manually":
		return true
	default:
		return false
	}
}

// lost finds tasks of which there are events and nothing else although they have not
// ended: those that have may have been deleted.
func (v *verifier) lost() error {
	for k, ch := range v.chains {
		if !ch.ended && !v.exists(kindSpecs, k[:]) {
			v.report(fmt.Sprintf("log/%d", ch.last), remedyRecord, "it belongs to task %s, which has not ended and does not exist", k.id())
		}
		if err := v.pause(); err != nil {
			return err
		}
	}
	return nil
}

// written is what every record of a task says about when it was written.
type written struct {
	place              string
	revision, seq, log uint64
}

// tasks checks each task with its steps against the log, live, indexes and blobs.
func (v *verifier) tasks() error {
	return v.walk(kindSpecs, func(key, value []byte) {
		k, ok := asTaskKey(key)
		if !ok {
			v.report(fmt.Sprintf("specs/%x", key), remedyRecord, "the key is no task id")
			return
		}
		spec := &storev1.SpecRecord{}
		if err := decode(value, spec, "specs/"+string(k.id())); err != nil {
			v.damage("specs", err)
			return
		}
		v.task(k, spec)
	})
}

func (v *verifier) task(k taskKey, spec *storev1.SpecRecord) {
	record, log, err := readTask(v.t, k)
	if err != nil {
		v.damage("tasks", err)
		return
	}
	status := task.Status(record.GetStatus())
	if !slices.Contains(task.Statuses(), status) {
		v.report("tasks/"+string(k.id()), remedyRecord, "unknown status %q", status)
	}
	v.counted[status]++
	records := []written{{"tasks/" + string(k.id()), record.GetRevision(), record.GetTaskSeq(), log}}
	blobs := make(map[uint32]*storev1.BlobRef)
	addBlob(blobs, spec.GetInput())
	err = v.t.each(kindSteps, k[:], func(key, value []byte) error {
		_, n, ok := asStepKey(key)
		place := fmt.Sprintf("steps/%s/%d", k.id(), n)
		if !ok || n >= spec.GetSteps() {
			v.report(place, remedyRecord, "key %x: the task has %d steps", key, spec.GetSteps())
			return nil
		}
		r := &storev1.StepRecord{}
		log, err := decodePrefixed(value, r, place)
		if err != nil {
			v.damage(place, err)
			return nil
		}
		if !slices.Contains(task.StepStatuses(), task.StepStatus(r.GetStatus())) {
			v.report(place, remedyRecord, "unknown status %q", r.GetStatus())
		}
		addBlob(blobs, r.GetResults())
		addBlob(blobs, r.GetAttempt().GetInput())
		records = append(records, written{place, r.GetRevision(), r.GetTaskSeq(), log})
		return nil
	})
	if err != nil {
		v.damage("steps", err)
	}
	v.history(k, records)
	v.entries(k, spec, status)
	v.blobs(k, blobs)
	if !v.exists(kindTemplates, spec.GetTemplateHash()) {
		v.report("specs/"+string(k.id()), remedyRecord, "template snapshot %x is missing", spec.GetTemplateHash())
	}
}

func addBlob(blobs map[uint32]*storev1.BlobRef, value *storev1.Value) {
	if ref := value.GetBlob(); ref != nil {
		blobs[ref.GetN()] = ref
	}
}

// history checks that a task's records, ordered by revision, have rising sequences and
// end where its chain ends.
func (v *verifier) history(k taskKey, records []written) {
	slices.SortFunc(records, func(a, b written) int { return cmp.Compare(a.revision, b.revision) })
	for i, r := range records {
		if r.revision == 0 {
			v.report(r.place, remedyRecord, "revision 0")
		}
		if i == 0 {
			continue
		}
		before := records[i-1]
		if r.seq < before.seq || r.log < before.log || r.revision == before.revision && (r.seq != before.seq || r.log != before.log) {
			v.report(r.place, remedyRecord, "revision %d has task_seq %d at log %d, revision %d (%s) has %d at %d",
				r.revision, r.seq, r.log, before.revision, before.place, before.seq, before.log)
		}
	}
	last := records[len(records)-1]
	ch := v.chains[k]
	switch {
	case ch != nil:
	case last.log != 0 && last.log < v.first:
		return // the whole chain was cut
	default:
		ch = &chain{}
	}
	if last.seq != ch.taskSeq || last.log != ch.last {
		v.report(last.place, remedyRecord, "the records end at task_seq %d (log %d), the log at %d (log %d)", last.seq, last.log, ch.taskSeq, ch.last)
	}
}

// entries checks that the entries of a task that must exist do; orphans are found from
// the other side.
func (v *verifier) entries(k taskKey, spec *storev1.SpecRecord, status task.Status) {
	name := templateName(spec.GetNamespace(), spec.GetTemplate())
	if !status.Terminal() {
		if of := v.t.get(kindLive, k[:]); of == nil {
			v.report("live/"+string(k.id()), remedyRecord, "missing: the task is %s", status)
		} else if string(of) != name {
			v.report("live/"+string(k.id()), remedyIndex, "it says template %q, the task has %q", of, name)
		}
	}
	want := func(kd kind, name string) {
		if !v.exists(kd, indexKey(name, k)) {
			v.report(fmt.Sprintf("%s/%q/%s", kd.name(), name, k.id()), remedyIndex, "missing")
		}
	}
	for _, tag := range spec.GetTags() {
		want(kindByTag, tag)
	}
	if spec.GetCorrelationSet() {
		want(kindByCorrelation, specFromRecord(k.id(), spec).CorrelationID)
	}
	if status.Terminal() {
		want(kindByState, stateName(name, status))
	}
}

// blobs checks that the blobs of a task are those that its records refer to.
func (v *verifier) blobs(k taskKey, refs map[uint32]*storev1.BlobRef) {
	err := v.t.each(kindBlobs, k[:], func(key, value []byte) error {
		_, n, ok := asStepKey(key)
		place := fmt.Sprintf("blobs/%s/%d", k.id(), n)
		ref := refs[n]
		delete(refs, n)
		switch sum := sha256.Sum256(value); {
		case !ok:
			v.report(fmt.Sprintf("blobs/%x", key), remedyRecord, "the key is no task and number")
		case ref == nil:
			v.report(place, remedyRecord, "nothing refers to it")
		case ref.GetSize() != int64(len(value)) || !bytes.Equal(ref.GetSha256(), sum[:]):
			v.report(place, remedyRecord, "it has %d bytes and the digest %x, its record says %d and %x", len(value), sum, ref.GetSize(), ref.GetSha256())
		}
		return nil
	})
	if err != nil {
		v.damage("blobs", err)
	}
	for n := range refs {
		v.report(fmt.Sprintf("blobs/%s/%d", k.id(), n), remedyRecord, "missing: %s refers to it", blobName(n))
	}
}

// steplike finds records of tasks that do not exist, and checks checkpoints.
func (v *verifier) steplike() error {
	orphan := func(k kind) func(key, value []byte) {
		return func(key, _ []byte) {
			if len(key) < taskLen || !v.exists(kindSpecs, key[:taskLen]) && (k == kindTasks || !v.exists(kindGone, key[:taskLen])) {
				v.report(fmt.Sprintf("%s/%x", k.name(), key), remedyRecord, "its task does not exist")
			}
		}
	}
	for _, k := range []kind{kindTasks, kindSteps, kindBlobs, kindSpans} {
		if err := v.walk(k, orphan(k)); err != nil {
			return err
		}
	}
	return v.walk(kindCheckpoints, func(key, value []byte) {
		place := fmt.Sprintf("checkpoints/%x", key)
		k, n, ok := asStepKey(key)
		if !ok {
			v.report(place, remedyRecord, "the key is no step")
			return
		}
		place = fmt.Sprintf("checkpoints/%s/%d", k.id(), n)
		if err := decode(value, &storev1.CheckpointRecord{}, place); err != nil {
			v.damage(place, err)
		}
		if v.exists(kindGone, k[:]) {
			return
		}
		step := &storev1.StepRecord{}
		record := v.t.get(kindSteps, key)
		if record == nil {
			v.report(place, remedyRecord, "its step was never claimed")
			return
		}
		if _, err := decodePrefixed(record, step, place); err == nil && task.StepStatus(step.GetStatus()).Satisfies() {
			v.report(place, remedyRecord, "its step is %s", step.GetStatus())
		}
		if owner, _, err := readTask(v.t, k); err == nil && !keepsCheckpoints(task.Status(owner.GetStatus())) {
			v.report(place, remedyRecord, "its task is %s", owner.GetStatus())
		}
	})
}

// gone finds marks of tasks that exist.
func (v *verifier) gone() error {
	return v.walk(kindGone, func(key, _ []byte) {
		if k, ok := asTaskKey(key); !ok || v.exists(kindSpecs, k[:]) {
			v.report(fmt.Sprintf("gone/%x", key), remedyRecord, "the key is no task that was deleted")
		}
	})
}

func (v *verifier) live() error {
	return v.walk(kindLive, func(key, _ []byte) {
		k, ok := asTaskKey(key)
		if !ok {
			v.report(fmt.Sprintf("live/%x", key), remedyRecord, "the key is no task id")
			return
		}
		record, _, err := readTask(v.t, k)
		if err != nil {
			v.damage("live/"+string(k.id()), err)
		} else if task.Status(record.GetStatus()).Terminal() {
			v.report("live/"+string(k.id()), remedyRecord, "the task is %s", record.GetStatus())
		}
	})
}

func (v *verifier) templates() error {
	return v.walk(kindTemplates, func(key, value []byte) {
		if sum := sha256.Sum256(value); !bytes.Equal(key, sum[:]) {
			v.report(fmt.Sprintf("templates/%x", key), remedyRecord, "the snapshot has the digest %x", sum)
		}
	})
}

// indexes finds entries that no task justifies.
func (v *verifier) indexes() error {
	justified := map[kind]func(name string, spec *storev1.SpecRecord, k taskKey) bool{
		kindByTag: func(name string, s *storev1.SpecRecord, _ taskKey) bool { return slices.Contains(s.GetTags(), name) },
		kindByCorrelation: func(name string, s *storev1.SpecRecord, k taskKey) bool {
			return s.GetCorrelationSet() && name == specFromRecord(k.id(), s).CorrelationID
		},
	}
	for kd := kindByTag; kd <= kindByCorrelation; kd++ {
		err := v.walk(kd, func(key, _ []byte) {
			name, k, ok := asIndexKey(key)
			if !ok {
				v.report(fmt.Sprintf("%s/%q", kd.name(), key), remedyIndex, "the key is no name and task")
				return
			}
			spec, err := readSpec(v.t, k)
			if err != nil || !justified[kd](name, spec, k) {
				v.report(fmt.Sprintf("%s/%q/%s", kd.name(), name, k.id()), remedyIndex, "no task justifies it")
			}
		})
		if err != nil {
			return err
		}
	}
	return v.walk(kindByState, func(key, _ []byte) {
		name, status, k, ok := asStateKey(key)
		if !ok {
			v.report(fmt.Sprintf("by_state/%q", key), remedyIndex, "the key is no template, status and task")
			return
		}
		spec, err1 := readSpec(v.t, k)
		record, _, err2 := readTask(v.t, k)
		if err1 != nil || err2 != nil || !status.Terminal() || record.GetStatus() != string(status) ||
			name != templateName(spec.GetNamespace(), spec.GetTemplate()) {
			v.report(fmt.Sprintf("by_state/%q/%s/%s", name, status, k.id()), remedyIndex, "no task justifies it")
		}
	})
}

func (v *verifier) keys() error {
	return v.walk(kindKeys, func(key, value []byte) {
		place := fmt.Sprintf("keys/%q", key)
		r := &storev1.KeyRecord{}
		if err := decode(value, r, place); err != nil {
			v.damage(place, err)
			return
		}
		k, err := parseTaskKey(task.ID(r.GetTaskId()))
		if err != nil {
			v.damage(place, err)
			return
		}
		spec, err := readSpec(v.t, k)
		if err != nil {
			v.damage(place, fmt.Errorf("task %s: %w", r.GetTaskId(), err))
			return
		}
		if want := idempotencyKey(spec.GetNamespace(), spec.GetTemplate(), spec.GetIdempotencyKey()); !bytes.Equal(key, want) {
			v.report(place, remedyRecord, "task %s has the key %q", r.GetTaskId(), want)
		}
		if !bytes.Equal(r.GetInputHash(), spec.GetInputHash()) {
			v.report(place, remedyRecord, "it has the input hash %s, task %s has %s",
				hex.EncodeToString(r.GetInputHash()), r.GetTaskId(), hex.EncodeToString(spec.GetInputHash()))
		}
	})
}

func (v *verifier) crashes() error {
	reports := make(map[string]int)
	err := v.walk(kindCrashes, func(key, value []byte) {
		plugin, _, ok := asCrashKey(key)
		if err := decode(value, &storev1.CrashRecord{}, fmt.Sprintf("crashes/%q", key)); err != nil || !ok {
			v.report(fmt.Sprintf("crashes/%q", key), remedyRecord, "the key is no plugin and time, or the record is damaged: %v", err)
			return
		}
		reports[plugin]++
	})
	for plugin, n := range reports {
		if n > store.MaxCrashes {
			v.report("crashes/"+plugin, remedyIndex, "%d reports, at most %d are kept", n, store.MaxCrashes)
		}
	}
	return err
}

// counters compares the maintained counters with a recount.
func (v *verifier) counters() error {
	kept, err := readCounters(v.t)
	if err != nil {
		v.damage("meta/counters", err)
		return nil
	}
	for _, status := range task.Statuses() {
		if kept[status] != v.counted[status] {
			v.report("meta/counters", remedyIndex, "%d tasks are %s, the counter says %d", v.counted[status], status, kept[status])
		}
	}
	return nil
}
