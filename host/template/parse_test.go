package template

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/tasker-engine/tasker/host/task"
)

// updateGolden rewrites the expected output of file-driven tests instead of comparing:
// UPDATE_GOLDEN=1 go test ./host/template.
func updateGolden() bool { return os.Getenv("UPDATE_GOLDEN") != "" }

// checkGolden compares got with a file, or writes it.
func checkGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if updateGolden() {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("glob %s: %d files, %v", pattern, len(files), err)
	}
	return files
}

// TestDiagnostics reads broken templates: each file holds one and what is said about it.
func TestDiagnostics(t *testing.T) {
	for _, path := range glob(t, "testdata/diagnostics/*.txtar") {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("template.yaml", ar.Files[0].Data, Options{})
			var ds Diagnostics
			if !errors.As(err, &ds) || !errors.Is(err, task.ErrInvalid) {
				t.Fatalf("got %T %v, want diagnostics", err, err)
			}
			ar.Files[1].Data = []byte(ds.Error() + "\n")
			checkGolden(t, path, txtar.Format(ar))
		})
	}
}

func parseFile(t *testing.T, path, environment string) *Template {
	t.Helper()
	tmpl, err := ParseFile(path, Options{Environment: environment})
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// TestSnapshotGolden compares the effective templates with files. The files are also
// the snapshots of released versions: never change one, only add.
func TestSnapshotGolden(t *testing.T) {
	for _, environment := range []string{"", "dev", "production", "unheard_of"} {
		t.Run("environment "+environment, func(t *testing.T) {
			tmpl := parseFile(t, "testdata/valid/full.yaml", environment)
			file := "full." + environment + ".json"
			if environment == "" || environment == "unheard_of" {
				file = "full.json"
			}
			checkGolden(t, filepath.Join("testdata/snapshots", file), append(bytes.Clone(tmpl.Snapshot()), '\n'))
			if diff := cmp.Diff([]string{"dev", "production"}, tmpl.Environments()); diff != "" {
				t.Errorf("environments differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEventsGolden does the same for what a template says of events.
func TestEventsGolden(t *testing.T) {
	for _, environment := range []string{"", "quiet"} {
		t.Run("environment "+environment, func(t *testing.T) {
			tmpl := parseFile(t, "testdata/valid/events.yaml", environment)
			file := filepath.Join("testdata/snapshots", strings.TrimSuffix("events."+environment, ".")+".json")
			checkGolden(t, file, append(bytes.Clone(tmpl.Snapshot()), '\n'))
		})
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
