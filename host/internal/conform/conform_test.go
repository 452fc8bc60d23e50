package conform_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/host/internal/conform"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broken builds the plugin that breaks a rule on request.
func broken(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "tasker-plugin-broken")
	if runtime.GOOS == "windows" {
		out += ".exe"
	}
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", out, "./testdata/broken").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	return out
}

func fixtures(t *testing.T) conform.Fixtures {
	t.Helper()
	doc, err := os.ReadFile("testdata/broken/verify.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := conform.ParseFixtures(doc)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// manifests is what a host minds, as far as these tests go.
func manifests(m *pluginv1.Manifest) error {
	if strings.Contains(m.GetName(), " ") {
		return fmt.Errorf("name %q: want no blanks", m.GetName())
	}
	return nil
}

// patience is short for the checks that fail by waiting in vain, and long for all others;
// life.children must see the process end before it waits.
func patience(id string) time.Duration {
	const brief, fair = 700 * time.Millisecond, 8 * time.Second
	switch id {
	case "watch.ticks", "work.parallel", "work.cancel", "work.deadline", "work.half-close",
		"deliver.answers", "deliver.duplicates", "deliver.gaps", "deliver.ping", "deliver.unknown-subscription",
		"life.drain-deadline", "life.lifeline", "life.host-killed":
		return brief
	case "life.children":
		return fair
	default:
		return time.Minute
	}
}

// TestEachCheckCanFail has a plugin break the rule of each check, and nothing else.
func TestEachCheckCanFail(t *testing.T) {
	t.Parallel()
	program, given := broken(t), fixtures(t)
	wants := map[string]string{
		"start.by-hand":                "exit status 0",
		"start.line":                   `transport is "netrpc"`,
		"start.protocol":               "it chose 99, want 1",
		"start.no-protocol":            "claims protocol 99",
		"start.mtls":                   "serves who shows no certificate",
		"start.plain":                  "has a certificate",
		"start.health":                 "unknown service grpc.health",
		"describe.stable":              "differs in description",
		"describe.manifest":            `name "Bad Name"`,
		"describe.schemas":             "example of event broken.heard does not fit",
		"configure.accepts":            "it refuses",
		"configure.refuses":            "is accepted",
		"configure.secrets":            "the secret at /token is in standard error",
		"watch.first":                  "want STATE_READY",
		"watch.ticks":                  "no status number 2 while attempts run",
		"work.result":                  "got a second result",
		"work.form":                    "output is no JSON",
		"work.parallel":                "no result within",
		"work.unknown-handler":         "output {}, want an error",
		"work.unknown-fields":          "what is that?",
		"work.bad-input":               "breaks its input_schema",
		"work.cancel":                  "after its Cancel: attempt of slow: no result",
		"work.late-cancel":             "no such attempt",
		"work.deadline":                "no result within",
		"work.twice":                   "got a second result",
		"work.panic":                   "without a result",
		"work.fetch":                   "ended without a Fetch",
		"work.large-input":             "larger than max",
		"work.large-result":            "without a result",
		"work.half-close":              "did not end in order",
		"deliver.answers":              "no answer to each event",
		"deliver.duplicates":           "that comes again within",
		"deliver.gaps":                 "within",
		"deliver.unknown":              "unknown event",
		"deliver.unreadable":           "no event are acked",
		"deliver.ping":                 "no Pong to each Ping",
		"deliver.reopen":               "it is open",
		"deliver.unknown-subscription": "subscription that it does not have",
		"life.signals":                 "after SIGTERM and SIGINT",
		"life.drain":                   "Drain ended the attempt",
		"life.drain-deadline":          "no answer in time",
		"life.drained":                 "exit status 3",
		"life.shutdown":                "unknown service plugin.GRPCController",
		"life.lifeline":                "has not ended within",
		"life.host-killed":             "has not ended within",
		"life.children":                "left behind",
		"output.stdout":                `"hello from a handler"`,
		"output.log":                   "want a text in @message",
		"output.flood":                 "want an output",
	}
	for _, c := range conform.Checks() {
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			want, ok := wants[c.ID]
			if !ok {
				t.Fatal("nothing shows that the check can fail")
			}
			run := func(patience time.Duration) (o conform.Outcome, asWanted bool) {
				report, err := conform.Run(t.Context(), conform.Options{
					Command: []string{program, c.ID}, Fixtures: given, Only: []string{c.ID}, Patience: patience, StartTimeout: time.Minute,
					CheckManifest: manifests,
				})
				if err != nil {
					t.Fatal(err)
				}
				o = report.Outcomes[0]
				return o, o.Result == conform.Fail && strings.Contains(strings.Join(o.Problems, "\n"), want)
			}
			o, asWanted := run(patience(c.ID))
			for _, more := range []time.Duration{8 * time.Second, time.Minute} {
				if o.Result != conform.Skip && !asWanted { // a slow machine: what came before took too long, or the fault showed too late
					o, asWanted = run(more)
				}
			}
			if runtime.GOOS != "linux" && o.Result == conform.Skip {
				t.Skip(o.Reason)
			}
			if !asWanted {
				t.Errorf("result %s, skipped for %q, with the problems\n%s\nwant it to fail with %q", o.Result, o.Reason, strings.Join(o.Problems, "\n"), want)
			}
		})
	}
}

