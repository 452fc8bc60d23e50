package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// opened makes a journal of its own, and returns what it logs.
func opened(t *testing.T, c config) (*journal, *bytes.Buffer) {
	t.Helper()
	j := &journal{config: &c}
	if err := j.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	j.log = slog.New(slog.NewTextHandler(log, nil))
	return j, log
}

// names are those of the files in a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// plain returns the content of a file, which may be compressed.
func plain(t *testing.T, path string) string {
	t.Helper()
	r, err := openAny(path)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// TestRotation by age keeps the newest files, compressed.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, values{"path": filepath.Join(dir, "events.jsonl"), "rotate": values{"age": "10s", "keep": 2, "gzip": true}})
	sent := acked(t, s, numbered(45)...)
	want := []string{
		"events.20260504T120020.000000000Z.jsonl.gz", "events.20260504T120030.000000000Z.jsonl.gz", "events.jsonl",
	}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	s.Close(t)
	s, _ = start(t, values{"path": filepath.Join(dir, "events.jsonl")})
	allAcked(t, s.Redeliver(t, sent[30:]...)...) // of which ten were put aside
	var all strings.Builder
	for _, name := range want {
		all.WriteString(plain(t, filepath.Join(dir, name)))
	}
	if diff := cmp.Diff(upTo(45)[20:], seqs(t, all.String())); diff != "" {
		t.Errorf("sequences (-want +got):\n%s", diff)
	}
}

// TestSize puts files aside before they grow beyond it, also when their first events were recorded at the same time.
func TestSize(t *testing.T) {
	dir := t.TempDir()
	j, _ := opened(t, config{Path: filepath.Join(dir, "events"), Fsync: fsyncNever, Rotate: rotation{SizeMiB: 1}})
	for i := range 5 {
		e := entries(1)[0]
		e.ID, e.Payload = fmt.Sprint(i), []byte(`"`+strings.Repeat("x", 600<<10)+`"`)
		if err := j.OnEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	want := []string{
		"events", "events.20260504T120000.000000000Z", "events.20260504T120000.000000001Z",
		"events.20260504T120000.000000002Z", "events.20260504T120000.000000003Z",
	}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestUnfinishedCompression is finished by the process that comes next.
func TestUnfinishedCompression(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.20260504T120000.000000000Z.jsonl")
	for _, p := range []string{path, path + ".gz.new"} {
		if err := os.WriteFile(p, []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(t, config{Path: filepath.Join(dir, "events.jsonl"), Rotate: rotation{Gzip: true}}, entries(1))
	if diff := cmp.Diff([]string{"events.20260504T120000.000000000Z.jsonl.gz", "events.jsonl"}, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := plain(t, path+".gz"); got != "{}\n" {
		t.Errorf("compressed %q", got)
	}
}

// TestChain goes on over restarts and files, and shows what was changed.
func TestChain(t *testing.T) {
	dir := t.TempDir()
	c := config{Path: filepath.Join(dir, "events.jsonl"), Chain: true, Rotate: rotation{Age: 4e9, Gzip: true}}
	events := entries(10)
	write(t, c, events[:6])
	if err := os.Remove(c.Path); err != nil { // 5 and 6 come again, to go on from the file that was put aside
		t.Fatal(err)
	}
	write(t, c, events)
	var files []string
	for _, name := range names(t, dir) {
		files = append(files, filepath.Join(dir, name))
	}
	var out, errs bytes.Buffer
	if code := verify(files, &out, &errs); code != 0 || !strings.HasPrefix(out.String(), `10 lines, from "" to "`) {
		t.Fatalf("verify says %d: %s%s", code, out.String(), errs.String())
	}
	whole := contentOf(t, c.Path)
	tests := map[string]struct{ file, want string }{
		"changed":   {strings.Replace(whole, "ann", "bob", 1), ":2: the chain breaks: "},
		"removed":   {whole[strings.Index(whole, "\n")+1:], ":1: the chain breaks: "},
		"no event":  {whole + "x\n", ":3: this line is no event: "},
		"unchained": {whole + `{"id":"x"}` + "\n", ":3: this line is not chained"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(c.Path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			errs.Reset()
			if code := verify(files, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), c.Path+tt.want) {
				t.Errorf("verify says %d: %s", code, errs.String())
			}
		})
	}
	if code := verify([]string{filepath.Join(dir, "none")}, io.Discard, io.Discard); code != 1 {
		t.Errorf("verify of no file says %d", code)
	}
}

// TestLargeFile is opened without being read as a whole: its end is known, and its beginning.
func TestLargeFile(t *testing.T) {
	c := config{Path: filepath.Join(t.TempDir(), "events"), Fsync: fsyncNever, Chain: true}
	events := entries(40)
	for i := range events {
		events[i].Payload = []byte(`"` + strings.Repeat("x", 600<<10) + `"`)
	}
	write(t, c, events[:35])
	write(t, c, events[20:]) // 16 to 35 are within the tail
	whole := plain(t, c.Path)
	if diff := cmp.Diff(upTo(40), seqs(t, whole)); diff != "" {
		t.Errorf("sequences (-want +got):\n%s", diff)
	}
	var errs bytes.Buffer
	if code := verify([]string{c.Path}, io.Discard, &errs); code != 0 {
		t.Errorf("verify says %d: %s", code, errs.String())
	}
	for _, cut := range []int{1, 1 << 10, 700 << 10} {
		if err := os.WriteFile(c.Path, []byte(whole[:len(whole)-cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, c, events[30:])
		if plain(t, c.Path) != whole {
			t.Errorf("cut by %d bytes the file is another", cut)
		}
	}
	j, _ := opened(t, c)
	f, err := openFile(c.Path, j.config, j.log)
	if err != nil {
		t.Fatal(err)
	}
	if !f.first.Equal(at(0)) || f.size != int64(len(whole)) {
		t.Errorf("first event at %s, size %d; want %s, %d", f.first, f.size, at(0), len(whole))
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}
