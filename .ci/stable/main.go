// Command stable runs the test suite several times, uncached, and fails unless every run passes and
// all runs pass and skip the very same tests. It takes the arguments of `go test` after a "--".
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stable:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("stable", flag.ContinueOnError)
	runs := flags.Int("runs", 3, "how often to run the suite")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var first results
	for n := 1; n <= *runs; n++ {
		begin := time.Now()
		got, err := suite(ctx, flags.Args())
		if err != nil {
			return fmt.Errorf("run %d of %d: %w", n, *runs, err)
		}
		fmt.Printf("run %d of %d: %d passed, %d skipped in %s\n",
			n, *runs, got.count("pass"), got.count("skip"), time.Since(begin).Round(time.Second))
		if got.count("pass") == 0 {
			return errors.New("no test passed")
		}
		if n == 1 {
			first = got
			continue
		}
		if err := first.compare(got); err != nil {
			return fmt.Errorf("run %d differs from run 1: %w", n, err)
		}
	}
	return nil
}

// results maps each test, named "package test", to how it ended: pass, skip or fail.
type results map[string]string

// An event is one line of `go test -json`, as far as it matters here.
type event struct {
	Action  string `json:"Action"`
	Package string `json:"Package"`
	Test    string `json:"Test"`
	Output  string `json:"Output"`
}

// suite runs the tests once. The output of a failed package is shown, that of a good one is not.
func suite(ctx context.Context, args []string) (results, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-count=1"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	got, output := results{}, map[string][]string{}
	for decoder := json.NewDecoder(stdout); decoder.More(); {
		var e event
		if err := decoder.Decode(&e); err != nil {
			return nil, errors.Join(fmt.Errorf("reading go test's output: %w", err), cmd.Wait())
		}
		got.add(e, output)
	}
	return got, cmd.Wait()
}

// add takes one event into account; output collects what each package printed, until it passes.
func (r results) add(e event, output map[string][]string) {
	switch e.Action {
	case "build-output": // only where something does not compile
		fmt.Print(e.Output)
	case "output":
		output[e.Package] = append(output[e.Package], e.Output)
	case "pass", "skip", "fail":
		if e.Test != "" {
			r[e.Package+" "+e.Test] = e.Action
			return
		}
		if e.Action == "fail" {
			for _, line := range output[e.Package] {
				fmt.Print(line)
			}
		}
		delete(output, e.Package)
	}
}

func (r results) count(action string) int {
	n := 0
	for _, a := range r {
		if a == action {
			n++
		}
	}
	return n
}

// compare says which tests ended otherwise in other, or ran in only one of the two.
func (r results) compare(other results) error {
	names := maps.Clone(r)
	maps.Copy(names, other)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if r[name] != other[name] {
			errs = append(errs, fmt.Errorf("%s: %s, then %s", name, orAbsent(r[name]), orAbsent(other[name])))
		}
	}
	return errors.Join(errs...)
}

func orAbsent(action string) string {
	if action == "" {
		return "did not run"
	}
	return action
}
