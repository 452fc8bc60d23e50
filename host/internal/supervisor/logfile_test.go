package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPluginLogRotatesAndReadsBack(t *testing.T) {
	dir := t.TempDir()
	log := newPluginLog(dir, "mail", func(err error) { t.Errorf("log: %v", err) })
	const total = 200
	text := strings.Repeat("x", 200<<10) // 200 of these are more than the files hold
	for i := range total {
		log.write(LogLine{Message: fmt.Sprintf("%d %s", i, text)})
	}
	log.close()
	log.write(LogLine{Message: fmt.Sprintf("%d after a close", total)})
	log.close()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != maxLogFiles {
		t.Errorf("files = %v, want %d", files, maxLogFiles)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > maxLogBytes {
			t.Errorf("%s has %d bytes, want at most %d", f, info.Size(), maxLogBytes)
		}
	}
	const n = 60 // reaches over a rotation
	lines, err := readLog(dir, "mail", n)
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != n {
		t.Fatalf("%d lines, want %d", len(lines), n)
	}
	for i, l := range lines {
		if want := fmt.Sprintf("%d ", total+1-n+i); !strings.HasPrefix(l.Message, want) {
			t.Fatalf("line %d begins with %.10q, want %q", i, l.Message, want)
		}
	}
}

func TestReadLogSkipsTornLines(t *testing.T) {
	dir := t.TempDir()
	if lines, err := readLog(dir, "mail", 5); err != nil || len(lines) > 0 {
		t.Errorf("without a log: %v, %v; want nothing", lines, err)
	}
	if err := os.WriteFile(logPath(dir, "mail"), []byte("{\"message\":\"a\"}\n{\"mess"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, err := readLog(dir, "mail", 5)
	if err != nil || len(lines) != 1 || lines[0].Message != "a" {
		t.Errorf("readLog = %v, %v; want the whole line", lines, err)
	}
}

func TestPluginLogThatCannotBeWrittenIsToldOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told := 0
	log := newPluginLog(file, "mail", func(error) { told++ })
	log.write(LogLine{Message: "a"})
	log.write(LogLine{Message: "b"})
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
}
