package httpapi_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies: what httpapi needs beyond the SDK is in those plugins alone that call APIs.
func TestDependencies(t *testing.T) {
	const own = "github.com/tasker-engine/tasker/plugin/sdk"
	extra := []string{"github.com/failsafe-go/failsafe-go", "golang.org/x/time", own + "/httpapi"}
	deps := func(pkg string) string {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	sdk, httpapi := deps(own), deps(own+"/httpapi")
	for _, module := range extra {
		if strings.Contains(sdk, module) || !strings.Contains(httpapi, module) {
			t.Errorf("%s: in the SDK %v, in httpapi %v; want it in httpapi alone", module, strings.Contains(sdk, module), strings.Contains(httpapi, module))
		}
	}
	for _, never := range []string{"sdktest", "golang.org/x/oauth2", "grpc-gateway"} {
		if strings.Contains(httpapi, never) {
			t.Errorf("httpapi depends on %s", never)
		}
	}
}
