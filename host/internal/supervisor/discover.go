package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// BinaryPrefix begins the file name of every plugin binary.
const BinaryPrefix = "tasker-plugin-"

// binary is a plugin binary that was found.
type binary struct {
	path     string
	name     string  // the plugin's name as the file tells it; the manifest decides
	approved *Binary // what was installed; nil = a file in a directory
	err      error   // why it cannot be started, nil = it can be tried
}

// discover lists what was installed, then the plugin binaries of the directories, in their
// order and by name, and then the single paths. The second of a name and what cannot be
// executed carry an error.
func discover(installed []Binary, dirs, paths []string) ([]binary, error) {
	var found []binary
	for i := range installed {
		found = append(found, installedBinary(&installed[i]))
	}
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.Mode().IsRegular() {
			found = append(found, newBinary(dir))
			continue
		}
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("plugin directory: %w", err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), BinaryPrefix) && !e.IsDir() {
				found = append(found, newBinary(filepath.Join(dir, e.Name())))
			}
		}
	}
	for _, path := range paths {
		found = append(found, newBinary(path))
	}
	first := make(map[string]string, len(found))
	for i, b := range found {
		other, taken := first[b.name]
		if !taken {
			first[b.name] = b.path
		} else if b.err == nil && other != b.path {
			found[i].err = duplicateName(b.name, other, b.path)
		}
	}
	return found, nil
}

func duplicateName(name, first, second string) error {
	return fmt.Errorf("plugin name %q is taken by %s; %s is not started: remove or rename one of them", name, first, second)
}

func newBinary(path string) binary {
	b := binary{path: path, name: fileName(path)}
	abs, err := filepath.Abs(path)
	if err != nil {
		b.err = err
		return b
	}
	b.path = abs
	info, err := os.Stat(abs)
	switch {
	case err != nil:
		b.err = err
	case !info.Mode().IsRegular():
		b.err = fmt.Errorf("%s is no regular file", abs)
	case runtime.GOOS == "windows" && !strings.EqualFold(filepath.Ext(abs), ".exe"):
		b.err = fmt.Errorf("%s is not executable: its name must end in .exe", abs)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o111 == 0:
		b.err = fmt.Errorf("%s is not executable: run chmod +x on it, or remove it", abs)
	}
	return b
}

// installedBinary is what was installed as what was found: its name is known.
func installedBinary(approved *Binary) binary {
	b := newBinary(approved.Path)
	b.name, b.approved = approved.Name, approved
	if approved.Refused != nil {
		b.err = approved.Refused
	}
	return b
}

// fileName derives a plugin's name from the name of its binary.
func fileName(path string) string {
	name := filepath.Base(path)
	if runtime.GOOS == "windows" {
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	return strings.TrimPrefix(name, BinaryPrefix)
}