// TestGoodPluginPasses runs all checks on the plugin when it breaks no rule.
func TestGoodPluginPasses(t *testing.T) {
	t.Parallel()
	var told []int
	report, err := conform.Run(t.Context(), conform.Options{
		Command: []string{broken(t)}, Fixtures: fixtures(t), Patience: time.Minute, StartTimeout: time.Minute, CheckManifest: manifests,
		Progress: func(done, _ int, _ conform.Outcome) { told = append(told, done) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range report.Outcomes {
		if o.Result == conform.Fail || o.Result == conform.Skip && runtime.GOOS == "linux" {
			t.Errorf("%s: %s %s %q", o.ID, o.Result, o.Reason, o.Problems)
		}
	}
	if report.Plugin != "broken" || report.Failed != 0 || report.Passed != len(conform.Checks())-report.Skipped {
		t.Errorf("got plugin %q, %d passed, %d failed, %d skipped", report.Plugin, report.Passed, report.Failed, report.Skipped)
	}
	if len(told) != len(conform.Checks()) || !slices.IsSorted(told) {
		t.Errorf("progress told %v, want each check once", told)
	}
}

// TestNoPlugin checks programs that are no plugins.
func TestNoPlugin(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string][]string{
		"ends at once":  {self, "-test.run=^$"},
		"is not there":  {filepath.Join(t.TempDir(), "nothing")},
		"no executable": {"conform_test.go"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, err := conform.Run(t.Context(), conform.Options{Command: command, Only: []string{"start.line", "work.result"}})
			if err != nil {
				t.Fatal(err)
			}
			var got []conform.Result
			for _, o := range report.Outcomes {
				got = append(got, o.Result)
			}
			if want := []conform.Result{conform.Fail, conform.Skip}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for name, opts := range map[string]conform.Options{
		"no program":    {},
		"unknown check": {Command: []string{"x"}, Only: []string{"work.unheard-of"}},
	} {
		if _, err := conform.Run(t.Context(), opts); err == nil || !strings.Contains(err.Error(), conform.ErrUsage.Error()) {
			t.Errorf("%s: got %v, want %v", name, err, conform.ErrUsage)
		}
	}
}

func TestParseFixtures(t *testing.T) {
	tests := []struct {
		name, doc string
		want      conform.Fixtures
		wrong     string
	}{
		{name: "empty"},
		{
			name: "numbers stay as they are", doc: "handlers:\n  a: {input: {id: 9007199254740993}}\n",
			want: conform.Fixtures{Handlers: map[string]conform.Call{"a": {Input: json.RawMessage(`{"id": 9007199254740993}`)}}},
		},
		{name: "unknown key", doc: "handler: {}\n", wrong: `unknown field "handler"`},
		{name: "role without a handler", doc: "roles: {slow: {config: {}}}\n", wrong: "names no handler"},
		{name: "no YAML", doc: "{", wrong: "["},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := conform.ParseFixtures([]byte(tt.doc))
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Fatalf("got error %v, want %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestDocument holds checks and document together: each check has its line in the chapter
// that it names, with its rule, and the document names no other.
func TestDocument(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/plugin-wire.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string) // "work.result" -> "#work"
	chapter := ""
	row := regexp.MustCompile("^\\| `([a-z]+\\.[a-z-]+)` \\| (.+) \\|$")
	rules := make(map[string]string)
	for line := range strings.SplitSeq(string(doc), "\n") {
		if id, ok := strings.CutPrefix(line, `<a id="`); ok {
			chapter = "docs/plugin-wire.md#" + strings.TrimSuffix(id, `"></a>`)
		}
		if m := row.FindStringSubmatch(line); m != nil {
			rows[m[1]], rules[m[1]] = chapter, m[2]
		}
	}
	for _, c := range conform.Checks() {
		if rows[c.ID] != c.Doc {
			t.Errorf("check %s: the document has it at %q, want %q", c.ID, rows[c.ID], c.Doc)
		}
		if rules[c.ID] != c.Rule {
			t.Errorf("check %s: the document says\n%s\nwant\n%s", c.ID, rules[c.ID], c.Rule)
		}
		delete(rows, c.ID)
	}
	for id := range rows {
		t.Errorf("the document has the check %s, which there is not", id)
	}
}
