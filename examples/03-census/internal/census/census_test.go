package census_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tasker-engine/tasker/examples/03-census/internal/census"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func quiet(float64, string) {}

// unpack writes the files of an archive into a directory of the test.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	a, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range a.Files {
		write(t, filepath.Join(dir, filepath.FromSlash(f.Name)), string(f.Data))
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// take does what the workflow does, with n shards.
func take(t *testing.T, root string, n int, skip ...string) census.Census {
	t.Helper()
	tree, err := census.Discover(t.Context(), root, n, skip, noon)
	if err != nil {
		t.Fatal(err)
	}
	var analyses []census.Analysis
	var comparisons []census.Comparison
	for i, s := range tree.Shards {
		a, err := census.Analyse(t.Context(), tree.Root, i, s, quiet)
		if err != nil {
			t.Fatal(err)
		}
		c, err := census.Compare(t.Context(), tree, i, quiet)
		if err != nil {
			t.Fatal(err)
		}
		analyses, comparisons = append(analyses, a), append(comparisons, c)
	}
	c, err := census.Merge(tree, analyses, comparisons)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDiscover(t *testing.T) {
	root := unpack(t, "testdata/tree.txtar")
	got, err := census.Discover(t.Context(), root, 2, []string{"testdata"}, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := census.Tree{
		Root: root, Module: "example.com/tree", GoVersion: "go1.26", TakenAt: noon, Skip: []string{"testdata"},
		Skipped: 3, Packages: 5, Files: 8,
		Shards: []census.Shard{
			{Packages: []string{"."}, Files: 4},
			{Packages: []string{"broken", "cmd/tool", "internal/deep", "only"}, Files: 4},
		},
	}
	ignore := cmp.Options{cmpopts.IgnoreFields(census.Tree{}, "Bytes"), cmpopts.IgnoreFields(census.Shard{}, "Bytes")}
	if diff := cmp.Diff(got, want, ignore); diff != "" {
		t.Errorf("Discover (-got +want):\n%s", diff)
	}
	if got.Bytes != got.Shards[0].Bytes+got.Shards[1].Bytes {
		t.Errorf("Bytes = %d, want the sum of the shards", got.Bytes)
	}
}

func TestDiscoverRefuses(t *testing.T) {
	empty := t.TempDir()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context
		root string
		want error
	}{
		{"a tree without Go", t.Context(), empty, census.ErrNoSource},
		{"a tree that is not there", t.Context(), filepath.Join(empty, "none"), os.ErrNotExist},
		{"a cancelled context", cancelled, empty, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := census.Discover(test.ctx, test.root, 4, nil, noon); !errors.Is(err, test.want) {
				t.Errorf("Discover = %v, want %v", err, test.want)
			}
		})
	}
}

func TestDiscoverDealsEvenly(t *testing.T) {
	root := t.TempDir()
	for i := range 100 {
		write(t, filepath.Join(root, fmt.Sprintf("p%02d", i), "p.go"), "package p\n"+strings.Repeat("// filler\n", i))
	}
	tree, err := census.Discover(t.Context(), root, 8, nil, noon)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range tree.Shards {
		if share := float64(s.Bytes) / float64(tree.Bytes); share < 0.12 || share > 0.13 {
			t.Errorf("shard %d holds %.3f of the bytes, want an eighth", i, share)
		}
	}
}

func TestCounts(t *testing.T) {
	c := take(t, unpack(t, "testdata/tree.txtar"), 3, "testdata")
	got := map[string]census.Package{}
	for _, p := range c.Packages {
		got[p.Path] = p
	}
	want := map[string]census.Package{
		".": {
			Path: ".", Name: "tree", Public: true, Doc: true,
			Counts: census.Counts{
				Files: 4, TestFiles: 1, GeneratedFiles: 1,
				Source: census.Lines{Code: 33, Comment: 9, Blank: 14}, Test: census.Lines{Code: 6, Blank: 2}, Generated: census.Lines{Code: 5, Comment: 1, Blank: 2},
				Functions: 2, Methods: 4, TestFunctions: 1, Types: 5, GenericFuncs: 1, GenericTypes: 1,
				Exported: 11, Documented: 9, Panics: 1, GoStatements: 1, Complexity: 1,
			},
		},
		"internal/deep": {
			Path: "internal/deep", Name: "deep",
			Counts: census.Counts{Files: 1, Source: census.Lines{Code: 3, Blank: 2}, Functions: 1, Exported: 1},
		},
		"cmd/tool": {
			Path: "cmd/tool", Name: "main", Doc: true,
			Counts: census.Counts{Files: 1, Source: census.Lines{Code: 3, Comment: 1, Blank: 2}, Functions: 1},
		},
		"only": {Path: "only", Counts: census.Counts{Files: 1, TestFiles: 1, Test: census.Lines{Code: 1}}},
		"broken": {
			Path: "broken", Name: "broken", Public: true, Doc: true,
			Counts: census.Counts{Files: 1, Source: census.Lines{Code: 3, Comment: 1, Blank: 2}, Functions: 1, Exported: 1},
		},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("packages (-got +want):\n%s", diff)
	}
	if len(c.Problems) != 1 || c.Problems[0].File != "broken/broken.go" {
		t.Errorf("problems = %v, want one of broken/broken.go", c.Problems)
	}
	imports := []census.Import{{Path: "fmt", Packages: 3}, {Path: "strings", Packages: 1}}
	if diff := cmp.Diff(c.Imports, imports); diff != "" {
		t.Errorf("imports (-got +want):\n%s", diff)
	}
	longest := census.Function{Package: ".", Name: "Map", File: "tree.go", Line: 43, Lines: 8, Cyclomatic: 2, Cognitive: 1, Nesting: 1}
	if diff := cmp.Diff(c.Longest[0], longest); diff != "" {
		t.Errorf("longest (-got +want):\n%s", diff)
	}
	if c.WithDoc != 3 || c.PublicCount != 2 {
		t.Errorf("%d packages with a comment, %d public; want 3 and 2", c.WithDoc, c.PublicCount)
	}
}

