package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Events of a digest wait on disk, since the host sends only so many events ahead of answers: an event is acknowledged
// once it is there for good. Below the directory of digests each binding config has its own:
//
//	<hash of the config>/binding.json     the config
//	<hash of the config>/open/*.json      one file per event
//	<hash of the config>/sealed-*/*.json  those of a mail that is being sent
//	<hash of the config>/sent-*           what is about to be removed
//
// A mail takes the events that are open by renaming the directory, and removes them once the server has accepted it. A
// process that dies before leaves them sealed, and the next one sends the same events with the same Message-ID, so that
// mail systems can tell that it is the same mail. Events are added, and mails sent, under the digest's lock.

const (
	bindingFile  = "binding.json"
	openDir      = "open"
	sealedPrefix = "sealed-"
	sentPrefix   = "sent-"

	firstPause = 30 * time.Second // after a mail that could not be sent; doubled each time
	maxPause   = 30 * time.Minute
)

// sender sends the mail of a digest.
type sender func(ctx context.Context, b binding, id string, events []sdk.Event[json.RawMessage]) error

// digests are the digests of all bindings.
type digests struct {
	dir  string
	send sender
	log  *slog.Logger

	ctx  context.Context //nolint:containedctx // that of the mails that timers send; ends with close
	stop context.CancelFunc

	mu  sync.Mutex
	all map[string]*digest // by the hash of the binding's config
}

// digest gathers the events of one binding.
type digest struct {
	*digests

	dir     string
	binding binding

	mu      sync.Mutex
	waiting map[string]bool // the files in openDir
	timer   *time.Timer     // sends; nil = nothing waits
	closed  bool
	failure error // why the last mail could not be sent; nil = it was
	pause   time.Duration
	retryAt time.Time
}

// stored is an event on disk.
type stored struct {
	Received time.Time   `json:"received"`
	Event    storedEvent `json:"event"`
}

// storedEvent is an [sdk.Event] whose names on disk are the plugin's own.
type storedEvent struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Seq           uint64          `json:"seq"`
	At            time.Time       `json:"at"`
	Task          string          `json:"task,omitempty"`
	TaskSeq       uint64          `json:"task_seq,omitempty"`
	Step          string          `json:"step,omitempty"`
	Namespace     string          `json:"namespace,omitempty"`
	Template      string          `json:"template,omitempty"`
	Version       string          `json:"version,omitempty"`
	CorrelationID string          `json:"correlation_id,omitempty"`
	Traceparent   string          `json:"traceparent,omitempty"`
	Delivery      int             `json:"delivery"`
	Payload       json.RawMessage `json:"payload,omitempty"`
}

// openDigests takes up what an earlier process has left.
func openDigests(dir string, send sender, log *slog.Logger) (*digests, error) {
	ds := &digests{dir: dir, send: send, log: log, all: make(map[string]*digest)}
	ds.ctx, ds.stop = context.WithCancel(context.Background())
	ds.mu.Lock()
	defer ds.mu.Unlock()
	found, err := list(dir, "", "")
	if err != nil {
		return nil, err
	}
	for _, of := range found {
		file := filepath.Join(of, bindingFile)
		if _, err := os.Stat(file); err != nil { // no digest, or one that had not begun
			continue
		}
		doc, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read a digest: %w", err)
		}
		d := &digest{digests: ds, dir: of, waiting: make(map[string]bool)}
		if err := json.Unmarshal(doc, &d.binding); err != nil {
			return nil, fmt.Errorf("read the digest %s: %w", file, err)
		}
		ds.all[filepath.Base(of)] = d
		if err := d.takeUp(); err != nil {
			return nil, err
		}
	}
	return ds, nil
}

// close ends the sending, of mails that are on their way, too.
func (ds *digests) close() {
	ds.stop()
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for _, d := range ds.all {
		d.mu.Lock()
		d.closed = true
		if d.timer != nil {
			d.timer.Stop()
		}
		d.mu.Unlock()
	}
}

// of returns the digest of a binding, with its directory.
func (ds *digests) of(b binding) (*digest, error) {
	doc, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(doc)
	key := hex.EncodeToString(sum[:8])
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if d, ok := ds.all[key]; ok {
		return d, nil
	}
	d := &digest{digests: ds, dir: filepath.Join(ds.dir, key), binding: b, waiting: make(map[string]bool)}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	if err := writeFile(d.dir, bindingFile, doc); err != nil {
		return nil, err
	}
	if err := syncDir(ds.dir); err != nil {
		return nil, err
	}
	ds.all[key] = d
	return d, nil
}

// add puts an event with the digest of its binding. A nil error means that it is on disk.
func (ds *digests) add(b binding, e sdk.Event[json.RawMessage]) error {
	d, err := ds.of(b)
	if err != nil {
		return sdk.Unavailable(fmt.Errorf("keep a digest: %w", err))
	}
	return d.add(e)
}

