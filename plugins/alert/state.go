package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// state is the state file.
type state struct {
	Host   string               `json:"host,omitempty"`
	Newest time.Time            `json:"newest,omitzero"`
	Rules  map[string]ruleState `json:"rules"` // by name
}

// ruleState is what a rule remembers.
type ruleState struct {
	Of      string             `json:"of"` // the rule's configuration; of another one nothing is remembered
	Through uint64             `json:"through"`
	Groups  map[string]*series `json:"groups,omitempty"`
}

// encode returns the state file's content.
func (e *engine) encode() ([]byte, error) {
	st := state{Host: e.host, Newest: e.newest, Rules: make(map[string]ruleState)}
	for _, r := range e.rules {
		for _, s := range r.groups {
			s.Samples = s.durations.values()
		}
		st.Rules[r.Name] = ruleState{Of: r.identity, Through: r.through, Groups: r.groups}
	}
	return json.Marshal(st)
}

// decode takes up what an earlier process remembered.
func (e *engine) decode(doc []byte) error {
	var st state
	if err := json.Unmarshal(doc, &st); err != nil {
		return err
	}
	e.host, e.newest = st.Host, st.Newest
	for _, r := range e.rules {
		old := st.Rules[r.Name]
		if old.Of != r.identity {
			continue
		}
		r.through = old.Through
		for key, s := range old.Groups {
			if s == nil {
				continue
			}
			limit := max(len(s.Samples), 1)
			if d, ok := r.condition.(slowness); ok {
				limit = d.Samples
			}
			for _, v := range s.Samples {
				s.durations.add(limit, v)
			}
			s.Samples = nil
			r.groups[key] = s
		}
	}
	return nil
}

// load reads the state file, if there is one.
func (e *engine) load(path string) error {
	doc, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = e.decode(doc)
	}
	if err != nil {
		return fmt.Errorf("state: %w; without the file %s the plugin begins anew", err, path)
	}
	return nil
}

// write replaces the state file.
func write(path string, doc []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	_, err = f.Write(doc)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}
