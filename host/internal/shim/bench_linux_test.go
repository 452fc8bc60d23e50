package shim_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/shim"
)

// BenchmarkLaunch compares the execution of a small program with one through the shim. The
// difference is what the shim costs a start, its own one included; a shim that is the tasker
// binary, which is larger, has more to load.
func BenchmarkLaunch(b *testing.B) {
	const program = "/bin/true"
	if _, err := os.Stat(program); err != nil {
		b.Skip(err)
	}
	plan := shim.Plan{Profile: shim.Default, Path: program, Private: []string{b.TempDir()}, HostPID: os.Getpid()}
	for _, shimmed := range []bool{false, true} {
		name := "plain"
		if shimmed {
			name = "shim"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if !shimmed {
					if err := exec.CommandContext(b.Context(), program).Run(); err != nil {
						b.Fatal(err)
					}
					continue
				}
				launchOnce(b, plan)
			}
		})
	}
}

func launchOnce(b *testing.B, plan shim.Plan) {
	b.Helper()
	program, err := shim.Open(plan.Path, "")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = program.File.Close() }() // it was only executed
	path, args, env, err := plan.Command(nil)
	if err != nil {
		b.Fatal(err)
	}
	report, child, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = report.Close() }() // it was only read
	cmd := &exec.Cmd{Path: path, Args: args, Env: env, ExtraFiles: []*os.File{child, program.File}}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = child.Close()
	if _, err := shim.ReadReport(report); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}
