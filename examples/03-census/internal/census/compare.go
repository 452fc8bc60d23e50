package census

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// alike is the similarity from which two bodies are linked.
const alike = 0.8

// Compare looks for copies between the functions of one shard and those of the shards it answers for: its own
// and the next half of the ring, so that over all shards each pair of functions is compared exactly once.
// It reports progress after each file and each function. Errors are those of reading, and the end of ctx, which is looked at before each file and each body.
func Compare(ctx context.Context, tree Tree, index int, progress Progress) (Comparison, error) {
	start := time.Now()
	var files int
	partners := ring(index, len(tree.Shards))
	for _, i := range partners {
		files += tree.Shards[i].Files
	}
	words := vocabulary{}
	read := 0
	shards := make([][]body, len(partners))
	for i, partner := range partners {
		err := eachFile(ctx, tree.Root, tree.Shards[partner], func(dir, name string, src []byte) {
			shards[i] = append(shards[i], words.read(dir, name, src)...)
			read++
			progress(float64(read)/float64(2*files), fmt.Sprintf("%d of %d files read", read, files))
		})
		if err != nil {
			return Comparison{}, err
		}
	}
	own := len(shards[0])
	links, err := link(ctx, slices.Concat(shards...), own, func(done, total int) {
		progress(0.5+float64(done)/float64(2*total), fmt.Sprintf("%d of %d functions compared", done, total))
	})
	if err != nil {
		return Comparison{}, err
	}
	return Comparison{
		Shard: index, Bodies: own, Links: append([]Link{}, strongest(links)...), ElapsedMillis: time.Since(start).Milliseconds(),
	}, nil
}

// ring names the shards that shard i of n is compared with, itself first. Of two shards that face each other
// across the ring, the first half answers for the second.
func ring(i, n int) []int {
	out := []int{i}
	for d := 1; 2*d < n; d++ {
		out = append(out, (i+d)%n)
	}
	if n%2 == 0 && i < n/2 {
		out = append(out, i+n/2)
	}
	return out
}

// eachFile reads the Go files of a shard.
func eachFile(ctx context.Context, root string, shard Shard, visit func(dir, name string, src []byte)) error {
	for _, dir := range shard.Packages {
		abs := filepath.Join(root, filepath.FromSlash(dir))
		files, err := sourceFiles(abs)
		if err != nil {
			return fmt.Errorf("list a package: %w", err)
		}
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			src, err := os.ReadFile(filepath.Join(abs, f.Name()))
			if err != nil {
				return fmt.Errorf("read a source file: %w", err)
			}
			visit(dir, f.Name(), src)
		}
	}
	return nil
}

// candidate is a body with its place in the order of comparison.
type candidate struct {
	body
	own bool
}

// link compares the first own bodies with each other and with the rest. Common tokens are those of the longest
// common subsequence. Two cheap upper bounds, the lengths and the tokens regardless of order, spare most pairs
// that comparison without changing the answer.
func link(ctx context.Context, bodies []body, own int, progress func(done, total int)) ([]Link, error) {
	all := make([]candidate, len(bodies))
	for i, b := range bodies {
		all[i] = candidate{b, i < own}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(len(a.seq), len(b.seq)), cmp.Compare(a.site.At, b.site.At))
	})
	var links []Link
	var rows lcsRows
	for i, a := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, b := range all[i+1:] {
			if 2*float64(len(a.seq)) < alike*float64(len(a.seq)+len(b.seq)) {
				break // too long to be alike, and so are all that follow
			}
			if !a.own && !b.own {
				continue
			}
			if s := rows.similarity(a.body, b.body); s > 0 {
				links = append(links, newLink(a.site, b.site, s))
			}
		}
		progress(i+1, len(all))
	}
	return links, nil
}

func newLink(a, b Site, similarity float64) Link {
	if b.At < a.At {
		a, b = b, a
	}
	return Link{A: a, B: b, Similarity: float64(int(100*similarity)) / 100}
}

// strongest keeps, of all links, those that hold the families together: a link between two functions that
// stronger links join already is dropped. So n alike functions need n-1 links, not n*(n-1)/2.
func strongest(links []Link) []Link {
	slices.SortFunc(links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.A.At, b.A.At), cmp.Compare(a.B.At, b.B.At))
	})
	f := families{}
	return slices.DeleteFunc(links, func(l Link) bool { return !f.join(l.A.At, l.B.At) })
}

// families are disjoint sets of functions; each function points towards the head of its family.
type families map[string]string

func (f families) head(x string) string {
	for {
		up, ok := f[x]
		if !ok {
			return x
		}
		if upper, ok := f[up]; ok {
			f[x] = upper
		}
		x = up
	}
}

// join unites two families and says whether they were two.
func (f families) join(a, b string) bool {
	a, b = f.head(a), f.head(b)
	if a == b {
		return false
	}
	f[max(a, b)] = min(a, b)
	return true
}

// lcsRows is the working space of the longest common subsequence.
type lcsRows struct{ above, row []int32 }

// similarity is 1 for bodies that differ in names only, else twice the common tokens by all tokens; 0 when
// that is less than [alike].
func (r *lcsRows) similarity(a, b body) float64 {
	if a.shape == b.shape {
		return 1
	}
	total := len(a.seq) + len(b.seq)
	need := int(alike * float64(total) / 2)
	if inBoth(a.bag, b.bag, need) < need {
		return 0
	}
	if s := 2 * float64(r.common(a.seq, b.seq)) / float64(total); s >= alike {
		return s
	}
	return 0
}

// inBoth is the size of the intersection of two sorted bags; it stops early when need is out of reach.
func inBoth(a, b []int32, need int) int {
	n, i, j := 0, 0, 0
	for i < len(a) && j < len(b) && n+min(len(a)-i, len(b)-j) >= need {
		switch {
		case a[i] == b[j]:
			n++
			i++
			j++
		case a[i] < b[j]:
			i++
		default:
			j++
		}
	}
	return n
}

// common is the length of the longest common subsequence.
func (r *lcsRows) common(a, b []int32) int {
	n := 0
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b, n = a[1:], b[1:], n+1
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b, n = a[:len(a)-1], b[:len(b)-1], n+1
	}
	r.above = append(r.above[:0], make([]int32, len(b)+1)...)
	r.row = append(r.row[:0], make([]int32, len(b)+1)...)
	for _, x := range a {
		for j, y := range b {
			if x == y {
				r.row[j+1] = r.above[j] + 1
			} else {
				r.row[j+1] = max(r.row[j], r.above[j+1])
			}
		}
		r.above, r.row = r.row, r.above
	}
	return n + int(r.above[len(b)])
}
