package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/examples/03-census/internal/census"
	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree makes a small source tree and returns its root.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, src := range map[string]string{
		"go.mod":        "module example.com/small\n\ngo 1.26\n",
		"a.go":          "// Package small is small.\npackage small\n\nimport \"fmt\"\n\n// Hello says so.\nfunc Hello() { fmt.Println() }\n",
		"inner/b.go":    "package inner\n\nfunc B() {}\n",
		"vendor/x/x.go": "package x\n",
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// run executes an attempt that must succeed and returns its result.
func run[T any](t *testing.T, p *sdktest.Plugin, a sdktest.Attempt) T {
	t.Helper()
	var v T
	p.Run(t, a).Decode(t, &v)
	return v
}

// TestWorkflow does by hand what the template says, with more shards than the tree has packages.
func TestWorkflow(t *testing.T) {
	p := sdktest.Start(t, plugin())
	in := Input{Root: tree(t), Output: filepath.Join(t.TempDir(), "out"), Title: "A small tree"}
	const shards = 3

	found := run[census.Tree](t, p, sdktest.Attempt{Handler: "discover", Input: in, Config: DiscoverConfig{shards}})
	if found.Packages != 2 || found.Skipped != 1 || len(found.Shards) != shards {
		t.Fatalf("discover = %+v, want 2 packages, 1 directory left out, 3 shards", found)
	}
	results := map[string]any{"discover": found}
	for i := range shards {
		a := sdktest.Attempt{Input: in, Config: ShardConfig{i}, Results: map[string]any{"discover": found}, ByReference: i == 1}
		a.Handler = "analyse"
		results[fmt.Sprintf("analyse_%d", i)] = run[census.Analysis](t, p, a)
		a.Handler = "compare"
		results[fmt.Sprintf("compare_%d", i)] = run[census.Comparison](t, p, a)
	}
	merged := run[census.Census](t, p, sdktest.Attempt{Handler: "merge", Input: in, Results: results})
	if merged.Total.Functions != 2 || merged.Total.Documented != 1 {
		t.Errorf("merge = %+v, want 2 functions, 1 of them documented", merged.Total)
	}
	got := run[Report](t, p, sdktest.Attempt{Handler: "report", Input: in, Results: map[string]any{"merge": merged}})
	if got.Page != filepath.Join(in.Output, "index.html") || got.Documented != "50 %" || got.Packages != 2 {
		t.Errorf("report = %+v, want the page in %s, 50 %%, 2 packages", got, in.Output)
	}
	page, err := os.ReadFile(got.Page)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "<h1>A small tree</h1>") {
		t.Errorf("the page lacks the title of the input")
	}
}

func TestRefusals(t *testing.T) {
	p := sdktest.Start(t, plugin())
	empty := t.TempDir()
	two := map[string]any{"discover": census.Tree{Root: empty, Shards: make([]census.Shard, 2)}}
	for _, test := range []struct {
		name string
		a    sdktest.Attempt
		want string // in the message
	}{
		{"a relative root", sdktest.Attempt{Handler: "discover", Input: Input{Root: "src"}, Config: DiscoverConfig{8}}, `"root" in the input must be an absolute path, not "src"`},
		{"a relative output", sdktest.Attempt{Handler: "discover", Input: Input{Output: "out"}, Config: DiscoverConfig{8}}, `"output" in the input must be an absolute path`},
		{"no such tree", sdktest.Attempt{Handler: "discover", Input: Input{Root: filepath.Join(empty, "none")}, Config: DiscoverConfig{8}}, "none"},
		{"a tree without Go", sdktest.Attempt{Handler: "discover", Input: Input{Root: empty}, Config: DiscoverConfig{8}}, "no Go files below " + empty},
		{"no shards", sdktest.Attempt{Handler: "discover", Config: DiscoverConfig{0}}, "/shards"},
		{"an unknown key", sdktest.Attempt{Handler: "analyse", Config: map[string]any{"shard": 0, "shards": 8}, Results: two}, "shards"},
		{"more analyse steps than shards", sdktest.Attempt{Handler: "analyse", Config: ShardConfig{2}, Results: two}, "there is no shard 2: the step discover is configured to deal 2"},
		{"more compare steps than shards", sdktest.Attempt{Handler: "compare", Config: ShardConfig{2}, Results: two}, "there is no shard 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := p.Run(t, test.a)
			if got.Failure == nil || got.Failure.Verdict != sdk.Final || !strings.Contains(got.Failure.Message, test.want) {
				t.Errorf("failure = %+v, want a permanent one that says %q", got.Failure, test.want)
			}
		})
	}
}

// TestMergeNeedsEveryShard: a template that forgot a dependency is told which.
func TestMergeNeedsEveryShard(t *testing.T) {
	p := sdktest.Start(t, plugin())
	results := map[string]any{
		"discover":  census.Tree{Shards: make([]census.Shard, 2)},
		"analyse_0": census.Analysis{}, "compare_0": census.Comparison{}, "analyse_1": census.Analysis{Shard: 1},
	}
	got := p.Run(t, sdktest.Attempt{Handler: "merge", Results: results})
	if got.Failure == nil || !strings.Contains(got.Failure.Message, `"compare_1"`) {
		t.Errorf("failure = %+v, want one that names compare_1", got.Failure)
	}
}

// TestDefaultRoot: without a root, the source of the Go installation is counted.
func TestDefaultRoot(t *testing.T) {
	p := sdktest.Start(t, plugin())
	// The walk itself is enough to tell.
	found := run[census.Tree](t, p, sdktest.Attempt{Handler: "discover", Config: DiscoverConfig{8}})
	if found.Module != "std" || found.Packages < 100 {
		t.Errorf("discover = module %q with %d packages in %s, want Go's own", found.Module, found.Packages, found.Root)
	}
}

// TestCancel: a running analysis stops between two files.
func TestCancel(t *testing.T) {
	p := sdktest.Start(t, plugin())
	found := run[census.Tree](t, p, sdktest.Attempt{Handler: "discover", Config: DiscoverConfig{1}})
	r := p.Begin(t, sdktest.Attempt{Handler: "analyse", Config: ShardConfig{0}, Results: map[string]any{"discover": found}})
	if h := r.Heartbeat(t); !strings.Contains(h.Note, " files read") {
		t.Errorf("heartbeat = %+v, want one that counts files", h)
	}
	r.Cancel(t, "cancel_requested")
	if got := r.Wait(t); got.Failure == nil || got.Failure.Verdict != sdk.Cancelled {
		t.Errorf("outcome = %+v, want a cancelled attempt", got.Failure)
	}
}
