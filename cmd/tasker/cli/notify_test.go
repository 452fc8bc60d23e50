package cli

import (
	"net"
	"path/filepath"
	"runtime"
	"testing"
)

func TestNotify(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no datagram sockets in the file system")
	}
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	asked := true
	a := &app{lookup: func(name string) (string, bool) { return path, asked && name == "NOTIFY_SOCKET" }}
	if err := a.notify(notifyReady); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("received %q, %v", buf[:n], err)
	}
	asked = false
	if err := a.notify(notifyStopping); err != nil {
		t.Errorf("nobody asked to be told: %v", err)
	}
	asked, path = true, path+"gone"
	if err := a.notify(notifyStopping); err == nil {
		t.Error("a socket that is not there is no error")
	}
}
