package host

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// TestMissingHandlers: what a template needs and will not get is told with its cause;
// only plugins that it names, or that may turn out to be one of them, are waited for.
func TestMissingHandlers(t *testing.T) {
	manifest := &supervisor.Manifest{Handlers: []supervisor.Handler{{Name: "do", Version: 1}}}
	in := func(name string, state task.PluginState, m *supervisor.Manifest) supervisor.PluginInfo {
		return supervisor.PluginInfo{Name: name, State: state, Manifest: m, Instance: name + "#1", Capacity: 1, Cause: "the cause"}
	}
	tests := []struct {
		name    string
		plugins []supervisor.PluginInfo
		want    []string
		settled bool
	}{
		{"ready", []supervisor.PluginInfo{in("p", task.PluginReady, manifest)}, nil, true},
		{"degraded", []supervisor.PluginInfo{in("p", task.PluginDegraded, manifest)}, nil, true},
		{"no slot is free", []supervisor.PluginInfo{{Name: "p", State: task.PluginReady, Manifest: manifest}}, nil, true},
		{"draining", []supervisor.PluginInfo{in("p", task.PluginDraining, manifest)}, nil, true},
		{"refused", []supervisor.PluginInfo{in("p", task.PluginRefused, nil)}, []string{"plugin p is refused: the cause"}, true},
		{"quarantined", []supervisor.PluginInfo{in("p", task.PluginQuarantined, manifest)}, []string{"plugin p is quarantined: the cause"}, true},
		{"not started yet", []supervisor.PluginInfo{{Name: "p", State: task.PluginStopped}}, nil, false},
		{"starting", []supervisor.PluginInfo{in("p", task.PluginHandshaking, nil)}, nil, false},
		{"to be started again", []supervisor.PluginInfo{in("p", task.PluginBackoff, nil)}, nil, false},
		{
			"another is starting, under its own name",
			[]supervisor.PluginInfo{in("other", task.PluginConfiguring, manifest), in("p", task.PluginReady, manifest)},
			nil, true,
		},
		{"another is starting and may have the name", []supervisor.PluginInfo{in("other", task.PluginHandshaking, nil)}, nil, false},
		{
			"another is starting and has another name",
			[]supervisor.PluginInfo{in("other", task.PluginConfiguring, manifest)},
			[]string{`no plugin "p" is installed, which handler p/do needs; installed: other`},
			true,
		},
		{
			"a duplicate is refused",
			[]supervisor.PluginInfo{in("p", task.PluginRefused, nil), in("p", task.PluginReady, manifest)},
			nil, true,
		},
		{
			"no such handler",
			[]supervisor.PluginInfo{in("p", task.PluginReady, &supervisor.Manifest{Handlers: []supervisor.Handler{{Name: "paint", Version: 2}}})},
			[]string{"plugin p offers no handler do; it offers paint@2"},
			true,
		},
	}
	tmpl, err := template.Parse("test.yaml", []byte("name: t\nversion: 1.0.0\nsteps:\n- {name: a, handler: p/do}\n"), template.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			missing, settled := missingHandlers(tt.plugins, tmpl)
			var got []string
			for _, m := range missing {
				got = append(got, m.Text)
			}
			if diff := cmp.Diff(got, tt.want); diff != "" || settled != tt.settled {
				t.Errorf("settled: %t, want %t; missing (-got +want):\n%s", settled, tt.settled, diff)
			}
		})
	}
}

// TestReadyIsRecordedOncePerInstance: a plugin that falters and recovers as it likes
// fills no log.
func TestReadyIsRecordedOncePerInstance(t *testing.T) {
	h, err := Open(t.Context(), Options{Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	<-h.Ready()
	life := task.PluginLife{Plugin: "p", Version: "1.0.0", Instance: "p#1", State: task.PluginReady, At: time.Now()}
	sink{h}.Life(life)
	for range 100 {
		life.State, life.Again = task.PluginDegraded, false
		sink{h}.Life(life)
		life.State, life.Again = task.PluginReady, true
		sink{h}.Life(life)
	}
	life.State, life.Again = task.PluginStopped, false
	sink{h}.Life(life)
	var got []string
	enough := errors.New("enough")
	err = h.Events(ctx, api.EventQuery{Type: "plugin.*", Follow: true}, func(e store.LogEntry) error {
		var decoded eventv1.Event
		if err := proto.Unmarshal(e.Encoded, &decoded); err != nil {
			return err
		}
		if got = append(got, decoded.GetType()); decoded.GetType() == "plugin.stopped" {
			return enough
		}
		return nil
	})
	if diff := cmp.Diff(got, []string{"plugin.ready", "plugin.stopped"}); diff != "" || !errors.Is(err, enough) {
		t.Errorf("events, ended with %v (-got +want):\n%s", err, diff)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
