package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a service of which a test says what it needs; the rest panics.
type fake struct {
	Service

	create func(task.Request) (task.Created, error)
	watch  func(ctx context.Context, fn func(*task.View) error) error
	events func(ctx context.Context, q EventQuery, fn func(store.LogEntry) error) error
	health Health
	view   *task.View
	op     func(id string, op task.Operation) error
}

func (f *fake) CreateTask(_ context.Context, r task.Request) (task.Created, error) {
	return f.create(r)
}
func (f *fake) Task(context.Context, string) (*task.View, error) { return f.view, nil }

func (f *fake) WatchTask(ctx context.Context, _ string, fn func(*task.View) error) error {
	return f.watch(ctx, fn)
}

func (f *fake) Events(ctx context.Context, q EventQuery, fn func(store.LogEntry) error) error {
	return f.events(ctx, q, fn)
}
func (f *fake) Health(context.Context) (*Health, error) { return &f.health, nil }

func (f *fake) ResolveTask(_ context.Context, id string, op task.Operation) error {
	return f.op(id, op)
}

// startService serves s in a fresh home until the test ends.
func startService(t *testing.T, s Service) *Client {
	t.Helper()
	client, _, _ := start(t, s, nil)
	return client
}

// start serves a service in a fresh home until stop is called or the test ends.
func start(t *testing.T, served Service, change func(*Config)) (client *Client, home string, stop func()) {
	t.Helper()
	home = t.TempDir()
	cfg := Config{Home: home, Mode: ModeServe, Version: "1.2.3", Service: served, Logger: hclog.NewNullLogger()}
	if change != nil {
		change(&cfg)
	}
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	client, err = Dial(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		stop()
	})
	return client, home, stop
}

