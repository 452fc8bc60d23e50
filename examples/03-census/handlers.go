package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/examples/03-census/internal/census"
	"github.com/tasker-engine/tasker/examples/03-census/internal/report"
	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Input is the input of the template. Every field may be left out.
type Input struct {
	Root   string   `json:"root,omitempty" jsonschema_description:"Absolute path of the tree. Default: the source of the Go installation on PATH."`
	Output string   `json:"output,omitempty" jsonschema_description:"Absolute path of the directory for the report. Default: a directory of the plugin's own, which the result names."`
	Title  string   `json:"title,omitempty" jsonschema_description:"Title of the report. Default: derived from the tree."`
	Skip   []string `json:"skip,omitempty" jsonschema_description:"Names of directories to leave out. Default: testdata and vendor."`
}

// DiscoverConfig is the config of the step discover.
type DiscoverConfig struct {
	Shards int `json:"shards" jsonschema:"minimum=1,maximum=256" jsonschema_description:"How many shards to deal; the template has one analyse step and one compare step for each."`
}

// ShardConfig is the config of the steps that work on one shard.
type ShardConfig struct {
	Shard int `json:"shard" jsonschema:"minimum=0" jsonschema_description:"Which one, from 0."`
}

// Report is the result of the task.
type Report struct {
	report.Files
	Packages   int    `json:"packages"`
	SourceFile int    `json:"files"`
	Lines      int    `json:"lines"`
	Functions  int    `json:"functions"`
	Copies     int    `json:"copies"`     // functions that have a near-copy
	Documented string `json:"documented"` // share of the exported names of public packages, e.g. "55.1 %"
}

// discover finds the packages and deals them into shards.
func discover(ctx context.Context, in Input) (census.Tree, error) {
	cfg, err := sdk.Config[DiscoverConfig](ctx)
	if err != nil {
		return census.Tree{}, err
	}
	// What only the last step needs is looked at first: nobody likes to hear of a bad path after the work.
	if _, err := outputDir(in); err != nil {
		return census.Tree{}, err
	}
	root, err := sourceRoot(ctx, in)
	if err != nil {
		return census.Tree{}, err
	}
	skip := in.Skip
	if skip == nil {
		skip = []string{"testdata", "vendor"}
	}
	tree, err := census.Discover(ctx, root, cfg.Shards, skip, time.Now())
	if errors.Is(err, census.ErrNoSource) || errors.Is(err, os.ErrNotExist) {
		return census.Tree{}, sdk.Permanent(err)
	}
	return tree, err
}

// analyse measures one shard.
func analyse(ctx context.Context, _ Input) (census.Analysis, error) {
	tree, shard, err := treeAndShard(ctx)
	if err != nil {
		return census.Analysis{}, err
	}
	return census.Analyse(ctx, tree.Root, shard, tree.Shards[shard], func(share float64, note string) { sdk.Heartbeat(ctx, share, note) })
}

// compare looks for copies of one shard's functions.
func compare(ctx context.Context, _ Input) (census.Comparison, error) {
	tree, shard, err := treeAndShard(ctx)
	if err != nil {
		return census.Comparison{}, err
	}
	return census.Compare(ctx, tree, shard, func(share float64, note string) { sdk.Heartbeat(ctx, share, note) })
}

// treeAndShard is what the two steps of a shard begin with.
func treeAndShard(ctx context.Context) (census.Tree, int, error) {
	cfg, err := sdk.Config[ShardConfig](ctx)
	if err != nil {
		return census.Tree{}, 0, err
	}
	tree, err := sdk.Result[census.Tree](ctx, "discover")
	if err != nil {
		return census.Tree{}, 0, err
	}
	if n := len(tree.Shards); cfg.Shard < 0 || cfg.Shard >= n {
		return census.Tree{}, 0, sdk.Permanent(fmt.Errorf("there is no shard %d: the step discover is configured to deal %d", cfg.Shard, n))
	}
	return tree, cfg.Shard, nil
}

// merge adds the shards up. It finds them by the names of their steps: analyse_0, compare_0, analyse_1, ...
func merge(ctx context.Context, _ Input) (census.Census, error) {
	tree, err := sdk.Result[census.Tree](ctx, "discover")
	if err != nil {
		return census.Census{}, err
	}
	analyses := make([]census.Analysis, len(tree.Shards))
	comparisons := make([]census.Comparison, len(tree.Shards))
	for i := range tree.Shards {
		var errA, errC error
		analyses[i], errA = sdk.Result[census.Analysis](ctx, fmt.Sprintf("analyse_%d", i))
		comparisons[i], errC = sdk.Result[census.Comparison](ctx, fmt.Sprintf("compare_%d", i))
		if err := errors.Join(errA, errC); err != nil {
			return census.Census{}, err
		}
	}
	return census.Merge(tree, analyses, comparisons)
}

// writeReport writes the files that the user came for.
func writeReport(ctx context.Context, in Input) (Report, error) {
	c, err := sdk.Result[census.Census](ctx, "merge")
	if err != nil {
		return Report{}, err
	}
	dir, err := outputDir(in)
	if err != nil {
		return Report{}, err
	}
	files, err := report.Write(dir, in.Title, c)
	if err != nil {
		return Report{}, err
	}
	sdk.Logger(ctx).Info("report written", "page", files.Page)
	return Report{
		Files: files, Packages: len(c.Packages), SourceFile: c.Total.Files, Lines: c.Total.Lines().Total(),
		Functions: c.Total.Functions + c.Total.Methods, Copies: c.Copies.Functions,
		Documented: report.Percent(c.Public.Documented, c.Public.Exported),
	}, nil
}

// sourceRoot is the tree to count: what the input says, or else what the go command calls its own.
func sourceRoot(ctx context.Context, in Input) (string, error) {
	if in.Root != "" {
		return absolute("root", in.Root)
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if root := strings.TrimSpace(string(out)); err == nil && root != "" {
		return filepath.Join(root, "src"), nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return "", sdk.Permanent(fmt.Errorf(`the input names no "root", and the go command, which would know one, cannot be asked: %w`, err))
}

// outputDir is where the report goes: what the input says, or else a directory in the plugin's own.
func outputDir(in Input) (string, error) {
	if in.Output == "" {
		return filepath.Abs("report")
	}
	return absolute("output", in.Output)
}

// absolute refuses relative paths: a plugin works in a directory of its own, so they would not lie where the
// user means.
func absolute(field, path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", sdk.Permanent(fmt.Errorf("%q in the input must be an absolute path, not %q: the plugin does not work in your directory", field, path))
	}
	return filepath.Clean(path), nil
}
