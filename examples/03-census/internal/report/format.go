package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tasker-engine/tasker/examples/03-census/internal/census"
)

// thousands prints 1234567 as "1,234,567".
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short prints an axis value: "250", "1.5k", "2M".
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

// Percent prints a share, rounded: "41 %". Shares below 10 % and above 99 % keep one decimal, and nothing is
// rounded to none or all.
func Percent(part, whole int) string {
	if whole == 0 {
		return "–"
	}
	p := 100 * float64(part) / float64(whole)
	switch {
	case part == 0 || part == whole:
		return strconv.Itoa(int(p)) + " %"
	case p < 9.95:
		return strconv.FormatFloat(max(p, 0.1), 'f', 1, 64) + " %"
	case p > 99:
		return strconv.FormatFloat(min(p, 99.9), 'f', 1, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 0, 64) + " %"
	}
}

// megabytes prints a size in MB of 10^6 bytes.
func megabytes(n int64) string { return strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64) + " MB" }

// millis prints a duration: "0.34 s".
func millis(n int64) string { return strconv.FormatFloat(float64(n)/1e3, 'f', 2, 64) + " s" }

// count prints a number with its noun: "1 file", "2,000 files".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// trimPath shortens a path from the left, by whole directories: "…/internal/ssa".
func trimPath(p string, limit int) string {
	rest := p
	for len(rest)+2 > limit {
		_, tail, cut := strings.Cut(rest, "/")
		if !cut {
			break
		}
		rest = tail
	}
	if rest == p || len(p) <= limit {
		return p
	}
	return "…/" + rest
}

func coverageText(c census.Counts) string {
	if c.Exported == 0 {
		return "exports nothing"
	}
	return fmt.Sprintf("%s of %s documented", Percent(c.Documented, c.Exported), count(c.Exported, "exported name", "exported names"))
}

// coverageClass is the colour step of a share of documented names.
func coverageClass(c census.Counts) string {
	share, ok := c.Coverage()
	if !ok {
		return "none"
	}
	return "q" + strconv.Itoa(min(4, int(share*5)))
}

func coverageLegend() []legend {
	return []legend{
		{"q0", "under 20 % documented"}, {"q1", "20–39 %"}, {"q2", "40–59 %"}, {"q3", "60–79 %"}, {"q4", "80 % and more"}, {"none", "exports nothing"},
	}
}
