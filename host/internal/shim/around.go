package shim

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// around returns paths that cover the same as those given, but for exceptions. The
// kernel can only be told what is granted: so in place of a directory above an exception
// come those of its entries that are there now. Links are none of them: where they lead, they
// have another path.
func around(paths, except []string) []string {
	var covered []string
	for _, path := range paths {
		switch {
		case slices.Contains(except, path):
		case !above(path, except):
			covered = append(covered, path)
		default:
			entries, _ := os.ReadDir(path) // what cannot be listed is not covered, see Hidden
			for _, e := range entries {
				if e.Type()&fs.ModeSymlink == 0 {
					covered = append(covered, around([]string{filepath.Join(path, e.Name())}, except)...)
				}
			}
		}
	}
	return covered
}

// above reports whether an exception lies in a directory.
func above(dir string, except []string) bool {
	return slices.ContainsFunc(except, func(path string) bool {
		return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	})
}

// gaps says what of a granted path is not covered, empty if all of it is.
func (p *Plan) gaps(dir string) string {
	if !above(dir, p.Except) && !slices.Contains(p.Except, dir) {
		return ""
	}
	var partly, hidden []string
	for _, except := range p.Except {
		for up := filepath.Dir(except); up != except && strings.HasPrefix(up, dir); up = filepath.Dir(up) {
			if slices.Contains(p.Hidden, up) {
				hidden = append(hidden, up)
			} else if !slices.Contains(partly, up) {
				partly = append(partly, up)
			}
			if up == filepath.Dir(up) {
				break
			}
		}
	}
	text := " but " + strings.Join(p.Except, ", ")
	if len(partly) > 0 {
		slices.Sort(partly)
		text += " (and in " + strings.Join(partly, ", ") + " what is there at its start)"
	}
	if len(hidden) > 0 {
		text += " (and nothing else in " + strings.Join(hidden, ", ") + ", which cannot be listed)"
	}
	return text
}
