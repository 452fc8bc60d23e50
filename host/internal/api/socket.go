package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// RecordFile is the name of the file in a home that says where the running host's
// socket is.
const RecordFile = "control.json"

// Record is the content of [RecordFile].
type Record struct {
	Socket    string    `json:"socket"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	Mode      Mode      `json:"mode"`
	Version   string    `json:"version"`
	Health    string    `json:"health,omitempty"` // address of the health port
	Secret    string    `json:"secret"`           // the token that may do everything; see [Record.Token]
}

// maxSocketPath is the length in bytes of the longest path that a unix socket can
// have: the kernel's field less the closing zero.
func maxSocketPath() int {
	if runtime.GOOS == "darwin" {
		return 103
	}
	return 107
}

// pluginSocketTail is what the paths of plugins' sockets are longer than the control
// socket's: they lie in directories of their own below [RuntimeDir].
const pluginSocketTail = len("/plugin-dir0123456789/plugin0123456789") - len(".sock")

// socketPath returns where the socket of a home belongs: the first runtime directory
// in which its path is short enough. The name is made from the home's path, so that a
// home has one socket and a killed host's is found and replaced.
func socketPath(home string) (string, error) {
	abs, err := canonicalPath(home)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(abs))
	name := hex.EncodeToString(sum[:8]) + ".sock"
	var tooLong string
	for _, dir := range runtimeDirs() {
		path := filepath.Join(dir, name)
		if len(path)+pluginSocketTail > maxSocketPath() {
			tooLong = path
			continue
		}
		if err := makePrivate(dir); err != nil {
			return "", err
		}
		return path, nil
	}
	return "", &socketPathError{path: tooLong}
}

// socketPathError says that no runtime directory is short enough.
type socketPathError struct{ path string }

func (e *socketPathError) Error() string {
	return fmt.Sprintf("the runtime directory is too deep: sockets below %s would have paths of %d bytes, and a socket's path ends at %d",
		filepath.Dir(e.path), len(e.path)+pluginSocketTail, maxSocketPath())
}

func (e *socketPathError) Hint() string {
	return "set XDG_RUNTIME_DIR or TMPDIR to a shorter directory"
}

// runtimeDirs are the directories in which a socket may lie, best first.
func runtimeDirs() []string {
	private := "tasker-" + strconv.Itoa(os.Getuid())
	dirs := make([]string, 0, 3)
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, "tasker"))
	}
	dirs = append(dirs, filepath.Join(os.TempDir(), private))
	if runtime.GOOS != "windows" {
		dirs = append(dirs, filepath.Join("/tmp", private))
	}
	return dirs
}

// makePrivate makes dir a directory of our own that nobody else may enter: whoever
// reaches the socket controls the host.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("runtime directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("runtime directory: %w", err)
	}
	if !info.IsDir() || !ownedByUs(info) {
		return fmt.Errorf("runtime directory %s: not a directory of this user", dir)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs the x bit
			return fmt.Errorf("runtime directory: %w", err)
		}
	}
	return nil
}

// listenSocket listens at path. What lies there is from a host that was killed,
// because the caller holds the home's lock.
func listenSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier host: %w", err)
	}
	l, err := net.Listen("unix", path) //nolint:noctx // nothing to wait for
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// canonicalPath is the absolute path without symbolic links, so that one home has one
// name.
func canonicalPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("home: %w", err)
	}
	path, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("home: %w", err)
	}
	return path, nil
}

// writeRecord replaces the record at once, so that no reader sees half of it.
func writeRecord(home string, r Record) error {
	data, err := json.Marshal(r) //nolint:gosec // with its secret, into a file of the owner's
	if err != nil {
		return fmt.Errorf("%s: %w", RecordFile, err)
	}
	path := filepath.Join(home, RecordFile)
	temp := path + ".new"
	if err := os.WriteFile(temp, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", RecordFile, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", RecordFile, err)
	}
	return nil
}

// removeRecord removes the record if it is still ours.
func removeRecord(home string, ours Record) error {
	r, err := ReadRecord(home)
	if errors.Is(err, ErrNoHost) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.PID != ours.PID || !r.StartedAt.Equal(ours.StartedAt) {
		return nil
	}
	if err := os.Remove(filepath.Join(home, RecordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", RecordFile, err)
	}
	return nil
}

// ReadRecord returns what the last host of a home wrote. A record alone proves
// nothing: the host may have been killed. Error: [ErrNoHost] when there is none.
func ReadRecord(home string) (Record, error) {
	data, err := os.ReadFile(filepath.Join(home, RecordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, noHost(home, "")
	}
	if err != nil {
		return Record{}, fmt.Errorf("read %s: %w", RecordFile, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil || r.Socket == "" {
		return Record{}, noHost(home, RecordFile+" there is not readable")
	}
	return r, nil
}

// noHostError says that nobody answers for a home.
type noHostError struct{ home, detail string }

func noHost(home, detail string) error { return &noHostError{home: home, detail: detail} }

func (e *noHostError) Error() string {
	s := fmt.Sprintf("%v in %s", ErrNoHost, e.home)
	if e.detail != "" {
		s += " (" + e.detail + ")"
	}
	return s
}

func (e *noHostError) Unwrap() error { return ErrNoHost }

func (e *noHostError) Hint() string { return "start one: tasker serve --home " + e.home }

// probe checks that somebody listens at the record's socket.
func probe(ctx context.Context, home string, r Record) error {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", r.Socket)
	if err == nil {
		return conn.Close()
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	return noHost(home, fmt.Sprintf("process %d, started %s, was the last and does not answer",
		r.PID, r.StartedAt.UTC().Format(time.RFC3339)))
}

// RuntimeDir returns the private directory beside the control socket in which the host
// of a home keeps the sockets of its plugins: short, and the home's own.
func RuntimeDir(home string) (string, error) {
	path, err := socketPath(home)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(path, ".sock"), nil
}
