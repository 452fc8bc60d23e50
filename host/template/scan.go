package template

import (
	"fmt"

	"github.com/goccy/go-yaml/token"
)

// Bounds on the shape of a file, beside its size. The YAML parser is recursive in the
// nesting and, in places, quadratic in it and in the number of keys of one map, so they
// are enforced on the tokens, before it runs.
const (
	// MaxDepth is how deep values may nest.
	MaxDepth = 64
	// MaxValues is how many values a file may have, with its aliases expanded.
	MaxValues = 1_000_000
	// MaxKeys is how many keys one map may have.
	MaxKeys = 10_000
	// MaxKeyLength is how long a key may be, in bytes.
	MaxKeyLength = 512
	// maxPathBytes bounds what the parser spends on writing down the path to each value.
	maxPathBytes = 128 << 20
)

// level is one open list or map during the scan.
type level struct {
	column int // of a block's keys or dashes; 0 in flow style
	dash   bool
	keys   int
	path   int // length in bytes of the path down to here
}

// scanner checks the tokens of a file against the bounds.
type scanner struct {
	levels []level
	path   int // the sum of all path lengths
	values int
}

// scan returns the first breach of a bound, or of the subset of YAML that templates
// may use: no tags, no directives, no complex keys.
func scan(tokens token.Tokens) *Diagnostic {
	var s scanner
	for i, tk := range tokens {
		if message := s.token(tokens, i); message != "" {
			return &Diagnostic{Line: tk.Position.Line, Column: tk.Position.Column, Message: message}
		}
	}
	return nil
}

func (s *scanner) token(tokens token.Tokens, i int) string {
	tk := tokens[i]
	switch tk.Type {
	case token.TagType:
		return fmt.Sprintf("the tag %s is not supported: write the value in quotes to make it text", tk.Value)
	case token.DirectiveType:
		return "YAML directives are not supported"
	case token.MappingKeyType:
		return `keys that begin with "?" are not supported: write key: value`
	case token.AnchorType:
		if i+2 < len(tokens) && tokens[i+2].Type == token.AnchorType {
			return "one value cannot have two anchors"
		}
	case token.MappingStartType, token.SequenceStartType:
		s.levels = append(s.levels, level{path: s.top().path + len("[10000]")})
	case token.MappingEndType, token.SequenceEndType:
		s.closeFlow()
	case token.SequenceEntryType:
		s.open(level{column: tk.Position.Column, dash: true}, len("[10000]"))
	default:
		if i+1 < len(tokens) && tokens[i+1].Type == token.MappingValueType {
			if message := s.key(tk); message != "" {
				return message
			}
		}
		s.values++
	}
	s.path += s.top().path
	return s.bounds()
}

// key notes a map key: a new level if it is the first one of a block.
func (s *scanner) key(tk *token.Token) string {
	if len(tk.Value) > MaxKeyLength {
		return fmt.Sprintf("a key of %d bytes: the limit is %d", len(tk.Value), MaxKeyLength)
	}
	if s.inFlow() {
		s.path += len(tk.Value)
		return ""
	}
	s.open(level{column: tk.Position.Column}, len(tk.Value))
	top := &s.levels[len(s.levels)-1]
	top.keys++
	if top.keys > MaxKeys {
		return fmt.Sprintf("more than %d keys in one map", MaxKeys)
	}
	return ""
}

// open enters the block that l belongs to, leaving the deeper ones; name is the length
// of the path's next part.
func (s *scanner) open(l level, name int) {
	if s.inFlow() {
		return
	}
	for len(s.levels) > 0 {
		top := s.levels[len(s.levels)-1]
		// A list may stand in the same column as the key that it belongs to.
		if top.column < l.column || (top.column == l.column && l.dash && !top.dash) {
			break
		}
		s.levels = s.levels[:len(s.levels)-1]
		if top.column == l.column && top.dash == l.dash {
			l.keys = top.keys
			break
		}
	}
	l.path = s.top().path + name + 1
	s.levels = append(s.levels, l)
}

func (s *scanner) closeFlow() {
	if s.inFlow() {
		s.levels = s.levels[:len(s.levels)-1]
	}
}

func (s *scanner) inFlow() bool {
	return len(s.levels) > 0 && s.levels[len(s.levels)-1].column == 0
}

func (s *scanner) top() level {
	if len(s.levels) == 0 {
		return level{}
	}
	return s.levels[len(s.levels)-1]
}

func (s *scanner) bounds() string {
	switch {
	case len(s.levels) > MaxDepth:
		return fmt.Sprintf("nested more than %d levels deep", MaxDepth)
	case s.values > 2*MaxValues: // keys are counted here too
		return fmt.Sprintf("more than %d values", MaxValues)
	case s.path > maxPathBytes:
		return "the keys are too long and too deeply nested"
	}
	return ""
}
