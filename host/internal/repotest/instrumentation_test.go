package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInstrumentation: each seam that docs/observability/instrumentation.md tells of has a
// test that exists, and there are at least twelve.
func TestInstrumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "observability", "instrumentation.md"))
	if err != nil {
		t.Fatal(err)
	}
	const least = 12
	tests, seams := testFunctions(t), 0
	for _, row := range regexp.MustCompile("(?m)^\\| ([^|]+) \\| [^|]+ \\| `([^`|]+)` \\|$").FindAllStringSubmatch(string(text), -1) {
		seams++
		if _, ok := tests[row[2]]; !ok {
			t.Errorf("%s: there is no test %s", row[1], row[2])
		}
	}
	if rows := strings.Count(string(text), "\n| ") - 1; seams < least || seams != rows {
		t.Errorf("%d of %d rows name a test, want all and at least %d", seams, rows, least)
	}
}
