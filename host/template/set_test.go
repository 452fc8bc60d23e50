package template

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/tasker-engine/tasker/host/task"
)

// writeFiles unpacks a txtar archive below a new directory.
func writeFiles(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, dirs ...string) *Set {
	t.Helper()
	s, err := Load(Options{}, dirs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const step = "\nsteps: [{name: a, handler: mock/noop}]\n"

const shop = `
-- orders/fulfil-2.yaml --
{namespace: shop, name: fulfil, version: 2.0.0, steps: [{name: a, handler: mock/noop}]}
-- orders/fulfil-10.yml --
{namespace: shop, name: fulfil, version: 10.0.0, steps: [{name: a, handler: mock/noop}]}
-- orders/fulfil-9.json --
{"namespace": "shop", "name": "fulfil", "version": "9.0.0", "steps": [{"name": "a", "handler": "mock/noop"}]}
-- orders/rc.yaml --
{namespace: shop, name: fulfil, version: 10.0.0-rc.1, steps: [{name: a, handler: mock/noop}]}
-- plain.yaml --
{name: plain, version: 1.0.0, steps: [{name: a, handler: mock/noop}]}
-- copy/plain.yaml --
{name: plain, version: 1.0.0, steps: [{name: a, handler: mock/noop}]}
-- README.md --
Not a template.
-- .hidden/x.yaml --
not: a template
-- .hidden.yaml --
not: a template
`

func TestSetGet(t *testing.T) {
	s := load(t, writeFiles(t, shop))
	for ref, want := range map[string]string{
		"shop/fulfil":             "shop/fulfil@10.0.0",
		"shop/fulfil@2.0.0":       "shop/fulfil@2.0.0",
		"shop/fulfil@9.0.0":       "shop/fulfil@9.0.0",
		"shop/fulfil@10.0.0-rc.1": "shop/fulfil@10.0.0-rc.1",
		"plain":                   "default/plain@1.0.0",
		"default/plain":           "default/plain@1.0.0",
		"plain@1.0.0":             "default/plain@1.0.0",
	} {
		got, err := s.Get(ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if got.Ref().String() != want {
			t.Errorf("%s: got %s, want %s", ref, got.Ref(), want)
		}
	}
	if ds := s.Problems(); len(ds) > 0 {
		t.Errorf("problems: %v", ds)
	}
}

func TestSetListIsInSemverOrder(t *testing.T) {
	var got []string
	for _, e := range load(t, writeFiles(t, shop)).List() {
		got = append(got, e.Template.Ref().String()+" "+filepath.Base(e.File))
	}
	want := []string{
		"default/plain@1.0.0 plain.yaml", "shop/fulfil@2.0.0 fulfil-2.yaml", "shop/fulfil@9.0.0 fulfil-9.json",
		"shop/fulfil@10.0.0-rc.1 rc.yaml", "shop/fulfil@10.0.0 fulfil-10.yml",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("list differs (-want +got):\n%s", diff)
	}
}

func TestSetGetNotFound(t *testing.T) {
	s := load(t, writeFiles(t, shop+"-- broken.yaml --\nname: 5\n"))
	for ref, tc := range map[string]struct {
		want error
		text string
	}{
		"shop/fulfill":       {task.ErrNotFound, `template shop/fulfill: not found: did you mean "shop/fulfil"?; 1 template file(s) could not be loaded`},
		"fulfil":             {task.ErrNotFound, `did you mean "shop/fulfil"?`},
		"nothing/like-it":    {task.ErrNotFound, "template nothing/like-it: not found: 1 template file(s)"},
		"shop/fulfil@3.0.0":  {task.ErrNotFound, "there is 10.0.0, 10.0.0-rc.1, 9.0.0, 2.0.0"},
		"shop/fulfil@latest": {task.ErrInvalid, `"latest" is no version such as 1.0.0`},
		"shop/nope@1.0.0":    {task.ErrNotFound, "template shop/nope@1.0.0: not found"},
		"":                   {task.ErrNotFound, "template : not found"},
	} {
		_, err := s.Get(ref)
		if !errors.Is(err, tc.want) || !strings.Contains(fmt.Sprint(err), tc.text) {
			t.Errorf("%s: got %v, want %q", ref, err, tc.text)
		}
	}
	if _, err := load(t, t.TempDir()).Get("x"); !strings.Contains(fmt.Sprint(err), "no templates are loaded") {
		t.Errorf("empty set: got %v", err)
	}
}

// TestSetRefusesAVersionWithTwoMeanings changes a template without a new version.
func TestSetRefusesAVersionWithTwoMeanings(t *testing.T) {
	dir := writeFiles(t, `
-- a.yaml --
{name: t, version: 1.0.0, steps: [{name: a, handler: mock/noop}]}
-- b.yaml --
{name: t, version: 1.0.0, steps: [{name: a, handler: mock/echo}]}
-- c.yaml --
{name: t, version: 1.1.0, steps: [{name: a, handler: mock/noop}]}
-- d.yaml --
{name: u, version: 1.0.0, steps: [{name: a, handler: mock/noop}]}
-- e.yaml --
{name: u, version: 2.0.0, steps: [{name: a, handler: mock/noop}]}
-- f.yaml --
{name: u, version: 2.0.0, steps: [{name: b, handler: mock/noop}]}
`)
	s := load(t, dir)
	for _, ref := range []string{"t@1.0.0", "u", "u@2.0.0"} {
		_, err := s.Get(ref)
		if !errors.Is(err, task.ErrInvalid) || !strings.Contains(fmt.Sprint(err), "a version never changes") {
			t.Errorf("%s: got %v, want an error about two files", ref, err)
		}
	}
	for ref, want := range map[string]string{"t": "default/t@1.1.0", "u@1.0.0": "default/u@1.0.0"} {
		if got, err := s.Get(ref); err != nil || got.Ref().String() != want {
			t.Errorf("%s: got %v, %v, want %s", ref, got, err, want)
		}
	}
	want := Diagnostics{
		{
			File: filepath.Join(dir, "b.yaml"), Message: "template default/t@1.0.0 differs from the one in " + filepath.Join(dir, "a.yaml"),
			Hint: "a version never changes: give one of them a new version",
		},
		{
			File: filepath.Join(dir, "f.yaml"), Message: "template default/u@2.0.0 differs from the one in " + filepath.Join(dir, "e.yaml"),
			Hint: "a version never changes: give one of them a new version",
		},
	}
	if diff := cmp.Diff(want, s.Problems()); diff != "" {
		t.Errorf("problems differ (-want +got):\n%s", diff)
	}
}

func TestSetKeepsGoodFilesBesideBrokenOnes(t *testing.T) {
	dir := writeFiles(t, `
-- a/broken.yaml --
name: t
version: 1.0.0
stepps: []
-- b/good.yaml --
{name: good, version: 1.0.0, steps: [{name: a, handler: mock/noop}]}
-- b/empty.yaml --
`)
	s := load(t, dir, filepath.Join(dir, "b")) // the second directory lies in the first
	if got := s.List(); len(got) != 1 || got[0].Template.Name != "good" {
		t.Errorf("list: got %v, want the good one", got)
	}
	var got []string
	for _, d := range s.Problems() {
		got = append(got, strings.TrimPrefix(filepath.ToSlash(d.Error()), filepath.ToSlash(dir)))
	}
	want := []string{
		"/a/broken.yaml:1:1: the template has no steps",
		`/a/broken.yaml:3:1: unknown key "stepps" in a template; did you mean "steps"?`,
		"/b/empty.yaml:1:1: the file is empty; a template needs name, version and steps",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems differ (-want +got):\n%s", diff)
	}
}

func TestLoadOfAMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nowhere")
	if _, err := Load(Options{}, dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(fmt.Sprint(err), dir) {
		t.Errorf("got %v, want that %s does not exist", err, dir)
	}
}

func TestLoadReadsTheEnvironment(t *testing.T) {
	dir := writeFiles(t, "-- t.yaml --\nname: t\nversion: 1.0.0\ndeadline: 1h"+step+"environments: {dev: {deadline: 1m}}\n")
	base := load(t, dir)
	dev, err := Load(Options{Environment: "dev"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	one, two := base.List()[0].Template, dev.List()[0].Template
	if diff := cmp.Diff([]string{"dev"}, base.Environments()); diff != "" {
		t.Errorf("environments differ (-want +got):\n%s", diff)
	}
	if one.Deadline.String() != "1h0m0s" || two.Deadline.String() != "1m0s" || one.Ref().Hash == two.Ref().Hash {
		t.Errorf("deadlines %s and %s, hashes %s and %s", one.Deadline, two.Deadline, one.Ref().Hash, two.Ref().Hash)
	}
}

func TestParseFileErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := ParseFile(filepath.Join(dir, "no.yaml"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
	if _, err := ParseFile(dir, Options{}); err == nil {
		t.Error("a directory was read as a template")
	}
	var ds Diagnostics
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, make([]byte, MaxFileSize+10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseFile(big, Options{}); !errors.As(err, &ds) || !strings.Contains(ds[0].Message, "larger than") {
		t.Errorf("big file: got %v", err)
	}
}