// TestShardsDoNotMatter: into how many shards a tree is dealt changes nothing but the list of shards.
func TestShardsDoNotMatter(t *testing.T) {
	for _, archive := range []string{"testdata/tree.txtar", "testdata/copies.txtar"} {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			root := unpack(t, archive)
			want := take(t, root, 1)
			for n := 2; n <= 9; n++ {
				got := take(t, root, n)
				if len(got.Shards) != n {
					t.Errorf("%d shards, want %d", len(got.Shards), n)
				}
				if diff := cmp.Diff(got, want, cmpopts.IgnoreFields(census.Census{}, "Shards")); diff != "" {
					t.Errorf("%d shards (-got +want):\n%s", n, diff)
				}
			}
		})
	}
}

func TestCopies(t *testing.T) {
	c := take(t, unpack(t, "testdata/copies.txtar"), 3)
	want := census.Copies{
		Compared: 5, Functions: 4, Families: 2, Lines: 34,
		Largest: []census.Family{
			{Members: []census.Site{{At: "a/a.go:3 Sum", Lines: 18}, {At: "b/b.go:3 (*Box).Total", Lines: 18}}, Lines: 18, Similarity: 1},
			{Members: []census.Site{{At: "a/near.go:3 Join", Lines: 16}, {At: "c/near.go:3 JoinAll", Lines: 17}}, Lines: 16, Similarity: 0.98},
		},
	}
	if diff := cmp.Diff(c.Copies, want); diff != "" {
		t.Errorf("copies (-got +want):\n%s", diff)
	}
}

func TestMergeRefusesGaps(t *testing.T) {
	tree := census.Tree{Shards: make([]census.Shard, 2)}
	a := func(shard int) census.Analysis { return census.Analysis{Shard: shard} }
	b := func(shard int) census.Comparison { return census.Comparison{Shard: shard} }
	for _, test := range []struct {
		name string
		as   []census.Analysis
		cs   []census.Comparison
		want error
	}{
		{"all, in another order", []census.Analysis{a(1), a(0)}, []census.Comparison{b(0), b(1)}, nil},
		{"an analysis is missing", []census.Analysis{a(0)}, []census.Comparison{b(0), b(1)}, census.ErrShardMissing},
		{"an analysis is there twice", []census.Analysis{a(0), a(0)}, []census.Comparison{b(0), b(1)}, census.ErrShardMissing},
		{"a comparison is there twice", []census.Analysis{a(0), a(1)}, []census.Comparison{b(1), b(1)}, census.ErrShardMissing},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := census.Merge(tree, test.as, test.cs); !errors.Is(err, test.want) {
				t.Errorf("Merge = %v, want %v", err, test.want)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	tree, err := census.Discover(t.Context(), unpack(t, "testdata/tree.txtar"), 1, nil, noon)
	if err != nil {
		t.Fatal(err)
	}
	// Cancelled by the progress of the first file, the work ends before the second.
	for name, work := range map[string]func(ctx context.Context, progress census.Progress) error{
		"analyse": func(ctx context.Context, progress census.Progress) error {
			_, err := census.Analyse(ctx, tree.Root, 0, tree.Shards[0], progress)
			return err
		},
		"compare": func(ctx context.Context, progress census.Progress) error {
			_, err := census.Compare(ctx, tree, 0, progress)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			calls := 0
			err := work(ctx, func(float64, string) { calls++; cancel() })
			if !errors.Is(err, context.Canceled) || calls != 1 {
				t.Errorf("err = %v after %d files, want a cancelled context after 1", err, calls)
			}
		})
	}
}
