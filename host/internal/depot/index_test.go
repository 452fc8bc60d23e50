package depot

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestDownload: a package comes from a web server; what was cut goes on, what is damaged
// is refused.
func TestDownload(t *testing.T) {
	packages := t.TempDir()
	pkg := plugin{key: newKey(t)}.packInto(t, packages)
	if _, err := BuildIndex(packages); err != nil {
		t.Fatal(err)
	}
	ranges := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if filepath.Base(r.URL.Path) == filepath.Base(pkg.Path) {
			ranges <- r.Header.Get("Range")
		}
		http.FileServer(http.Dir(packages)).ServeHTTP(w, r)
	}))
	defer server.Close()
	raw, err := os.ReadFile(pkg.Path)
	if err != nil {
		t.Fatal(err)
	}
	req := InstallRequest{Source: "greeter", Index: server.URL}

	d := newDepot(t)
	part := filepath.Join(d.home, treesDir, downloadDir, pkg.SHA256+packageSuffix)
	write(t, part, string(raw[:100]))
	last := int64(0)
	req.Progress = func(done, _ int64) { last = done }
	in := install1(t, d, req)
	if got := <-ranges; got != "bytes=100-" || last != int64(len(raw)) || in.Signer == "" {
		t.Errorf("asked for %q, came to %d of %d, signed by %q; want the rest, all, and a signer", got, last, len(raw), in.Signer)
	}

	damaged := newDepot(t)
	part = filepath.Join(damaged.home, treesDir, downloadDir, pkg.SHA256+packageSuffix)
	write(t, part, string(flip(raw[:100])))
	req.Approve = yes
	_, err = damaged.Install(t.Context(), req)
	wantMismatch(t, err, pkg.SHA256, "", "index")
	if _, err := damaged.Install(t.Context(), req); err != nil {
		t.Errorf("once more, from the beginning: %v", err)
	}
}

// TestDowngradedProtocol: a version that speaks an older protocol than the current one is
// refused.
func TestDowngradedProtocol(t *testing.T) {
	d := newDepot(t)
	install1(t, d, InstallRequest{Source: plugin{}.pack(t).Path})
	if err := d.change(func(l *Lock) error { l.Plugins["greeter"].Versions["1.0.0"].Protocol = 2; return nil }); err != nil {
		t.Fatal(err)
	}
	_, err := d.Install(t.Context(), InstallRequest{Source: plugin{version: "1.1.0"}.pack(t).Path, Approve: yes})
	wantMismatch(t, err, "at least version 2", "version 1", "--downgrade")
	_, err = d.Binary("greeter", "")
	wantMismatch(t, err, "version 2", "version 1", "tasker plugin lock greeter@1.0.0")
}
