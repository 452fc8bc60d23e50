package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
)

// Limits of a plugin's log on disk: it is kept in maxLogFiles files of about
// maxLogBytes each, the newest without a number.
const (
	maxLogBytes = 8 << 20
	maxLogFiles = 3
)

// LogLine is one line of a plugin's log; on disk it is one JSON object per line.
type LogLine struct {
	At       time.Time       `json:"at"`
	Level    string          `json:"level"`  // trace, debug, info, warn or error
	Source   string          `json:"source"` // stdout, stderr, attempt, subscriber or host
	Instance string          `json:"instance"`
	Message  string          `json:"message"`
	Fields   json.RawMessage `json:"fields,omitempty"` // JSON object

	logkeys.About // with source attempt
}

// pluginLog appends to the log of one plugin and rotates it by size. A log that cannot
// be written must not stop a plugin: the first error is kept and told once.
type pluginLog struct {
	path   string
	onFail func(error)

	mu     sync.Mutex
	file   *os.File
	size   int64
	failed bool
}

func newPluginLog(dir, plugin string, onFail func(error)) *pluginLog {
	return &pluginLog{path: logPath(dir, plugin), onFail: onFail}
}

func logPath(dir, plugin string) string { return filepath.Join(dir, plugin+".log") }

// write appends a line.
func (l *pluginLog) write(line LogLine) {
	text, err := json.Marshal(line)
	if err != nil {
		return // only invalid Fields could fail, and these were checked
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(append(text, '\n')); err != nil && !l.failed {
		l.failed = true
		l.onFail(fmt.Errorf("plugin log: %w", err))
	}
}

func (l *pluginLog) append(text []byte) error {
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.size > 0 && l.size+int64(len(text)) > maxLogBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(text)
	l.size += int64(n)
	return err
}

func (l *pluginLog) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	l.file, l.size = f, info.Size()
	return nil
}

func (l *pluginLog) rotate() error {
	_ = l.file.Close()
	l.file = nil
	for n := maxLogFiles - 1; n > 0; n-- {
		err := os.Rename(rotated(l.path, n-1), rotated(l.path, n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.open()
}

// rotated returns the name of the n-th newest file of a log.
func rotated(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

func (l *pluginLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// readLog returns the last n lines of a plugin's log, oldest first. Lines that are no
// JSON (a crash may tear the last one) are skipped.
func readLog(dir, plugin string, n int) ([]LogLine, error) {
	var newestFirst []LogLine
	for i := range maxLogFiles {
		text, err := os.ReadFile(rotated(logPath(dir, plugin), i))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read log of plugin %s: %w", plugin, err)
		}
		lines := bytes.Split(text, []byte{'\n'})
		for _, line := range slices.Backward(lines) {
			if len(newestFirst) == n {
				break
			}
			var l LogLine
			if len(line) > 0 && json.Unmarshal(line, &l) == nil {
				newestFirst = append(newestFirst, l)
			}
		}
	}
	slices.Reverse(newestFirst)
	return newestFirst, nil
}
