package template

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// proof names the test that shows that a key of the format does something.
type proof struct {
	dir  string // from the top of the repository
	test string // "Function", or "Function/case" when only one of its cases shows it
}

// proofs maps every key to the test of its effect: a key without one must not exist.
func proofs() map[string]proof {
	const here, domain, whole = "host/template", "host/task", "host"
	return map[string]proof{
		"template.namespace":          {here, "TestSetGet"},
		"template.name":               {here, "TestSetGet"},
		"template.version":            {here, "TestSetListIsInSemverOrder"},
		"template.description":        {here, "TestSnapshotGolden"},
		"template.input":              {here, "TestValidateInput"},
		"template.defaults":           {here, "TestDefaultsFillWhatStepsLeaveOpen"},
		"template.steps":              {here, "TestParseReadsRandomGraphs"},
		"template.environments":       {here, "TestLoadReadsTheEnvironment"},
		"template.deadline":           {whole, "TestCases/deadline"},
		"template.identity":           {whole, "TestIdentityHash"},
		"template.on_failure":         {whole, "TestCases/fail fast"},
		"template.subscriptions":      {whole, "TestTemplateSubscriptions"},
		"template.events":             {whole, "TestTemplateEvents"},
		"template.concurrency":        {here, "TestDiagnostics"}, // refused
		"template.retention":          {whole, "TestRetentionRules"},
		"step.with":                   {whole, "TestWith"},
		"step.when":                   {whole, "TestWhen"},
		"step.join":                   {whole, "TestJoinAny"},
		"step.name":                   {here, "TestStepByNameAndHandlers"},
		"step.description":            {here, "TestSnapshotGolden"},
		"step.handler":                {here, "TestStepByNameAndHandlers"},
		"step.config":                 {whole, "TestLargeValues"},
		"step.depends_on":             {whole, "TestOverlap/DIAMOND7"},
		"step.optional":               {whole, "TestCases/optional failure lets its dependants run"},
		"step.skippable":              {whole, "TestBypass"},
		"setting.retryable":           {whole, "TestCases/retryable false fails"},
		"setting.retry":               {whole, "TestCases/one gives up, another retries"},
		"setting.timeout":             {whole, "TestCases/timeout"},
		"setting.heartbeat_timeout":   {whole, "TestCases/heartbeat timeout"},
		"setting.schedule_to_start":   {whole, "TestCases/schedule to start"},
		"setting.total_timeout":       {whole, "TestCases/total timeout"},
		"setting.on_crash":            {whole, "TestOnCrash"},
		"setting.priority":            {whole, "TestPriority"},
		"subscription.subscriber":     {whole, "TestTemplateSubscriptions"},
		"subscription.events":         {whole, "TestTemplateSubscriptions"},
		"subscription.filter":         {whole, "TestTemplateSubscriptions"},
		"subscription.config":         {whole, "TestTemplateSubscriptions"},
		"subscription.enabled":        {whole, "TestTemplateSubscriptions"},
		"event.name":                  {whole, "TestTemplateEvents"},
		"event.on":                    {whole, "TestTemplateEvents"},
		"event.step":                  {whole, "TestTemplateEvents"},
		"event.description":           {here, "TestEventsGolden"},
		"retention.complete":          {whole, "TestRetentionRules"},
		"retention.error":             {whole, "TestRetentionRules"},
		"retention.cancelled":         {whole, "TestRetentionRules"},
		"retention.resolved_manually": {whole, "TestRetentionRules"},
		"retention.last":              {whole, "TestRetentionRules"},
		"retry.limit":                 {whole, "TestCases/one gives up, another retries"},
		"retry.backoff":               {domain, "TestNextRetry"},
		"retry.base":                  {domain, "TestNextRetry"},
		"retry.factor":                {domain, "TestNextRetry"},
		"retry.cap":                   {domain, "TestNextRetry"},
		"retry.jitter":                {domain, "TestJitterBounds"},
	}
}