// add keeps an event. A digest that cannot be sent takes none: they stay with the host, which shows why.
func (d *digest) add(e sdk.Event[json.RawMessage]) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := fileOf(e.ID)
	switch {
	case d.closed:
		return errors.New("the plugin ends")
	case d.waiting[name]: // delivered again
		return nil
	case d.failure != nil && sdk.Explain(d.failure).Verdict == sdk.Final:
		return d.failure
	case d.failure != nil:
		return sdk.RetryAfter(sdk.Unavailable(d.failure), max(time.Until(d.retryAt), time.Second))
	}
	doc, err := json.Marshal(stored{Received: time.Now(), Event: storedEvent(e)})
	if err != nil {
		return sdk.Permanent(err)
	}
	if err := d.keep(name, doc); err != nil {
		return sdk.Unavailable(fmt.Errorf("keep an event for its digest: %w", err))
	}
	d.waiting[name] = true
	if len(d.waiting) >= cmp.Or(d.binding.Digest.MaxEvents, defaultMaxEvents) {
		d.flush() // here and now, so that no digest is larger
	} else if d.timer == nil {
		d.sendIn(d.binding.Digest.Window.D())
	}
	return nil
}

// keep writes the file of an event so that it survives a crash of the machine.
func (d *digest) keep(name string, doc []byte) error {
	dir := filepath.Join(d.dir, openDir)
	if err := os.Mkdir(dir, 0o700); err == nil {
		err = syncDir(d.dir)
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return writeFile(dir, name, doc)
}

// takeUp starts the clock of what is on disk: it goes on from the event that has waited longest. A digest in which nothing
// waits is forgotten: its binding may be gone. The lock of the digests is held.
func (d *digest) takeUp() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	open, err := readEvents(filepath.Join(d.dir, openDir))
	if err != nil {
		return err
	}
	due := time.Now().Add(d.binding.Digest.Window.D())
	for _, s := range open {
		d.waiting[fileOf(s.Event.ID)] = true
		if at := s.Received.Add(d.binding.Digest.Window.D()); at.Before(due) {
			due = at
		}
	}
	sent, err := list(d.dir, sentPrefix, "")
	if err != nil {
		return err
	}
	for _, dir := range sent {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	sealed, err := list(d.dir, sealedPrefix, "")
	if err != nil {
		return err
	}
	if len(sealed) > 0 {
		due = time.Now()
	}
	if len(sealed)+len(open) == 0 {
		delete(d.all, filepath.Base(d.dir))
		return os.RemoveAll(d.dir)
	}
	d.sendIn(time.Until(due))
	return nil
}

// sendIn sends after a while.
func (d *digest) sendIn(wait time.Duration) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer = time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.closed {
			d.flush()
		}
	})
}

// flush sends what waits, and decides what follows. The lock is held.
func (d *digest) flush() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if err := d.sendAll(); err != nil {
		d.pause = min(max(2*d.pause, firstPause), maxPause)
		if after := sdk.Explain(err).RetryAfter; after > d.pause {
			d.pause = after
		}
		d.failure, d.retryAt = err, time.Now().Add(d.pause)
		d.log.Error("a digest cannot be sent; its events are kept, and further ones not taken", "dir", d.dir,
			"to", strings.Join(d.binding.To, ", "), "error", err.Error(), "again_in", d.pause.String())
		d.sendIn(d.pause)
		return
	}
	d.failure, d.pause = nil, 0
}

// sendAll sends the mails that an earlier process, or an earlier failure, has left, and then what is open.
func (d *digest) sendAll() error {
	if err := d.seal(); err != nil {
		return err
	}
	sealed, err := list(d.dir, sealedPrefix, "")
	if err != nil {
		return err
	}
	for _, dir := range sealed {
		if err := d.sendOne(dir); err != nil {
			return err
		}
	}
	return nil
}

// seal closes the digest that is open: events that come from now on are for the next one.
func (d *digest) seal() error {
	open := filepath.Join(d.dir, openDir)
	events, err := readEvents(open)
	if err != nil || len(events) == 0 {
		return err
	}
	if err := os.Rename(open, filepath.Join(d.dir, sealedPrefix+digestID(events))); err != nil {
		return err
	}
	clear(d.waiting)
	return syncDir(d.dir)
}

// sendOne sends a sealed digest and removes it.
func (d *digest) sendOne(dir string) error {
	all, err := readEvents(dir)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		events := make([]sdk.Event[json.RawMessage], len(all))
		for i, s := range all {
			events[i] = sdk.Event[json.RawMessage](s.Event)
		}
		if err := d.send(d.ctx, d.binding, digestID(all), events); err != nil {
			return err
		}
	}
	sent := filepath.Join(d.dir, sentPrefix+filepath.Base(dir))
	if err := os.Rename(dir, sent); err != nil { // at once: half a digest would be another one
		return err
	}
	return errors.Join(syncDir(d.dir), os.RemoveAll(sent))
}

// digestID is the same for the same events.
func digestID(events []stored) string {
	h := sha256.New()
	for _, s := range events {
		_, _ = fmt.Fprintf(h, "%s\n", s.Event.ID) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// fileOf names the file of an event.
func fileOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16]) + ".json"
}

// readEvents reads the events of a directory, in the order of the log. No directory has none.
func readEvents(dir string) ([]stored, error) {
	files, err := list(dir, "", ".json")
	if err != nil {
		return nil, err
	}
	events := make([]stored, 0, len(files))
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var s stored
		if err := json.Unmarshal(doc, &s); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		events = append(events, s)
	}
	slices.SortFunc(events, func(a, b stored) int {
		return cmp.Or(cmp.Compare(a.Event.Seq, b.Event.Seq), strings.Compare(a.Event.ID, b.Event.ID))
	})
	return events, nil
}
