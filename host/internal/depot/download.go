package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Patience with a web server.
const (
	responseTimeout = 30 * time.Second // until it begins to answer
	stallTimeout    = time.Minute      // until more of an answer comes
	maxRedirects    = 10
)

// errStalled is why a download ends that brings nothing more.
var errStalled = errors.New("nothing more has come")

// fetchURL downloads a package and its signature. A download whose hash the index tells
// goes on where an earlier one was cut.
func (d *Depot) fetchURL(ctx context.Context, at string, e *Entry, progress func(done, total int64)) (*pkg, error) {
	p, err := d.newPkg(withoutUser(at))
	if err != nil {
		return nil, err
	}
	if err := d.claimPart(p, e); err != nil {
		p.discard()
		return nil, err
	}
	if err := d.downloadAll(ctx, at, p, e, progress); err != nil {
		d.keepPart(p, e, err)
		return nil, err
	}
	return p, nil
}

// downloadAll brings the package, sealed, and its signature. What was begun earlier and
// went on may be of another content: then it is begun once more.
func (d *Depot) downloadAll(ctx context.Context, at string, p *pkg, e *Entry, progress func(done, total int64)) error {
	have, err := p.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	if err := d.download(ctx, at, p.file, e, progress); err != nil {
		return err
	}
	err = p.sealAs(e)
	if _, differs := errors.AsType[*MismatchError](err); differs && have > 0 {
		if err := d.restart(ctx, at, p.file, e, progress); err != nil {
			return err
		}
		err = p.sealAs(e)
	}
	if err != nil {
		return err
	}
	p.signature, err = d.get(ctx, at+SignatureSuffix, maxSignature)
	if status, ok := errors.AsType[*statusError](err); ok && (status.code == http.StatusNotFound || status.code == http.StatusGone) {
		p.signature, err = nil, nil
	}
	return err
}

// restart downloads a file from its beginning.
func (d *Depot) restart(ctx context.Context, at string, f *os.File, e *Entry, progress func(done, total int64)) error {
	if err := errors.Join(f.Truncate(0), seekStart(f)); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	return d.download(ctx, at, f, e, progress)
}

// partOf is where the part of a download waits to be gone on with.
func (d *Depot) partOf(e *Entry) string {
	return filepath.Join(d.home, treesDir, downloadDir, e.SHA256+packageSuffix)
}

// claimPart begins with what an earlier download of the same hash brought. Of several that
// download at once one gets it.
func (d *Depot) claimPart(p *pkg, e *Entry) error {
	if e == nil {
		return nil
	}
	name := p.file.Name()
	if err := p.file.Close(); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	_ = os.Rename(d.partOf(e), name) // there need not be one
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	p.file = f
	return nil
}

// keepPart leaves what has come to the next download, unless it is wrong.
func (d *Depot) keepPart(p *pkg, e *Entry, why error) {
	_, wrong := errors.AsType[*MismatchError](why)
	if e != nil && !wrong && !errors.Is(why, ErrPackage) {
		_ = p.file.Close()                        // it is compared when it is gone on with
		_ = os.Rename(p.file.Name(), d.partOf(e)) // as above
	}
	p.discard()
}

// statusError is an answer of a web server that is not the file.
type statusError struct {
	url    string
	status string
	code   int
}

// Error implements error.
func (e *statusError) Error() string {
	return fmt.Sprintf("get %s: expected the file, found %s", redact(e.url), e.status)
}

// Hint returns what may help.
func (e *statusError) Hint() string {
	switch {
	case strings.HasSuffix(e.url, "/"+IndexFile):
		return whatAnIndexIs
	case e.code == http.StatusUnauthorized || e.code == http.StatusForbidden:
		return "the server wants to know who asks: https://USER:PASSWORD@HOST/..., or download the package and install the file"
	default:
		return "see whether the URL is right: curl -I " + withoutUser(e.url)
	}
}

