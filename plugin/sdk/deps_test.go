package sdk_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestDependencies keeps what every plugin binary has to carry small, and free of the host.
func TestDependencies(t *testing.T) {
	reasons := map[string]string{
		"github.com/hashicorp/go-plugin":                    "the handshake with the host",
		"github.com/hashicorp/go-hclog":                     "the logger that handlers get",
		"google.golang.org/grpc":                            "the wire",
		"google.golang.org/protobuf":                        "the messages on it",
		"github.com/invopop/jsonschema":                     "schemas from Go types",
		"github.com/santhosh-tekuri/jsonschema/v6":          "inputs and configs checked against them",
		"golang.org/x/sys":                                  "standard output on Windows",
		"golang.org/x/text":                                 "the texts of the schema checker",
		"go.opentelemetry.io/otel":                          "the API by which handlers and libraries make spans",
		"go.opentelemetry.io/otel/trace":                    "of otel",
		"go.opentelemetry.io/otel/sdk":                      "spans that travel to the host",
		"go.opentelemetry.io/otel/exporters/otlp/otlptrace": "their form on the wire",
		"go.opentelemetry.io/proto/otlp":                    "the messages of that form",
		"go.opentelemetry.io/otel/metric":                   "of otel",
		"go.opentelemetry.io/otel/log":                      "of otel/sdk",
		"go.opentelemetry.io/auto/sdk":                      "of otel",
		"github.com/cespare/xxhash/v2":                      "of otel",
		"github.com/go-logr/logr":                           "of otel",
		"github.com/go-logr/stdr":                           "of otel",
		"github.com/google/uuid":                            "of otel/sdk",
		"github.com/bahlo/generic-list-go":                  "of invopop/jsonschema",
		"github.com/buger/jsonparser":                       "of invopop/jsonschema",
		"github.com/pb33f/ordered-map/v2":                   "of invopop/jsonschema",
		"go.yaml.in/yaml/v4":                                "of invopop/jsonschema",
		"github.com/fatih/color":                            "of go-hclog",
		"github.com/mattn/go-colorable":                     "of go-hclog",
		"github.com/mattn/go-isatty":                        "of go-hclog",
		"github.com/golang/protobuf":                        "of go-plugin",
		"github.com/hashicorp/yamux":                        "of go-plugin",
		"github.com/oklog/run":                              "of go-plugin",
		"golang.org/x/net":                                  "of grpc",
		"google.golang.org/genproto/googleapis/rpc":         "of grpc",
	}
	const own = "github.com/tasker-engine/tasker"
	allowed := []string{own + "/plugin/sdk", own + "/plugin/sdk/event", own + "/plugin/sdk/event/trace", own + "/proto/tasker/event/v1", own + "/proto/tasker/plugin/v1"}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", own+"/plugin/sdk").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case module == own && !slices.Contains(allowed, path):
			t.Errorf("the SDK depends on %s", path)
		case module != "" && module != own && reasons[module] == "":
			t.Errorf("the SDK depends on the module %s, through %s, without a reason", module, path)
		}
	}
	direct, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{join .Imports "\n"}}`, own+"/plugin/sdk").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, testing := range []string{"testing", own + "/plugin/sdk/sdktest"} {
		if slices.Contains(strings.Fields(string(direct)), testing) {
			t.Errorf("the SDK imports %s", testing)
		}
	}
}
