package supervisor

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestReadLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"one line", "a\n", []string{"a"}},
		{"no end of line", "a\nb", []string{"a", "b"}},
		{"empty lines count", "\n\n", []string{"", ""}},
		{"carriage returns go", "a\r\nb\r", []string{"a", "b"}},
		{"as long as allowed", long + "\n", []string{long}},
		{"too long is cut", long + "yz\nb\n", []string{long + " CUT", "b"}},
		{"too long without an end", long + "y", []string{long + " CUT"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []struct {
				name string
				in   func() *lineCollector
			}{
				{"in one go", func() *lineCollector { return collect(tt.in, false) }},
				{"byte by byte", func() *lineCollector { return collect(tt.in, true) }},
			} {
				if diff := cmp.Diff(tt.want, r.in().lines); diff != "" {
					t.Errorf("%s (-want +got):\n%s", r.name, diff)
				}
			}
		})
	}
}

type lineCollector struct{ lines []string }

func (c *lineCollector) emit(line []byte, truncated bool) {
	text := string(line)
	if truncated {
		text += " CUT"
	}
	c.lines = append(c.lines, text)
}

func collect(in string, slowly bool) *lineCollector {
	c := &lineCollector{}
	if slowly {
		readLines(iotest.OneByteReader(strings.NewReader(in)), c.emit)
	} else {
		readLines(strings.NewReader(in), c.emit)
	}
	return c
}

func TestIsHandshake(t *testing.T) {
	tests := []struct {
		line string
		want bool
	}{
		{"1|1|unix|/tmp/x|grpc|MIIB", true},
		{"1|1|unix|/tmp/x|grpc|", true},
		{"1|1|tcp|127.0.0.1:1234|grpc", true},
		{"1|1|unix|/tmp/x|netrpc|", true},
		{"1|1|unix|/tmp/x|grpc||true\r", true},
		{"a|b|c", false},
		{"a|b|unix|/tmp/x|grpc", false},
		{"1|1|udp|x|grpc", false},
		{"1|1|unix||grpc", false},
		{"see 1|1|unix|/tmp/x|grpc", false},
		{"", false},
	}
	for _, tt := range tests {
		if got := isHandshake([]byte(tt.line)); got != tt.want {
			t.Errorf("isHandshake(%q) = %t, want %t", tt.line, got, tt.want)
		}
	}
}

func TestParseLine(t *testing.T) {
	tests := []struct {
		name, line string
		want       parsed
	}{
		{"plain text", "hello", parsed{message: "hello"}},
		{"hclog", `{"@level":"warn","@message":"low","@timestamp":"2026-01-01","sheets":3,"a":"b"}`, parsed{level: "warn", message: "low", fields: json.RawMessage(`{"a":"b","sheets":3}`)}},
		{"other JSON", `{"level":"warn"}`, parsed{message: `{"level":"warn"}`}},
		{"message of another type", `{"@message":1}`, parsed{message: "1"}},
		{"everything of other types", `{"@message":[null],"@level":{},"@timestamp":[]}`, parsed{message: "[null]"}},
		{"unknown level", `{"@message":"m","@level":"loud"}`, parsed{message: "m"}},
		{"level in capitals", `{"@message":"m","@level":"ERROR"}`, parsed{level: "error", message: "m"}},
		{"broken JSON", `{"@message":"m"`, parsed{message: `{"@message":"m"`}},
		{"no UTF-8", "a\xffb", parsed{message: "a\uFFFDb"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parseLine([]byte(tt.line)), cmp.AllowUnexported(parsed{})); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever a plugin writes in whatever portions, every line is emitted once, within
// the limit, and can be written to a log.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("a\nb\r\n{\"@message\": 1}\n"), uint16(3))
	f.Add([]byte(`{"@message": {"a": []}, "@level": 7}`), uint16(1))
	f.Add(bytes.Repeat([]byte("x"), maxLine+2), uint16(1000))
	f.Fuzz(func(t *testing.T, text []byte, portion uint16) {
		lines := 0
		s := &lineSplitter{emit: func(line []byte, truncated bool) {
			lines++
			if len(line) > maxLine || bytes.IndexByte(line, '\n') >= 0 {
				t.Errorf("line of %d bytes, or with an end of line in it", len(line))
			}
			if truncated && len(line) < maxLine-1 {
				t.Errorf("a line of %d bytes is marked as cut", len(line))
			}
			p := parseLine(line)
			if _, err := json.Marshal(LogLine{Level: p.level, Message: p.message, Fields: p.fields}); err != nil {
				t.Errorf("a log line cannot be made of %q: %v", line, err)
			}
			if !utf8.ValidString(cut(p.message, 10)) || len(cut(p.message, 10)) > 10 {
				t.Errorf("cut(%q, 10) = %q", p.message, cut(p.message, 10))
			}
		}}
		for rest := text; len(rest) > 0; {
			n := min(int(portion)+1, len(rest))
			s.write(rest[:n])
			rest = rest[n:]
		}
		s.flush()
		want := bytes.Count(text, []byte{'\n'})
		if len(text) > 0 && text[len(text)-1] != '\n' {
			want++
		}
		if lines != want {
			t.Errorf("%d lines emitted, want %d", lines, want)
		}
	})
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := limiter{perSecond: 2, burst: 3, tokens: 3}
	for i := range 3 {
		if ok, _ := l.allow(now); !ok {
			t.Fatalf("line %d of the burst is held back", i)
		}
	}
	for range 5 {
		if ok, _ := l.allow(now); ok {
			t.Fatal("a line beyond the burst passes")
		}
	}
	if ok, suppressed := l.allow(now.Add(time.Second)); !ok || suppressed != 5 {
		t.Errorf("after a second: passes %t with %d suppressed, want true with 5", ok, suppressed)
	}
	if ok, suppressed := l.allow(now.Add(time.Second)); !ok || suppressed != 0 {
		t.Errorf("the next: passes %t with %d suppressed, want true with 0", ok, suppressed)
	}
}

func TestTraceKeepsWhatFollowsAPanic(t *testing.T) {
	var tr lastWords
	for _, line := range []string{"working", "panic: not really", "going on", "panic: oh no", "", "goroutine 1 [running]:", "main.main()"} {
		tr.add(line)
	}
	if got, want := tr.String(), "panic: oh no\n\ngoroutine 1 [running]:\nmain.main()"; got != want {
		t.Errorf("trace = %q, want %q", got, want)
	}
	for range 100_000 {
		tr.add("more")
	}
	if got := len(tr.String()); got > keptTrace {
		t.Errorf("the trace has %d bytes, want at most %d", got, keptTrace)
	}
}

func TestRingKeepsTheLast(t *testing.T) {
	r := ring{limit: 3}
	for _, line := range []string{"a", "b", "c", "d"} {
		r.add(line)
	}
	if diff := cmp.Diff([]string{"b", "c", "d"}, r.lines()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
