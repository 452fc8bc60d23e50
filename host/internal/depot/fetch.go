package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// responseTimeout is how long a web server may take until it begins to answer.
const responseTimeout = 30 * time.Second

// fetch brings the package of a request into a file.
func (d *Depot) fetch(ctx context.Context, req *InstallRequest) (*pkg, error) {
	if isURL(req.Source) {
		return d.fetchURL(ctx, req.Source, nil, req.Progress)
	}
	name, version, isName := parseRef(req.Source)
	if _, err := os.Stat(req.Source); err == nil || !isName {
		return fetchFile(req.Source, nil, req.Progress)
	}
	if req.Index != "" {
		return d.fetchIndexed(ctx, req, name, version)
	}
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	pinned, _, err := l.find(name, version)
	if err != nil || !req.Locked && version == "" {
		return nil, noSource(req.Source)
	}
	if isURL(pinned.Source) {
		return d.fetchURL(ctx, pinned.Source, nil, req.Progress)
	}
	return fetchFile(pinned.Source, nil, req.Progress)
}

// sourceError says that nobody knows where a plugin is to be had.
type sourceError struct{ source string }

func noSource(source string) error { return &sourceError{source} }

// Error implements error.
func (e *sourceError) Error() string {
	return fmt.Sprintf("%q is no file, and no index was named that may have it", e.source)
}

// Hint returns what to name.
func (e *sourceError) Hint() string {
	return "tasker plugin install " + e.source + " --index DIR|URL, or name a package: tasker plugin install FILE.tar.gz"
}

// parseRef takes NAME[@VERSION] apart.
func parseRef(ref string) (name, version string, ok bool) {
	name, version, at := strings.Cut(ref, "@")
	return name, version, validName(name) && (!at || validVersion(version))
}

func (d *Depot) fetchIndexed(ctx context.Context, req *InstallRequest, name, version string) (*pkg, error) {
	x, err := OpenIndex(ctx, req.Index)
	if err != nil {
		return nil, err
	}
	if req.Locked && version == "" {
		if l, err := d.Lock(); err == nil && l.Plugins[name] != nil {
			version = l.Plugins[name].Version
		}
	}
	e, err := x.Find(name, version, d.platform)
	if err != nil {
		return nil, err
	}
	at, err := e.locate(req.Index)
	if err != nil {
		return nil, err
	}
	if isURL(at) {
		return d.fetchURL(ctx, at, e, req.Progress)
	}
	return fetchFile(at, e, req.Progress)
}

// fetchFile takes a package from a file system.
func fetchFile(name string, e *Entry, progress func(done, total int64)) (*pkg, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("package: %w", err)
	}
	p := &pkg{path: abs, source: abs}
	if e != nil {
		if err := compareSum(abs, e); err != nil {
			return nil, err
		}
	}
	p.signature, err = os.ReadFile(abs + SignatureSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if info, err := os.Stat(abs); err == nil && progress != nil {
		progress(info.Size(), info.Size())
	}
	return p, nil
}

// compareSum compares a file with what the index says.
func compareSum(name string, e *Entry) error {
	sum, err := fileSum(name)
	if err != nil {
		return err
	}
	if sum != e.SHA256 {
		return &MismatchError{
			What: fmt.Sprintf("SHA-256 of package %s %s", e.Name, e.Version), Expected: e.SHA256 + " (index)", Found: sum,
			Accept: "if the package is right and the index is not: tasker plugin index DIR",
		}
	}
	return nil
}

func fileSum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("package: %w", err)
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("package: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// fetchURL downloads a package and its signature. A download whose hash the index tells
// goes on where an earlier one was cut.
func (d *Depot) fetchURL(ctx context.Context, at string, e *Entry, progress func(done, total int64)) (*pkg, error) {
	dir := filepath.Join(d.home, treesDir, downloadDir)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	f, err := openPart(dir, e)
	if err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	p := &pkg{path: f.Name(), source: at, temporary: true}
	err = download(ctx, at, f, progress)
	if err = errors.Join(err, f.Close()); err == nil && e != nil {
		if err = compareSum(p.path, e); err != nil {
			p.discard() // a part that is wrong does not become right
		}
	}
	if err == nil {
		p.signature, err = get(ctx, at+SignatureSuffix, maxSignature)
		if status := (*statusError)(nil); errors.As(err, &status) && (status.code == http.StatusNotFound || status.code == http.StatusGone) {
			p.signature, err = nil, nil
		}
	}
	if err != nil {
		if e == nil {
			p.discard()
		}
		return nil, err
	}
	return p, nil
}

// openPart opens the file of a download: the part of an earlier one when the hash of the
// whole is known, else a new one.
func openPart(dir string, e *Entry) (*os.File, error) {
	if e == nil {
		return os.CreateTemp(dir, "*"+packageSuffix)
	}
	return os.OpenFile(filepath.Join(dir, e.SHA256+packageSuffix), os.O_RDWR|os.O_CREATE, 0o600)
}

// statusError is an answer of a web server that is not the file.
type statusError struct {
	url    string
	status string
	code   int
}

// Error implements error.
func (e *statusError) Error() string { return fmt.Sprintf("get %s: %s", e.url, e.status) }

// client follows no redirect from https to http.
func client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert,errcheck // the standard library says so
	transport.ResponseHeaderTimeout = responseTimeout
	transport.DisableKeepAlives = true // a handful of requests, and nothing to close
	const maxRedirects = 10
	return &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("redirect from https to %s", req.URL)
		}
		return nil
	}}
}

// request sends a GET; a positive offset asks for the rest of the file only.
func request(ctx context.Context, at string, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", at, err)
	}
	req.Header.Set("Accept-Encoding", "identity") // the file as it is
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := client().Do(req)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", at, err)
	}
	return resp, nil
}

// get returns a small file.
func get(ctx context.Context, at string, limit int64) ([]byte, error) {
	resp, err := request(ctx, at, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{url: at, status: resp.Status, code: resp.StatusCode}
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", at, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("get %s: more than %d bytes", at, limit)
	}
	return raw, nil
}

// download appends to a file what it lacks.
func download(ctx context.Context, at string, f *os.File, progress func(done, total int64)) error {
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	resp, err := request(ctx, at, have)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return nil // it is complete, or wrong, as its hash will tell
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
	case resp.StatusCode == http.StatusOK:
		have = 0
		if err := errors.Join(f.Truncate(0), seekStart(f)); err != nil {
			return fmt.Errorf("download: %w", err)
		}
	default:
		return &statusError{url: at, status: resp.Status, code: resp.StatusCode}
	}
	total := int64(-1)
	if resp.ContentLength >= 0 {
		total = have + resp.ContentLength
	}
	if total > maxPackage {
		return fmt.Errorf("get %s: %d bytes, want at most %d", at, total, int64(maxPackage))
	}
	w := &meter{w: f, done: have, total: total, tell: progress}
	if _, err := io.Copy(w, io.LimitReader(resp.Body, maxPackage-have+1)); err != nil {
		return fmt.Errorf("get %s: %w", at, err)
	}
	if w.done > maxPackage {
		return fmt.Errorf("get %s: more than %d bytes", at, int64(maxPackage))
	}
	return nil
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// meter tells how much was written.
type meter struct {
	w           io.Writer
	done, total int64
	tell        func(done, total int64)
}

// Write implements [io.Writer].
func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.done += int64(n)
	if m.tell != nil {
		m.tell(m.done, m.total)
	}
	return n, err
}
