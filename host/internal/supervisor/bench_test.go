//go:build unix

package supervisor

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// countingSink counts final reports and lets a benchmark wait for them.
type countingSink struct {
	ready chan task.Instance
	final chan int
}

func (s *countingSink) InstanceReady(in task.Instance) { s.ready <- in }
func (*countingSink) InstanceCapacity(string, int)     {}
func (*countingSink) InstanceDraining(string)          {}
func (*countingSink) InstanceRoom(string)              {}

func (*countingSink) Vacate(context.Context, string)       {}
func (*countingSink) InstanceShare(task.Instance, float64) {}

func (*countingSink) Life(task.PluginLife)            {}
func (*countingSink) Crashed(store.Crash)             {}
func (s *countingSink) Reports(reports []task.Report) { s.final <- len(reports) }

func (*countingSink) InstanceGone(string, task.LossCause, []task.AttemptID) {}

// BenchmarkWork measures attempts through a real process, with a number in flight.
func BenchmarkWork(b *testing.B) {
	for _, inFlight := range []int{1, 64, 1024} {
		b.Run("in_flight="+strconv.Itoa(inFlight), func(b *testing.B) {
			sink := &countingSink{ready: make(chan task.Instance, 1), final: make(chan int, 1<<16)}
			dir := b.TempDir()
			ctx, cancel := context.WithCancel(context.Background())
			s, err := New(Options{Sink: sink, Dirs: []string{installPlugins(b, "good")}, RunDir: shortDir(b), DataDir: filepath.Join(dir, "data"), LogDir: filepath.Join(dir, "log")})
			if err != nil {
				b.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			in := <-sink.ready
			sent, done := 0, 0
			send := func(n int) {
				as := make([]*task.Assignment, 0, n)
				for range min(n, b.N-sent) {
					as = append(as, attempt(sent, "echo", `{"a":1}`))
					sent++
				}
				s.Dispatch(in.ID, as)
			}
			b.ResetTimer()
			send(inFlight)
			for done < b.N {
				n := <-sink.final
				done += n
				send(n)
			}
			b.StopTimer()
			cancel()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
		})
	}
}
