package host_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// awaitRefused waits until a plugin is refused and returns why.
func awaitRefused(t *testing.T, h *hosttest.Host, name string) string {
	t.Helper()
	cause := ""
	h.AwaitPlugins(name+" to be refused", func(plugins []host.PluginInfo) bool {
		return slices.ContainsFunc(plugins, func(p host.PluginInfo) bool {
			cause = p.Cause
			return p.Name == name && p.State == task.PluginRefused
		})
	})
	return cause
}

// TestPluginsAreRefusedForWhatTheyDeclare: with reason and remedy, while others run.
func TestPluginsAreRefusedForWhatTheyDeclare(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	hosttest.Declare(t, home, "misspelt", []string{"shipping.shiped", "warehouse.packed"}, "", "")
	hosttest.Declare(t, home, "filtering", []string{"step.failed"}, "event.stp == 'a'", "")
	hosttest.Declare(t, home, "hopeful", []string{"warehouse.*", "shipping.shipped"}, "", "")
	hosttest.Declare(t, home, "shipping", nil, "", "shipped")
	h := hosttest.Start(t, hosttest.Recorder("misspelt", "filtering", "hopeful", "shipping"),
		hosttest.Options(func(o *host.Options) { o.Home = home }), hosttest.Expect("plugin is refused", "what may be a mistake"))
	for name, want := range map[string]string{
		"misspelt": `check: plugin misspelt: subscription more: there is no event "shipping.shiped": did you mean shipping.shipped?; ` +
			`subscription more: there is no event "warehouse.packed": install plugin warehouse, or the template warehouse, whichever publishes it`,
		"filtering": `subscription more: filter "event.stp == 'a'": 1:7: an event has no field "stp": did you mean "step"?`,
	} {
		if cause := awaitRefused(t, h, name); !strings.Contains(cause, want) {
			t.Errorf("%s is refused: %s\nwant %q in it", name, cause, want)
		}
	}
	notes := h.AwaitPlugin("hopeful").Notes
	for _, want := range []string{"subscription more: shipping.shipped, warehouse.*", "subscription more: warehouse.* matches no event that there is: see `tasker event list`"} {
		if !slices.Contains(notes, want) {
			t.Errorf("notes %q, want %q among them", notes, want)
		}
	}
	entries, err := h.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e host.CatalogEntry) bool { return e.Name == "shipping.shipped" })
	if i < 0 || !entries[i].Installed || !slices.Contains(entries[i].Subscribers, "hopeful/more") || !slices.Equal(entries[i].FiredBy, []string{"plugin shipping"}) {
		t.Errorf("catalog has %+v, want shipping.shipped of plugin shipping for hopeful/more", entries[max(i, 0)])
	}
}

// TestSchemaBreak: a plugin whose custom event loses a property is refused as long as
// somebody reads the event, over restarts of the host.
func TestSchemaBreak(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "home")
	home := hosttest.Options(func(o *host.Options) { o.Home = dir })
	start := func(expect string, recorders ...string) *hosttest.Host {
		return hosttest.Start(t, home, hosttest.WithoutPlugins(), hosttest.Recorder(recorders...), hosttest.Expect(expect))
	}
	h := start("plugin is ready", "shipping")
	hosttest.Declare(t, h.Home(), "shipping", nil, "", "shipped")
	hosttest.Declare(t, h.Home(), "reader", []string{"shipping.*"}, "", "")
	h.AwaitPlugin("shipping")
	h.Restart() // it declares the event now
	h.AwaitPlugin("shipping")
	h.Stop()
	hosttest.Declare(t, h.Home(), "shipping", nil, "", "shipped_less")

	h = start("plugin is refused", "shipping", "reader")
	cause := awaitRefused(t, h, "shipping")
	if want := `event shipping.shipped: property "total" was removed, and subscription reader/more reads it: keep the property`; !strings.Contains(cause, want) {
		t.Errorf("shipping is refused: %s\nwant %q in it", cause, want)
	}
	h.AwaitPlugin("reader")
	h.Stop()

	h = start("plugin is ready", "shipping") // nobody reads it
	h.AwaitPlugin("shipping")
}