// redact hides the password in a URL, for messages. Other texts stay as they are.
func redact(at string) string {
	if u, err := url.Parse(at); err == nil && u.User != nil {
		return u.Redacted()
	}
	return at
}

// withoutUser is a URL without the name and password in it, for the lock.
func withoutUser(at string) string {
	u, err := url.Parse(at)
	if err != nil || u.User == nil {
		return at
	}
	u.User = nil
	return u.String()
}

// client follows no redirect from https to http.
func client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert,errcheck // the standard library says so
	transport.ResponseHeaderTimeout = responseTimeout
	transport.DisableKeepAlives = true // a handful of requests, and nothing to close
	return &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("redirect from https to %s", req.URL.Redacted())
		}
		return nil
	}}
}

// request sends a GET; a positive offset asks for the rest of the file only.
func request(ctx context.Context, at string, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", redact(at), err)
	}
	req.Header.Set("Accept-Encoding", "identity") // the file as it is
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := client().Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // it names the URL, too
	}
	if err != nil {
		err = fmt.Errorf("get %s: %w", redact(at), err)
		if ctx.Err() == nil {
			err = withHint(err, "see whether the server is up: curl -I "+withoutUser(at)+"; without a network --index takes a directory, too")
		}
		return nil, err
	}
	return resp, nil
}

// reply is the answer of a web server. Reading it fails when nothing more comes.
type reply struct {
	*http.Response

	timer *time.Timer
	after time.Duration
	cause func() error // why the request has ended
	end   func()
}

// Read implements [io.Reader].
func (r *reply) Read(b []byte) (int, error) {
	r.timer.Reset(r.after)
	n, err := r.Body.Read(b)
	if cause := r.cause(); err != nil && !errors.Is(err, io.EOF) && cause != nil {
		err = cause
	}
	return n, err
}

// release ends the request.
func (r *reply) release() {
	r.timer.Stop()
	r.end()
	_ = r.Body.Close() // it was only read
}

// open asks for a file, or for the rest of it. The reply must be released.
func (d *Depot) open(ctx context.Context, at string, offset int64) (*reply, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	resp, err := request(ctx, at, offset) //nolint:bodyclose // release closes it
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return &reply{
		Response: resp, after: d.stall, cause: func() error { return context.Cause(ctx) }, end: func() { cancel(nil) },
		timer: time.AfterFunc(d.stall, func() { cancel(fmt.Errorf("%w for %s", errStalled, d.stall)) }),
	}, nil
}

// get returns a small file.
func (d *Depot) get(ctx context.Context, at string, limit int64) ([]byte, error) {
	resp, err := d.open(ctx, at, 0)
	if err != nil {
		return nil, err
	}
	defer resp.release()
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{url: at, status: resp.Status, code: resp.StatusCode}
	}
	raw, err := io.ReadAll(io.LimitReader(resp, limit+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", redact(at), err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("get %s: more than %d bytes", redact(at), limit)
	}
	return raw, nil
}

// download appends to a file what it lacks.
func (d *Depot) download(ctx context.Context, at string, f *os.File, e *Entry, progress func(done, total int64)) error {
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	resp, err := d.open(ctx, at, have)
	if err != nil {
		return err
	}
	defer resp.release()
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
	limit := int64(maxPackage)
	if e != nil && e.Size > 0 {
		limit = e.Size
	}
	total := int64(-1)
	if resp.ContentLength >= 0 {
		total = have + resp.ContentLength
	}
	w := &meter{w: f, done: have, total: total, tell: progress}
	if total <= limit {
		if _, err := io.Copy(w, io.LimitReader(resp, limit-have+1)); err != nil {
			return fmt.Errorf("get %s: %w", redact(at), err)
		}
	}
	if found := max(w.done, total); found > limit {
		return fmt.Errorf("get %s: %w: expected at most %d bytes, found %d or more", redact(at), ErrPackage, limit, found)
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
