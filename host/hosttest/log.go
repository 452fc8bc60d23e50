package hosttest

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// capture is the log of a host under test: JSON lines.
type capture struct {
	mu       sync.Mutex
	lines    []string
	grown    chan struct{} // closed and replaced by the next line
	expected []string
}

func newCapture(expected []string) *capture {
	return &capture{expected: slices.Clone(expected), grown: make(chan struct{})}
}

// Write implements io.Writer: the logger writes one line at a time.
func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, strings.TrimSpace(string(p)))
	close(c.grown)
	c.grown = make(chan struct{})
	return len(p), nil
}

func (c *capture) expect(texts ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected = append(c.expected, texts...)
}

// unexpected returns the warnings and errors that nobody expects.
func (c *capture) unexpected() (lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.lines {
		var entry struct {
			Level string `json:"@level"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err == nil && entry.Level != "warn" && entry.Level != "error" {
			continue
		}
		if !slices.ContainsFunc(c.expected, func(text string) bool { return strings.Contains(line, text) }) {
			lines = append(lines, line)
		}
	}
	return lines
}

// String returns the log.
func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

// has reports whether there is a line that contains the text, and returns what is closed
// by the next line.
func (c *capture) has(text string) (found bool, grown <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.lines, func(line string) bool { return strings.Contains(line, text) }), c.grown
}

// Logged reports whether the host has logged a line that contains the text.
func (h *Host) Logged(text string) bool {
	found, _ := h.log.has(text)
	return found
}

// AwaitLogged waits until the host has logged a line that contains the text.
func (h *Host) AwaitLogged(text string) {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	for {
		found, grown := h.log.has(text)
		if found {
			return
		}
		select {
		case <-grown:
		case <-ctx.Done():
			h.t.Fatalf("nothing was logged with %q", text)
		}
	}
}
