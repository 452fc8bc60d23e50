package depot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// treeHash is the SHA-256 of a tree: of the paths and hashes of its files, manifest.json
// included, in order.
func treeHash(files map[string]string) string {
	h := sha256.New()
	for _, name := range sortedKeys(files) {
		_, _ = fmt.Fprintf(h, "%s\x00%s\n", name, files[name]) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// treeHashes returns the hashes of the trees for all platforms of a manifest.
func (m *Manifest) treeHashes(manifestSum string) map[string]string {
	out := make(map[string]string, len(m.Executables))
	for _, platform := range m.Platforms() {
		out[platform] = treeHash(m.tree(platform, manifestSum))
	}
	return out
}

// tree returns the hashes of the files that the tree for a platform has.
func (m *Manifest) tree(platform, manifestSum string) map[string]string {
	files := map[string]string{ManifestFile: manifestSum}
	for name, f := range m.Files {
		if m.belongs(name, platform) {
			files[name] = f.SHA256
		}
	}
	return files
}

// readTree hashes the files of an unpacked tree. What is no regular file is refused.
func readTree(dir string) (map[string]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	files := make(map[string]string)
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return nil
		case !entry.Type().IsRegular():
			files[name] = "no regular file"
			return nil
		}
		files[name], err = hashFile(root, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree %s: %w", dir, err)
	}
	return files, nil
}

func hashFile(root *os.Root, name string) (string, error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// differences names the files in which a tree differs from what its manifest says: at
// most a few, in order.
func differences(want, got map[string]string) string {
	var found []string
	for _, name := range sortedKeys(want) {
		switch sum, ok := got[name]; {
		case !ok:
			found = append(found, name+" is missing")
		case sum != want[name]:
			found = append(found, name+" is changed")
		}
	}
	for _, name := range sortedKeys(got) {
		if _, ok := want[name]; !ok {
			found = append(found, name+" is new")
		}
	}
	slices.Sort(found)
	const shown = 5
	if len(found) > shown {
		found = append(found[:shown], fmt.Sprintf("and %d more", len(found)-shown))
	}
	return strings.Join(found, ", ")
}
