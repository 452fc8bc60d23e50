package secrets

import (
	"bytes"
	"cmp"
	"slices"
)

// headLen is how much of a form its lookup takes. No form is shorter: minText.
const headLen = minText

// replacer replaces secrets, however many there are, in one pass over a text. Nil replaces nothing.
type replacer struct {
	// begins has a bit for each pair of bytes that a form begins with: most of a text is passed by at the cost of that.
	begins [1 << 16 / 64]uint64
	forms  map[[headLen]byte][]string // by their first bytes, the longest first
}

func newReplacer(least int, found []string) *replacer {
	r := &replacer{forms: make(map[[headLen]byte][]string)}
	for _, s := range found {
		if len(s) < least {
			continue
		}
		for _, form := range formsOf(s) {
			if len(form) < headLen {
				continue
			}
			pair := uint16(form[0])<<8 | uint16(form[1])
			r.begins[pair/64] |= 1 << (pair % 64)
			head := [headLen]byte([]byte(form[:headLen]))
			r.forms[head] = append(r.forms[head], form)
		}
	}
	if len(r.forms) == 0 {
		return nil
	}
	for head, forms := range r.forms {
		slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
		r.forms[head] = slices.Compact(forms)
	}
	return r
}

// replace leaves nothing of secrets that overlap.
func (r *replacer) replace(s string) string {
	if r == nil {
		return s
	}
	begin, end := next(r, s, 0)
	if begin < 0 {
		return s
	}
	var out bytes.Buffer
	done := 0
	for ; begin >= 0; begin, end = next(r, s, done) {
		out.WriteString(s[done:begin])
		out.WriteString(Hidden)
		done = end
	}
	out.WriteString(s[done:])
	return out.String()
}

func (r *replacer) within(raw []byte) bool {
	if r == nil {
		return false
	}
	begin, _ := next(r, raw, 0)
	return begin >= 0
}

// next returns where the next secret stands, together with all that overlap it; -1 = there is none.
func next[T string | []byte](r *replacer, s T, from int) (begin, end int) {
	begin = -1
	for i := from; i+headLen <= len(s) && (begin < 0 || i < end); i++ {
		pair := uint16(s[i])<<8 | uint16(s[i+1])
		if r.begins[pair/64]&(1<<(pair%64)) == 0 {
			continue
		}
		for _, form := range r.forms[[headLen]byte{s[i], s[i+1], s[i+2], s[i+3]}] {
			if len(s)-i >= len(form) && string(s[i:i+len(form)]) == form {
				if begin < 0 {
					begin = i
				}
				end = max(end, i+len(form))
				break
			}
		}
	}
	return begin, end
}
