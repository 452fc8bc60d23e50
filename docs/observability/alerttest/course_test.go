package alerttest

import (
	"strings"
	"time"
)

// indent makes a course what the loader of series reads.
func indent(course string) string {
	var b strings.Builder
	for line := range strings.Lines(course) {
		b.WriteString("  " + strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// end is the time of the last value of a course: minute 30.
func end() time.Time { return time.Unix(0, 0).UTC().Add(30 * time.Minute) }
