package sdk

// Dedupe remembers the ids of events that were handled.
type Dedupe struct{}

// NewDedupe remembers the last size ids in memory.
func NewDedupe(size int) *Dedupe { return &Dedupe{} }

// OpenDedupe remembers the last size ids also in a file, which outlives the process. A relative path is in the
// plugin's data directory.
func OpenDedupe(path string, size int) (*Dedupe, error) { return &Dedupe{}, nil }

// Seen reports whether an id was marked.
func (d *Dedupe) Seen(id string) bool { return false }

// Mark remembers an id: call it when the event was handled.
func (d *Dedupe) Mark(id string) error { return nil }

// Close closes the file, where there is one.
func (d *Dedupe) Close() error { return nil }
