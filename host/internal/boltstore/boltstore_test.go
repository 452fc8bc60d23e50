package boltstore_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/boltstore/bolttest"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, crashWriter(dir, os.Stdout))
		os.Exit(1) //nolint:forbidigo // this process is no test: it was started to be killed
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string, readOnly bool) store.Store {
		t.Helper()
		return bolttest.OpenDir(t, dir, boltstore.Options{ReadOnly: readOnly})
	})
}
