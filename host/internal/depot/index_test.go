package depot

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	if in := install1(t, damaged, req); in.Version != "1.0.0" {
		t.Errorf("Install() = %+v, want a part of other content to be fetched from the beginning", in)
	}
	if left, err := filepath.Glob(filepath.Join(damaged.home, treesDir, downloadDir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left of downloads: %v, %v; want nothing", left, err)
	}

	if err := os.WriteFile(pkg.Path, flip(raw), 0o644); err != nil {
		t.Fatal(err)
	}
	req.Approve = yes
	_, err = newDepot(t).Install(t.Context(), req)
	wantMismatch(t, err, pkg.SHA256, "", "index")
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

// TestLocate: the packages of an index lie within it, and what begins safely goes on so.
func TestLocate(t *testing.T) {
	tests := []struct{ name, index, pkg, want string }{
		{"a file beside it", "https://a.example/p/index.json", "x.tar.gz", "https://a.example/p/x.tar.gz"},
		{"another server", "https://a.example/p", "https://b.example/x.tar.gz", "https://b.example/x.tar.gz"},
		{"from http to https", "http://a.example/p", "https://b.example/x.tar.gz", "https://b.example/x.tar.gz"},
		{"from https to http", "https://a.example/p", "http://a.example/x.tar.gz", ""},
		{"a file of this machine", "https://a.example/p", "file:///etc/passwd", ""},
		{"another file system path", t.TempDir(), "../x.tar.gz", ""},
		{"an absolute path", t.TempDir(), "/etc/passwd", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := (&Entry{Name: "x", Version: "1.0.0", Package: tt.pkg}).locate(tt.index)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("locate() = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// TestAnotherPackageThanNamed: an index cannot bring in another plugin under a name.
func TestAnotherPackageThanNamed(t *testing.T) {
	packages := t.TempDir()
	plugin{name: "other"}.packInto(t, packages)
	x, err := BuildIndex(packages)
	if err != nil {
		t.Fatal(err)
	}
	x.Plugins[0].Name = "greeter"
	raw, err := encodeJSON(x)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(packages, IndexFile), string(raw))
	d := newDepot(t)
	_, err = d.Install(t.Context(), InstallRequest{Source: "greeter", Index: packages, Approve: yes})
	wantMismatch(t, err, "greeter", "other 1.0.0", "its own name")
	if lockText(t, d) != "" {
		t.Error("the lock was written")
	}
}

// TestServers: what servers may not do.
func TestServers(t *testing.T) {
	tests := []struct {
		name   string
		handle http.HandlerFunc
		want   string
	}{
		{"a file of this machine", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "unsupported protocol scheme"},
		{"a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "more than 10 redirects"},
		{"nothing there", http.NotFound, "expected the file, found 404"},
		{"more than a package may have", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "2000000000") }, "at most 1073741824 bytes"},
		{"no end", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("x"))               // the client is told by what lacks
			_ = http.NewResponseController(w).Flush() // as above
			<-r.Context().Done()
		}, "nothing more has come"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.handle)
			defer server.Close()
			d := newDepot(t)
			d.stall = 50 * time.Millisecond
			_, err := d.Install(t.Context(), InstallRequest{Source: server.URL + "/a.tar.gz", Approve: yes})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Install() error = %v, want %q", err, tt.want)
			}
			if left, err := filepath.Glob(filepath.Join(d.home, treesDir, downloadDir, "*")); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v; want nothing", left, err)
			}
		})
	}
}

// TestIndexThatIsNotThere: who names the wrong place is told what to look at.
func TestIndexThatIsNotThere(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // nobody listens there now
	for name, c := range map[string]struct{ at, hint string }{
		"a server that is down":    {server.URL, "curl -I " + server.URL},
		"an empty directory":       {t.TempDir(), "tasker plugin index DIR"},
		"no directory of the kind": {filepath.Join(t.TempDir(), "none"), "tasker plugin index DIR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := OpenIndex(t.Context(), c.at)
			var hinted interface{ Hint() string }
			if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), c.hint) {
				t.Errorf("got %v, want one with a hint of %q", err, c.hint)
			}
		})
	}
}