// TestEveryKeyHasAProof: the tables that Parse reads by and the proofs name the same
// keys, and the tests that are named exist.
func TestEveryKeyHasAProof(t *testing.T) {
	var keys []string
	for _, k := range templateKeys() {
		keys = append(keys, "template."+k.name)
	}
	for _, k := range retentionKeys() {
		keys = append(keys, "retention."+k.name)
	}
	for _, k := range retryKeys() {
		keys = append(keys, "retry."+k.name)
	}
	for _, k := range subscriptionKeys() {
		keys = append(keys, "subscription."+k.name)
	}
	for _, k := range eventKeys() {
		keys = append(keys, "event."+k.name)
	}
	settings := make(map[string]bool)
	for _, k := range settingsKeys() {
		settings[k.name] = true
		keys = append(keys, "setting."+k.name)
	}
	for _, k := range stepKeys() {
		if !settings[k.name] {
			keys = append(keys, "step."+k.name)
		}
	}
	slices.Sort(keys)
	if diff := cmp.Diff(keys, slices.Sorted(maps.Keys(proofs()))); diff != "" {
		t.Errorf("keys and proofs differ (-keys +proofs):\n%s", diff)
	}
	tests := make(map[string]map[string][]string)
	for key, p := range proofs() {
		if tests[p.dir] == nil {
			tests[p.dir] = testFunctions(t, filepath.Join("../..", p.dir))
		}
		function, name, _ := strings.Cut(p.test, "/")
		texts, ok := tests[p.dir][function]
		if !ok || name != "" && !slices.Contains(texts, name) {
			t.Errorf("%s: there is no %s in %s", key, p.test, p.dir)
		}
	}
}

// testFunctions lists the tests of a directory with the texts in each: the names of its
// cases are among them.
func testFunctions(t *testing.T, dir string) map[string][]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	tests := make(map[string][]string)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				tests[fn.Name.Name] = textsOf(fn)
			}
		}
	}
	return tests
}

func textsOf(fn *ast.FuncDecl) []string {
	found := []string{}
	ast.Inspect(fn, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				found = append(found, text)
			}
		}
		return true
	})
	return found
}

// TestDefaultsFillWhatStepsLeaveOpen sets one key in defaults and looks at a step that
// leaves it open and at one that sets it.
func TestDefaultsFillWhatStepsLeaveOpen(t *testing.T) {
	for name, tc := range map[string]struct{ defaults, step, open, set string }{
		"retryable":         {"false", "true", `"retryable":false`, `"retryable":true`},
		"retry":             {"{limit: 2, base: 5s}", "{limit: 4}", `"retry":{"limit":2,"base":"5s"}`, `"retry":{"limit":4,"base":"5s"}`},
		"timeout":           {"5s", "none", `"timeout":"5s"`, `"timeout":"0s"`},
		"heartbeat_timeout": {"5s", "6s", `"heartbeat_timeout":"5s"`, `"heartbeat_timeout":"6s"`},
		"schedule_to_start": {"5s", "6s", `"schedule_to_start":"5s"`, `"schedule_to_start":"6s"`},
		"total_timeout":     {"5s", "6s", `"total_timeout":"5s"`, `"total_timeout":"6s"`},
		"on_crash":          {"park", "fail", `"on_crash":"park"`, `"on_crash":"fail"`},
		"priority":          {"7", "0", `"priority":7`, `"set","handler":"mock/noop"}`},
	} {
		t.Run(name, func(t *testing.T) {
			src := "name: t\nversion: 1.0.0\ndefaults: {" + name + ": " + tc.defaults + "}\nsteps:\n" +
				"  - {name: open, handler: mock/noop}\n  - {name: set, handler: mock/noop, " + name + ": " + tc.step + "}\n"
			tmpl, err := Parse("t.yaml", []byte(src), Options{})
			if err != nil {
				t.Fatal(err)
			}
			snapshot := string(tmpl.Snapshot())
			at := strings.Index(snapshot, `"set"`)
			if open := snapshot[:at]; !strings.Contains(open, tc.open) {
				t.Errorf("the step that leaves it open: got %s, want %s", open, tc.open)
			}
			if set := snapshot[at:]; !strings.Contains(set, tc.set) {
				t.Errorf("the step that sets it: got %s, want %s", set, tc.set)
			}
		})
	}
	if got := len(settingsKeys()); got != 8 {
		t.Errorf("%d settings, 8 are tested here", got)
	}
}