// TestStopBeforeTheFirstCall: a host that is stopped right after its start ends well,
// whether or not the server has begun to serve.
func TestStopBeforeTheFirstCall(t *testing.T) {
	s, err := Listen(Config{Home: t.TempDir(), Mode: ModeServe, Service: &fake{}, Logger: hclog.NewNullLogger(), HealthAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	s.grpc.GracefulStop() // as Run does, when its goroutines begin in that order
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestCreate(t *testing.T) {
	want := filled[task.Request](t)
	f := &fake{create: func(r task.Request) (task.Created, error) {
		if diff := cmp.Diff(want, r); diff != "" {
			t.Errorf("request changed on the way (-sent +received):\n%s", diff)
		}
		return task.Created{ID: "X", Duplicate: true, Warnings: []string{"w"}}, nil
	}}
	client, _, _ := start(t, f, nil)
	got, err := client.CreateTask(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(task.Created{ID: "X", Duplicate: true, Warnings: []string{"w"}}, got); diff != "" {
		t.Errorf("answer changed on the way:\n%s", diff)
	}
}

func TestEmbeddedRefusesCreations(t *testing.T) {
	f := &fake{create: func(task.Request) (task.Created, error) {
		t.Error("the creation reached the host")
		return task.Created{}, nil
	}}
	client, _, _ := start(t, f, func(c *Config) { c.Mode = ModeRun })
	_, err := client.CreateTask(t.Context(), task.Request{})
	if !errors.Is(err, ErrEmbedded) {
		t.Fatalf("got %v, want ErrEmbedded", err)
	}
	if h, ok := errors.AsType[Hinter](err); !ok || !strings.Contains(h.Hint(), "tasker serve") {
		t.Errorf("the error does not name tasker serve: %v", err)
	}
}

func TestLargeTask(t *testing.T) {
	view := filled[task.View](t)
	output := []byte(`"` + strings.Repeat("x", task.MaxValue-2) + `"`)
	for range 4 {
		step := filled[task.StepView](t)
		step.Output = output
		view.Steps = append(view.Steps, step)
	}
	client, _, _ := start(t, &fake{view: &view}, nil)
	got, err := client.Task(t.Context(), "X")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Steps) != len(view.Steps) || len(got.Steps[3].Output) != task.MaxValue {
		t.Errorf("got %d steps, the fourth with %d bytes; want %d, %d",
			len(got.Steps), len(got.Steps[3].Output), len(view.Steps), task.MaxValue)
	}
}

func TestWatch(t *testing.T) {
	states := []task.Status{task.Pending, task.InProgress, task.Complete}
	f := &fake{watch: func(_ context.Context, fn func(*task.View) error) error {
		for _, s := range states {
			if err := fn(&task.View{Status: s}); err != nil {
				return err
			}
		}
		return nil
	}}
	client, _, _ := start(t, f, nil)
	var got []task.Status
	err := client.WatchTask(t.Context(), "X", func(v *task.View) error {
		got = append(got, v.Status)
		return nil
	})
	if diff := cmp.Diff(states, got); err != nil || diff != "" {
		t.Errorf("error %v, statuses (-want +got):\n%s", err, diff)
	}
	enough := errors.New("enough")
	if err := client.WatchTask(t.Context(), "X", func(*task.View) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v, want the callback's error", err)
	}
}

// TestStopEndsStreams: a host that stops tells who watches, and waits for nobody.
func TestStopEndsStreams(t *testing.T) {
	wait := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	f := &fake{
		watch: func(ctx context.Context, fn func(*task.View) error) error {
			return errors.Join(fn(&task.View{Status: task.InProgress}), wait(ctx))
		},
		events: func(ctx context.Context, _ EventQuery, fn func(store.LogEntry) error) error {
			return errors.Join(fn(store.LogEntry{Seq: 7, Encoded: []byte("e")}), wait(ctx))
		},
	}
	client, home, stop := start(t, f, nil)
	seen, ended := make(chan struct{}, 2), make(chan error, 2)
	go func() {
		ended <- client.WatchTask(t.Context(), "X", func(*task.View) error {
			seen <- struct{}{}
			return nil
		})
	}()
	go func() {
		ended <- client.Events(t.Context(), EventQuery{Follow: true}, func(store.LogEntry) error {
			seen <- struct{}{}
			return nil
		})
	}()
	<-seen
	<-seen
	stop()
	for range 2 {
		if err := <-ended; !errors.Is(err, task.ErrStopping) {
			t.Errorf("stream ended with %v, want ErrStopping", err)
		}
	}
	if _, err := os.Stat(filepath.Join(home, RecordFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
	if _, err := Dial(t.Context(), home); !errors.Is(err, ErrNoHost) {
		t.Errorf("Dial after the stop: %v, want ErrNoHost", err)
	}
}

func TestFollowEndsWithTheCaller(t *testing.T) {
	f := &fake{events: func(ctx context.Context, _ EventQuery, fn func(store.LogEntry) error) error {
		if err := fn(store.LogEntry{Seq: 1}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}}
	client, _, _ := start(t, f, nil)
	ctx, cancel := context.WithCancel(t.Context())
	err := client.Events(ctx, EventQuery{Follow: true}, func(store.LogEntry) error {
		cancel()
		return nil
	})
	if err != nil {
		t.Errorf("got %v, want none: the caller has seen enough", err)
	}
}

func TestOperation(t *testing.T) {
	f := &fake{op: func(id string, op task.Operation) error {
		return fmt.Errorf("%s %s %s %s: %w", id, op.Step, op.By, op.Results, task.ErrTransition)
	}}
	client, _, _ := start(t, f, nil)
	err := client.ResolveTask(t.Context(), "01H", task.Operation{Step: "ship", By: "me", Results: []byte(`{}`)})
	if !errors.Is(err, task.ErrTransition) || !strings.HasPrefix(err.Error(), "01H ship me {}") {
		t.Errorf("got %v", err)
	}
}

func TestHealthPort(t *testing.T) {
	tests := []struct {
		name        string
		health      Health
		livez       int
		readyz      int
		readyzShows string
	}{
		{"well", Health{Live: true, Ready: true}, 200, 200, "ok"},
		{"starting", Health{Live: true, Problems: []string{"plugin mock is starting"}}, 200, 503, "plugin mock is starting"},
		{"stuck", Health{Ready: true, Problems: []string{"the engine does not answer"}}, 503, 503, "does not answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, _, _ := start(t, &fake{health: tt.health}, func(c *Config) { c.HealthAddr = "localhost:0" })
			addr := client.Record().Health
			if code, _ := get(t, addr, "/livez"); code != tt.livez {
				t.Errorf("livez %d, want %d", code, tt.livez)
			}
			if code, body := get(t, addr, "/readyz"); code != tt.readyz || !strings.Contains(body, tt.readyzShows) {
				t.Errorf("readyz %d %q, want %d with %q", code, body, tt.readyz, tt.readyzShows)
			}
		})
	}
}

func get(t *testing.T, addr, path string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestHealthAddress(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "example.com:80", "7701", "[::]:0"} {
		t.Run(addr, func(t *testing.T) {
			home := t.TempDir()
			_, err := Listen(Config{Home: home, Service: &fake{}, Logger: hclog.NewNullLogger(), HealthAddr: addr})
			if !errors.Is(err, task.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			if _, err := os.Stat(filepath.Join(home, RecordFile)); !errors.Is(err, os.ErrNotExist) {
				t.Error("a record was written although nobody listens")
			}
		})
	}
}

// TestKilledHost: what a killed host leaves behind is recognised, and replaced by the
// next one.
func TestKilledHost(t *testing.T) {
	home := t.TempDir()
	path, err := socketPath(home)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dead := Record{Socket: path, PID: 4711, StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Mode: ModeServe}
	if err := writeRecord(home, dead); err != nil {
		t.Fatal(err)
	}
	_, err = Dial(t.Context(), home)
	if !errors.Is(err, ErrNoHost) || !strings.Contains(err.Error(), "process 4711, started 2026-01-02T03:04:05Z") {
		t.Errorf("Dial: %v, want ErrNoHost naming the process", err)
	}
	s, err := Listen(Config{Home: home, Service: &fake{}, Logger: hclog.NewNullLogger()})
	if err != nil {
		t.Fatalf("the next host cannot listen: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBrokenRecord(t *testing.T) {
	for _, text := range []string{"", "{}", "not json", `{"socket":7}`} {
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, RecordFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Dial(t.Context(), home); !errors.Is(err, ErrNoHost) {
			t.Errorf("record %q: got %v, want ErrNoHost", text, err)
		}
	}
}

// TestDeepHome: the length of the home's own path does not matter, only that of the
// runtime directory, and a too long one is passed over.
func TestDeepHome(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 200))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", deep)
	path, err := socketPath(deep)
	if err != nil {
		t.Fatal(err)
	}
	if len(path) > maxSocketPath() {
		t.Errorf("socket path of %d bytes, want at most %d", len(path), maxSocketPath())
	}
	again, err := socketPath(deep + "/../" + filepath.Base(deep))
	if err != nil || again != path {
		t.Errorf("another spelling of the home gives %q (%v), want %q", again, err, path)
	}
}

func TestSocketPathError(t *testing.T) {
	err := error(&socketPathError{path: "/" + strings.Repeat("x", 150) + "/s.sock"})
	if want := fmt.Sprintf("a socket's path ends at %d", maxSocketPath()); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not contain %q", err, want)
	}
}

func TestRuntimeDirIsPrivate(t *testing.T) {
	runtimeDir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
	ours := filepath.Join(runtimeDir, "tasker")
	if err := os.Mkdir(ours, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := socketPath(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(ours)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("mode %o, want 700", got)
	}
	if err := os.Remove(ours); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), ours); err != nil {
		t.Fatal(err)
	}
	if _, err := socketPath(t.TempDir()); err == nil {
		t.Error("a link to elsewhere was taken for our directory")
	}
}
