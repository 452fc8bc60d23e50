package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// flat is a curve whose file grows by a factor in the last third.
func flat(growth float64) []point {
	var curve []point
	for i := range points {
		file := 100e6
		if i >= 2*points/3 {
			file *= growth
		}
		curve = append(curve, point{tasks: i + 1, took: time.Duration(i+1) * time.Second, resident: 50 << 20, anonymous: 30 << 20, file: int64(file)})
	}
	return curve
}

func TestJudge(t *testing.T) {
	var out bytes.Buffer
	if err := judge(flat(1.1), &out); err != nil || !strings.Contains(out.String(), "file: 95.4 MiB in the middle third") {
		t.Errorf("a flat curve: got %v and %q, want no error and the thirds", err, out.String())
	}
	if err := judge(flat(1.3), io.Discard); err == nil || !strings.Contains(err.Error(), "file") {
		t.Errorf("a file that grows: got %v, want an error that names it", err)
	}
}

func TestDraw(t *testing.T) {
	d := xml.NewDecoder(bytes.NewReader(draw(flat(1))))
	lines := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != len(series()) {
		t.Errorf("lines drawn: got %d, want %d", lines, len(series()))
	}
}
