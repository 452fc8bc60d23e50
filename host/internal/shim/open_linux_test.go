package shim_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tasker-engine/tasker/host/internal/shim"
)

// TestLease: who may not lock a file against writers says so.
func TestLease(t *testing.T) {
	own := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(own, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	others := "/bin/sh" // root's
	if os.Geteuid() == 0 {
		others = filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(others, []byte("program"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(others, 65534, -1); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct{ path, why string }{
		"own":            {own, ""},
		"another user's": {others, "only the owner of a file may lock it against writers, and that is another user"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(text)
			p, err := openUnprivileged(tt.path, hex.EncodeToString(sum[:]))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.File.Close() }()
			if p.NoLease != tt.why {
				t.Errorf("got %q, want %q", p.NoLease, tt.why)
			}
		})
	}
}

// openUnprivileged opens in a thread that not even root lets do more than others.
func openUnprivileged(path, hash string) (p shim.Program, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // it ends with the thread
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&header, &none[0]); err == nil {
			p, err = shim.Open(path, hash)
		}
	}()
	<-done
	return p, err
}

func TestWithoutLeaseIsMissing(t *testing.T) {
	plan := shim.Plan{Profile: shim.Default, SHA256: strings.Repeat("0", 64), NoLease: "the reason"}
	got := plan.Measures(shim.Kernel{})[0]
	if got.State != shim.Missing || !strings.HasSuffix(got.Detail, "whoever may write to it: the reason") {
		t.Errorf("got %+v, want it missing, with the reason", got)
	}
}
