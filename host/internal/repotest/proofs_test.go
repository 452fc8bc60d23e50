package repotest

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// configProofs maps every key of the configuration to the tests of its effect: "directory
// Function", or "directory Function/case" when only one of its cases shows it.
func configProofs() map[string]string {
	return map[string]string{
		"home":                              "host TestLockedHome",
		"plugin_dirs":                       "host TestRefusedPluginIsMissing",
		"template_dirs":                     "host TestHighestVersion",
		"environment":                       "host TestEnvironment",
		"log_level":                         "host TestOptionsReachPlugins/log level",
		"log_format":                        "cmd/tasker/cli TestSettingsHaveEffect/log_format",
		"health_addr":                       "host TestHealthAddr",
		"metrics.listen":                    "host TestMetricsEndpoint",
		"store.slow_operation":              "host TestSlowOperation/short",
		"grace":                             "host TestGraceEnds",
		"cancel_grace":                      "host TestTimedOutAttemptIsWaitedFor",
		"start_timeout":                     "host TestStartTimeout/for all",
		"hang_timeout":                      "host TestHangTimeout",
		"concurrency":                       "host TestConcurrency",
		"isolation":                         "host/internal/shim TestHostileProgram",
		"events.workflow":                   "host TestWorkflowEvents",
		"tracing.keep":                      "host TestSpansAreKept/nothing is to be kept",
		"delivery_grace":                    "host/internal/delivery TestDrain",
		"events.keep":                       "host TestGap",
		"retention.complete":                "host TestRetentionRules",
		"retention.error":                   "host TestRetentionRules",
		"retention.cancelled":               "host TestRetentionRules",
		"retention.resolved_manually":       "host TestRetentionRules",
		"retention.last":                    "host/internal/boltstore TestConformance",
		"retention.export":                  "host TestExportFails",
		"retention.rules.template":          "host TestRetentionRules",
		"retention.rules.complete":          "host TestRetentionRules",
		"retention.rules.error":             "host TestRetentionRules",
		"retention.rules.cancelled":         "host TestRetentionRules",
		"retention.rules.resolved_manually": "host TestRetentionRules",
		"retention.rules.last":              "host TestRetentionRules",
		"subscriptions.subscriber":          "host TestHostSubscriptions/subscriber",
		"subscriptions.template":            "host TestHostSubscriptions/template first",
		"subscriptions.events":              "host TestHostSubscriptions/events",
		"subscriptions.filter":              "host TestHostSubscriptions/filter",
		"subscriptions.config":              "host TestHostSubscriptions/config",
		"subscriptions.enabled":             "host TestHostSubscriptions/enabled",
		"commands.access":                   "host/internal/api TestToken/read",
		"plugins.NAME.config":               "host TestOptionsReachPlugins/config",
		"plugins.NAME.env":                  "host TestOptionsReachPlugins/env",
		"plugins.NAME.start_timeout":        "host TestStartTimeout/for one",
		"plugins.NAME.isolation":            "host/internal/shim TestStrictStarts",
		"plugins.NAME.start":                "host/internal/supervisor TestLazyStart",
		"plugins.NAME.idle_stop":            "host/internal/supervisor TestIdleStop",
		"plugins.NAME.limits.memory":        "host/internal/supervisor TestMemoryLimit",
		"plugins.NAME.limits.files":         "host/internal/shim TestHostileProgram/open files without end",
		"plugins.NAME.limits.processes":     "host TestProcessLimit",
	}
}

// TestConfigurationHasEffect: every key that docs/configuration.md lists, which is written
// from the code, is proven to do something. That it reaches the host's options is shown
// beside the keys, in cmd/tasker/cli.
func TestConfigurationHasEffect(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	all, below, _ := strings.Cut(string(text), "`plugins.NAME`")
	row := regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|")
	var keys []string
	for _, m := range row.FindAllStringSubmatch(all, -1) {
		keys = append(keys, m[1])
	}
	for _, m := range row.FindAllStringSubmatch(below, -1) {
		keys = append(keys, "plugins.NAME."+m[1])
	}
	slices.Sort(keys)
	if diff := cmp.Diff(keys, slices.Sorted(maps.Keys(configProofs()))); diff != "" {
		t.Errorf("keys and proofs differ (-keys +proofs):\n%s", diff)
	}
	tests := testFunctions(t)
	for key, proof := range configProofs() {
		dir, test, _ := strings.Cut(proof, " ")
		function, name, _ := strings.Cut(test, "/")
		texts, ok := tests[dir+" "+function]
		if !ok || name != "" && !slices.Contains(texts, name) {
			t.Errorf("%s: there is no %s", key, proof)
		}
	}
}

// TestTrapsAreReproduced: the supervisor's documentation lists the traps of go-plugin with
// their tests; each is there, and none is left out.
func TestTrapsAreReproduced(t *testing.T) {
	const dir = "host/internal/supervisor"
	text, err := os.ReadFile(filepath.Join(root, dir, "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`\bTestTrap\w+`).FindAllString(string(text), -1)
	slices.Sort(listed)
	var reproduced []string
	for name := range testFunctions(t) {
		if function, ok := strings.CutPrefix(name, dir+" "); ok && strings.HasPrefix(function, "TestTrap") {
			reproduced = append(reproduced, function)
		}
	}
	slices.Sort(reproduced)
	if diff := cmp.Diff(reproduced, listed); diff != "" {
		t.Errorf("tests and the table in doc.go differ (-tests +table):\n%s", diff)
	}
}

// testFunctions lists all tests and benchmarks as "directory Function", with the texts in
// each: the names of its cases are among them.
func testFunctions(t *testing.T) map[string][]string {
	t.Helper()
	tests := make(map[string][]string)
	for _, f := range goFiles(t) {
		if !f.isTest() {
			continue
		}
		for _, decl := range f.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if ok && fn.Recv == nil && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Benchmark")) {
				tests[path.Dir(f.name)+" "+fn.Name.Name] = texts(fn)
			}
		}
	}
	return tests
}

func texts(fn *ast.FuncDecl) (found []string) {
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
