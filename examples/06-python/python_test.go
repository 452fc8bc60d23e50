// Package python_test checks the plugin in Python against the wire, where Python has gRPC.
package python_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
)

func TestPluginKeepsTheWire(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import grpc, google.protobuf").CombinedOutput(); err != nil {
		t.Skipf("python3-grpcio or python3-protobuf is not installed (apt-get install python3-grpcio python3-protobuf): %v %s", err, out)
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skipf("openssl is not installed: %v", err)
	}
	plugin, err := filepath.Abs("tasker-plugin-pygreeter")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("verify.yaml")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := host.ParseVerifyFixtures(doc)
	if err != nil {
		t.Fatal(err)
	}
	report, err := host.VerifyPlugin(t.Context(), host.VerifyOptions{Command: []string{plugin}, Fixtures: fixtures, Patience: time.Minute, StartTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range report.Outcomes {
		if o.Result == host.VerifyFail {
			t.Errorf("%s: %q\nrule: %s", o.ID, o.Problems, o.Rule)
		}
	}
	const least = 40
	if report.Passed < least {
		t.Errorf("%d checks passed, want at least %d", report.Passed, least)
	}
}
