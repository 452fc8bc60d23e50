package boltstore

// The file, schema version 2. A test fills every bucket by a scripted scenario, walks
// the file and compares what it finds with the three columns of this drawing.
//
//	bucket           key                              value
//	meta             version                          byte
//	meta             host_id                          ulid
//	meta             epoch                            uint64
//	meta             counters                         CountersRecord
//	specs            task                             SpecRecord
//	tasks            task                             seq | TaskRecord
//	steps            task | ordinal                   seq | StepRecord
//	templates        hash                             snapshot
//	live             task                             namespace / template
//	log              seq                              prev | LogRecord
//	blobs            task | n                         JSON
//	checkpoints      task | ordinal                   CheckpointRecord
//	keys             namespace 0 template 0 key       KeyRecord
//	crashes          plugin 0 time                    CrashRecord
//	cursors          subscription                     CursorRecord
//	dead_letters     subscription 0 seq               DeadLetterRecord
//	custom_events    name                             CustomEventRecord
//	by_state         namespace / template 0 status 0 task (empty)
//	by_tag           tag 0 task                       (empty)
//	by_correlation   correlation 0 task               (empty)
//	gone             task                             (empty)
//	spans            task | ordinal | n               ExportTraceServiceRequest
//
// Keys: task is the ULID as its 16 bytes, so that key order is the order of creation;
// ordinal and n are 4 bytes, seq, prev and time (nanoseconds since 1970) 8 bytes, all
// big-endian, because bbolt iterates in byte order; hash is the 32 bytes of a SHA-256;
// 0 is a NUL byte, which no name may contain, and "/" separates what cannot contain
// a slash. Values named ...Record are messages of proto/tasker/store/v1.
//
// Who writes: Open writes meta's version and host_id once and the epoch at each open
// for writing; the committer writes everything else.
//
// Why it is so:
//
//   - The version is a bare byte outside every encoding, so that any later program can
//     read it and say what it found.
//   - Buckets are flat and keys ordered by time: a bucket per task costs 1.5 times the
//     throughput, random keys 3 times.
//   - What never changes (specs) lies apart from what changes at each wave (steps) and
//     from what changes three or four times in a task's life (tasks), so that a
//     completed step costs its own record, the next claim's record and one log value.
//   - A step that is still in its initial state has no record; reading fills it in. A
//     task of 2,000 steps is created with a handful of writes.
//   - All events of a write set are one log value. Its first event has the sequence of
//     the key, each further event one more.
//   - seq in front of tasks and steps is the sequence of the task's last log value when
//     that record was written; prev in front of a log value is the task's log value
//     before it, 0 for the first and for events without a task. The events of a task
//     are therefore found by walking back from the largest seq of its records, without
//     an index and without a scan.
//   - A task's revision and task_seq are the largest of its records, for the same
//     reason: a step's transition does not rewrite the task's record.
//   - live is what a start must look at. Its entry goes when the task ends and comes
//     back when an operator reopens the task; nothing else moves.
//   - by_state holds the finished tasks, each under its template and status, written when
//     it ends and gone when it is reopened or deleted; live, which names the template, has
//     the others. A listing by template, status, namespace or any of them together reads
//     the entries it shows and no more, and retention finds the oldest task of each kind
//     with one seek. A put when a task ends takes the place of one at its creation.
//   - The other indexes hold only what the caller set: a correlation id that defaults to
//     the task id is not in by_correlation. Filters that have an index each are combined by
//     leaping from one to the other.
//   - A task is deleted with its idempotency key and all that is its own, but its events,
//     which stay until the log is cut. Of one that is too large for one transaction what
//     makes it a task goes first; gone then says whose steps, blobs, checkpoints and spans are left.
//   - Spans are kept as they came, several requests of one attempt behind each other, which
//     is the request with the spans of all. They are nobody's state: they are written
//     beside it and go with their task.
//   - A checkpoint has a bucket of its own: it comes once a second, does not touch the
//     task's revision, and goes with the write set that ends its step.
//   - The log is cut at its beginning and nowhere else, and its last value is never
//     removed: the next sequence is derived from it. What points to a value before the
//     first one (prev of a log value, seq of a task or step) points to what was cut.
//   - A cursor is one record that is replaced as a whole, so that moving it is one put
//     that rides with whatever is committed. What it says of events that fail is a part
//     of it: there are few, and they are read and written together.
//   - A dead letter holds its event: the log may lose it.

// SchemaVersion is the version of the drawing above. A change to the drawing or to the
// meaning of a record is a new version, a migration and a file under testdata.
const SchemaVersion = 2

// kind is one kind of record: a bucket.
type kind uint8

// The buckets, in the order of the drawing.
const (
	kindMeta          kind = iota // what is true of the whole file
	kindSpecs                     // what each task was asked to do
	kindTasks                     // the part of a task that changes
	kindSteps                     // steps that have left their initial state
	kindTemplates                 // template snapshots by hash
	kindLive                      // unfinished tasks
	kindLog                       // events in the order of their commits
	kindBlobs                     // values over task.MaxInline
	kindCheckpoints               // the last checkpoint of running steps
	kindKeys                      // idempotency keys
	kindCrashes                   // crash reports per plugin
	kindCursors                   // where subscriptions stand
	kindDeadLetters               // events that a subscriber could not handle
	kindCustomEvents              // custom events as last declared
	kindByState                   // finished tasks by template and status
	kindByTag                     // tasks by tag
	kindByCorrelation             // tasks by a correlation id that the caller chose
	kindGone                      // tasks that are deleted but for steps, blobs, checkpoints and spans
	kindSpans                     // what attempts did
	kinds                         // how many there are
)

// kindNames are the names of the buckets in the file.
func kindNames() [kinds]string {
	return [kinds]string{
		"meta", "specs", "tasks", "steps", "templates", "live", "log", "blobs", "checkpoints",
		"keys", "crashes", "cursors", "dead_letters", "custom_events",
		"by_state", "by_tag", "by_correlation", "gone", "spans",
	}
}

// name is the name of the bucket in the file.
func (k kind) name() string { return kindNames()[k] }

// appendOnly reports whether keys of this kind only ever grow, so that its pages may be
// filled: nothing will be inserted into them later.
func (k kind) appendOnly() bool {
	return k == kindSpecs || k == kindTasks || k == kindLog || k == kindBlobs
}

// The keys of the meta bucket.
const (
	metaVersion  = "version"  // SchemaVersion as one byte
	metaHostID   = "host_id"  // the host's ULID, made with the file
	metaEpoch    = "epoch"    // how often the file was opened for writing
	metaCounters = "counters" // tasks by status
)
