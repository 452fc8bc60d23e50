package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// logTick is how often the log of a plugin is looked at.
const logTick = 100 * time.Millisecond

// pluginLogLine is what is shown of a line in a plugin's log.
type pluginLogLine struct {
	At      time.Time      `json:"at"`
	Level   string         `json:"level"`
	Message string         `json:"message"`
	Fields  map[string]any `json:"fields"`
	Step    string         `json:"step"`
}

// String returns the line for people.
func (l pluginLogLine) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-5s %s", l.At.UTC().Format("15:04:05Z"), strings.ToUpper(l.Level), oneLine(l.Message))
	if l.Step != "" {
		fmt.Fprintf(&b, " step=%s", l.Step)
	}
	for _, key := range slices.Sorted(maps.Keys(l.Fields)) {
		fmt.Fprintf(&b, " %s=%s", key, oneLine(fmt.Sprint(l.Fields[key])))
	}
	return b.String()
}

// logFollower prints what is added to the log of a plugin.
type logFollower struct {
	path string
	out  io.Writer
	quit chan struct{}
	done chan struct{}

	mu     sync.Mutex
	offset int64
	failed error
}

// followLog begins at the end of the file, which need not exist yet.
func followLog(path string, out io.Writer) *logFollower {
	f := &logFollower{path: path, out: out, quit: make(chan struct{}), done: make(chan struct{})}
	if info, err := os.Stat(path); err == nil {
		f.offset = info.Size()
	}
	go f.run() // ends with close
	return f
}

func (f *logFollower) run() {
	defer close(f.done)
	tick := time.NewTicker(logTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.flush()
		case <-f.quit:
			f.flush()
			return
		}
	}
}

// close prints the rest and ends.
func (f *logFollower) close() error {
	close(f.quit)
	<-f.done
	return f.failed
}

// flush prints what has been added by now.
func (f *logFollower) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil {
		f.failed = f.more()
	}
}

func (f *logFollower) more() error {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing is logged yet
	}
	if err != nil {
		return fmt.Errorf("log of the plugin: %w", err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	if info, err := file.Stat(); err == nil && info.Size() < f.offset {
		f.offset = 0 // it was put aside, and another one begun
	}
	added, err := io.ReadAll(io.NewSectionReader(file, f.offset, 1<<62))
	if err != nil {
		return fmt.Errorf("log of the plugin: %w", err)
	}
	whole := bytes.LastIndexByte(added, '\n') + 1
	f.offset += int64(whole)
	for text := range bytes.Lines(added[:whole]) {
		var l pluginLogLine
		if json.Unmarshal(text, &l) == nil {
			_, _ = fmt.Fprintln(f.out, l) // nobody is left to tell when that fails
		}
	}
	return nil
}
