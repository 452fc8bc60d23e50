package sdktest_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
)

// exampleTB is what an example has in place of a test's t.
type exampleTB struct {
	testing.TB // nil: what is not below is not used

	cleanups []func()
}

// forExample returns a t for an example, and what ends it as the end of a test does.
func forExample() (t *exampleTB, done func()) {
	t = &exampleTB{}
	return t, func() {
		for _, f := range slices.Backward(t.cleanups) {
			f()
		}
	}
}

func (*exampleTB) Helper()                        {}
func (*exampleTB) Failed() bool                   { return false }
func (*exampleTB) Logf(string, ...any)            {}
func (*exampleTB) Context() context.Context       { return context.Background() }
func (*exampleTB) Errorf(format string, a ...any) { _, _ = fmt.Fprintf(os.Stdout, format+"\n", a...) }
func (*exampleTB) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (t *exampleTB) Cleanup(f func())             { t.cleanups = append(t.cleanups, f) }

func (t *exampleTB) TempDir() string {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		t.Fatalf("directory: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
