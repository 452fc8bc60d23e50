package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
)

// Rest says when a plugin has no process although nothing is wrong.
type Rest struct {
	// Lazy starts it when something wants it for the first time. It has to be known what it
	// declares: the first start ever is at once, unless it was installed and has no
	// subscriptions.
	Lazy bool
	// After is how long it may have nothing to do before it is stopped. 0 = for ever.
	After time.Duration
}

// idleLooks is how often within [Rest].After an instance is looked at.
const idleLooks = 4

// idleness follows what an instance does.
type idleness struct {
	after time.Duration
	tick  <-chan time.Time // nil = nobody looks
	stop  func()
	quiet int    // looks in a row that saw nothing
	last  uint64 // what it had done at the last one
}

func (in *instance) newIdleness() *idleness {
	after := in.opts.Rests[in.manifest.Name].After
	if after <= 0 {
		return &idleness{stop: func() {}}
	}
	tick := time.NewTicker(max(after/idleLooks, time.Millisecond))
	return &idleness{after: after, tick: tick.C, stop: tick.Stop}
}

// look reports whether the instance has had nothing to do for long enough.
func (i *idleness) look(in *instance) bool {
	done := in.completed.Load() + in.frames.Load()
	if in.load() > 0 || done != i.last {
		i.quiet, i.last = 0, done
		return false
	}
	i.quiet++
	return i.quiet >= idleLooks
}

// rest stops an instance that has nothing to do, until it is wanted again. Nothing is on its
// way to it: its company is closed.
func (in *instance) rest(ctx context.Context, after time.Duration) ending {
	end := in.drain(ctx, fmt.Sprintf("nothing to do for %s", after), false)
	end.idle = !end.crashed && ctx.Err() == nil
	return end
}

// Wake says that a step or an event wants a plugin. It never blocks, and does nothing to a
// plugin that has a process or must not have one.
func (s *Supervisor) Wake(plugin string) {
	if _, rests := s.opts.Rests[plugin]; !rests {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[plugin] = true
	if p := s.names[plugin]; p != nil {
		notify(p.wake)
	}
}

// takeWanted forgets that somebody wanted a plugin, and reports whether somebody did.
func (s *Supervisor) takeWanted(plugin string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := s.wanted[plugin]
	delete(s.wanted, plugin)
	return wanted
}

// sleep waits until somebody wants the plugin, or an operator; false when nothing is to be
// started any more.
func (p *plugin) sleep() bool {
	cause := "it is started when a step or an event wants it"
	if p.snapshot().Instance != "" {
		cause = fmt.Sprintf("it had nothing to do for %s; %s", p.sup.opts.Rests[p.name].After, cause)
	}
	p.setState(task.PluginIdle, cause)
	for !p.sup.takeWanted(p.name) {
		select {
		case <-p.wake:
		case <-p.resume:
			return true
		case <-p.intake.Done():
			return false
		}
	}
	return true
}

// mayBeLazy reports whether the plugin need not be started before something wants it. What
// it declares is then known from its package or from its last start.
func (p *plugin) mayBeLazy() bool {
	if !p.sup.opts.Rests[p.name].Lazy || p.trial != nil {
		return false
	}
	m, err := p.knownManifest()
	if err != nil {
		p.sup.opts.Logger.Debug("plugin is started, because nobody knows yet what it declares", logkeys.Plugin, p.name, logkeys.Cause, err)
		return false
	}
	if p.checkIdentity(m) != nil || p.sup.claimName(p, m.Name) != nil {
		return false // its start says what is wrong
	}
	p.setManifest(m)
	return true
}

// knownManifest returns what the plugin declares, without a process. What was approved is
// enough for its handlers; a subscription gets its place in the log with the first start.
func (p *plugin) knownManifest() (*Manifest, error) {
	if m := p.binary.Manifest; p.approved && m != nil && len(m.Subscriptions) == 0 {
		return m, nil
	}
	return p.recall()
}

// recalled is what is remembered of a plugin: what its file declared.
type recalled struct {
	Path     string          `json:"path"`
	Size     int64           `json:"size"`
	Modified time.Time       `json:"modified"`
	Manifest json.RawMessage `json:"manifest"`
}

func (p *plugin) recallPath() string {
	return filepath.Join(p.sup.opts.ManifestDir, p.name+".json")
}

// recall returns what the plugin's file declared when it was last started.
func (p *plugin) recall() (*Manifest, error) {
	raw, err := os.ReadFile(p.recallPath())
	if err != nil {
		return nil, fmt.Errorf("recall manifest: %w", err)
	}
	var was recalled
	if err := json.Unmarshal(raw, &was); err != nil {
		return nil, fmt.Errorf("recall manifest: %w", err)
	}
	file, err := os.Stat(p.binary.Path)
	if err != nil {
		return nil, fmt.Errorf("recall manifest: %w", err)
	}
	if was.Path != p.binary.Path || was.Size != file.Size() || !was.Modified.Equal(file.ModTime()) {
		return nil, fmt.Errorf("%s is not the file that was described", p.binary.Path)
	}
	m := &Manifest{}
	if err := json.Unmarshal(was.Manifest, m); err != nil {
		return nil, fmt.Errorf("recall manifest: %w", err)
	}
	if m.Name != p.name {
		return nil, fmt.Errorf("%s was plugin %q", p.binary.Path, m.Name)
	}
	return m, nil
}

// remember keeps what a plugin declares that may be started lazily.
func (p *plugin) remember(m *Manifest) {
	if !p.sup.opts.Rests[m.Name].Lazy || p.sup.opts.ManifestDir == "" {
		return
	}
	if err := p.writeManifest(m); err != nil {
		p.sup.opts.Logger.Warn("what the plugin declares is not remembered: it is not started lazily", logkeys.Plugin, m.Name, logkeys.Error, err)
	}
}

func (p *plugin) writeManifest(m *Manifest) error {
	file, err := os.Stat(p.binary.Path)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(recalled{p.binary.Path, file.Size(), file.ModTime(), manifest})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.sup.opts.ManifestDir, 0o700); err != nil {
		return err
	}
	path := p.recallPath()
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
