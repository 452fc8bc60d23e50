package template

import (
	"fmt"
	"iter"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// suggestBudget bounds the work that one file may cause by suggestions, in compared
// pairs of characters: thousands of wrong names among thousands of steps stay cheap.
const suggestBudget = 100_000_000

// suggester finds names that are nearly the one written.
type suggester struct{ budget int }

// hint returns `did you mean "x"?` for the nearest candidate, "" when none is near or
// the budget is spent.
func (s *suggester) hint(name string, candidates iter.Seq[string]) string {
	if best := s.nearest(name, candidates); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

func (s *suggester) nearest(name string, candidates iter.Seq[string]) string {
	length := utf8.RuneCountInString(name)
	// One slip in a short name, up to three in a long one.
	best, limit := "", min(3, 1+length/4)
	for c := range candidates {
		other := utf8.RuneCountInString(c)
		if c == name || max(length-other, other-length) > limit {
			continue
		}
		if s.budget -= length * other; s.budget < 0 {
			return best
		}
		if d := levenshtein.ComputeDistance(name, c); d <= limit && d < max(length, 2) {
			best, limit = c, d-1
		}
	}
	return best
}
