package host_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
)

// TestUnansweredNames: what names a plugin or subscription that nobody has is a problem
// that health and the log tell of; the host is ready all the same.
func TestUnansweredNames(t *testing.T) {
	t.Parallel()
	const warning = "plugins are named that are not installed"
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Expect(warning, "binding is refused"),
		templateDir(t, boundTemplate("registered", "- {subscriber: ome/all}\n- {subscriber: gone/all, enabled: false}\n")),
		hosttest.Options(func(o *host.Options) {
			o.PluginConfigs = map[string]json.RawMessage{"mokc": json.RawMessage(`{}`)}
			o.PluginEnv = map[string][]string{"mock": {"X"}, "mokc": {"X"}, "unicorn": nil}
			o.Subscriptions = []host.Subscriber{
				{Subscriber: "one/al", Position: "tasker.yaml:3:5"},
				{Subscriber: "webhook/events"},
				{Subscriber: "one/all"},
			}
		}))
	h.AwaitPlugin("one")
	h.AwaitPlugin("mock")
	h.AwaitLogged(warning)
	health, err := h.Health(t.Context())
	if err != nil || !health.Ready {
		t.Fatalf("health %+v, %v; want it to be ready", health, err)
	}
	for i, p := range health.Problems { // templates lie in a directory of their own
		if _, rest, in := strings.Cut(p, "/a.yaml:"); in {
			health.Problems[i] = "a.yaml:" + rest
		}
	}
	want := []string{
		`tasker.yaml: plugins.mokc: no plugin "mokc" is installed; did you mean "mock"?`,
		`tasker.yaml: plugins.unicorn: no plugin "unicorn" is installed`,
		`tasker.yaml: subscriber webhook/events: no plugin "webhook" is installed`,
		`a.yaml:4:3: subscriber ome/all: no plugin "ome" is installed; did you mean "one"?`,
		`tasker.yaml:3:5: plugin one has no subscription "al": did you mean "one/all"?`,
	}
	if diff := cmp.Diff(want, health.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if !h.Logged(`plugins.mokc: no plugin \"mokc\" is installed; did you mean \"mock\"?`) {
		t.Error("the log does not name them")
	}
}
