package depot

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tarOf writes a tar of entries, with the content of each.
func tarOf(entries ...tar.Header) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range entries {
		content := entries[i].Linkname // of regular files
		if entries[i].Typeflag == tar.TypeReg {
			entries[i].Linkname, entries[i].Size = "", int64(len(content))
		}
		_ = w.WriteHeader(&entries[i]) // what cannot be written is no case
		if entries[i].Typeflag == tar.TypeReg {
			_, _ = w.Write([]byte(content)) // as above
		}
	}
	_ = w.Close() // as above
	return out.Bytes()
}

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content, Mode: 0o644}
}

// manifestOf is a manifest.json with these files, each of the content "x".
func manifestOf(names ...string) tar.Header {
	sum := sha256.Sum256([]byte("x"))
	var files []string
	for _, name := range append([]string{"run"}, names...) {
		files = append(files, fmt.Sprintf(`%q:{"sha256":%q,"size":1,"executable":true}`, name, hex.EncodeToString(sum[:])))
	}
	return file(ManifestFile, fmt.Sprintf(`{"format":1,"protocol":1,"name":"a","version":"1.0.0","executables":{"any":"run"},"files":{%s}}`, strings.Join(files, ",")))
}

func zipped(raw []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.NoCompression) // a level that there is
	_, _ = w.Write(raw)                                   // to memory
	_ = w.Close()                                         // as above
	return out.Bytes()
}

// unpackInto unpacks into dir/tree.
func unpackInto(dir string, packed []byte) error {
	r, err := newPackageReader(bufio.NewReader(bytes.NewReader(packed)))
	if err != nil {
		return err
	}
	return r.unpack(filepath.Join(dir, "tree"), Platform())
}

// TestHostilePackages: a package holds the files of its manifest and nothing else, within
// its own directory.
func TestHostilePackages(t *testing.T) {
	link := func(kind byte, name, to string) tar.Header {
		return tar.Header{Typeflag: kind, Name: name, Linkname: to}
	}
	tests := []struct {
		name    string
		entries []tar.Header
		want    string // in the error; empty = unpacked
	}{
		{"as it should be", []tar.Header{manifestOf("z"), file("run", "x"), file("z", "x")}, ""},
		{"no manifest", []tar.Header{file("run", "x")}, "first entry"},
		{"manifest later", []tar.Header{file("run", "x"), manifestOf()}, "first entry"},
		{"a path that climbs", []tar.Header{manifestOf("../z"), file("../z", "x")}, `"../z"`},
		{"a path that climbs in the middle", []tar.Header{manifestOf("a/../../z")}, `"a/../../z"`},
		{"an absolute path", []tar.Header{manifestOf("/z")}, `"/z"`},
		{"a drive", []tar.Header{manifestOf("C:z")}, `"C:z"`},
		{"a backslash", []tar.Header{manifestOf(`..\z`)}, "want none of"},
		{"two names that differ in case", []tar.Header{manifestOf("z", "Z")}, "differ only in case"},
		{"a file that is a directory", []tar.Header{manifestOf("z", "z/y")}, "is a directory"},
		{"a symbolic link", []tar.Header{manifestOf("z"), file("run", "x"), link(tar.TypeSymlink, "z", "/etc/passwd")}, "links and devices"},
		{"a hard link", []tar.Header{manifestOf("z"), file("run", "x"), link(tar.TypeLink, "z", "run")}, "links and devices"},
		{"a device", []tar.Header{manifestOf("z"), file("run", "x"), link(tar.TypeChar, "z", "")}, "links and devices"},
		{"a pipe", []tar.Header{manifestOf("z"), file("run", "x"), link(tar.TypeFifo, "z", "")}, "links and devices"},
		{"a file that nobody named", []tar.Header{manifestOf(), file("run", "x"), file("z", "x")}, "not in the manifest"},
		{"a file that climbs and nobody named", []tar.Header{manifestOf(), file("run", "x"), file("../z", "x")}, "not in the manifest"},
		{"a file twice", []tar.Header{manifestOf(), file("run", "x"), file("run", "x")}, "not in the manifest"},
		{"a file that is missing", []tar.Header{manifestOf("z"), file("run", "x")}, `"z" is missing`},
		{"another content", []tar.Header{manifestOf(), file("run", "y")}, "expected"},
		{"more content", []tar.Header{manifestOf(), file("run", "xx")}, "more than the 1 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			err := unpackInto(dir, zipped(tarOf(tt.entries...)))
			if tt.want == "" {
				if err != nil {
					t.Errorf("error = %v, want none", err)
				}
				return
			}
			if !errors.Is(err, ErrPackage) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want ErrPackage with %q", err, tt.want)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 1 {
				t.Errorf("beside the tree: %v, %v", entries, err)
			}
		})
	}
}

// FuzzUnpack: whatever a package holds, nothing is written outside of its directory.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(manifestOf("z/y"), file("run", "x"), file("z/y", "x")))
	f.Add(tarOf(manifestOf("../z"), file("../z", "x")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := newPackageReader(bufio.NewReader(bytes.NewReader(zipped(raw))))
		if err != nil {
			return
		}
		dir := t.TempDir()
		_ = r.unpack(filepath.Join(dir, "tree"), Platform()) // most are refused
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 1 {
			t.Errorf("beside the tree: %v, %v", entries, err)
		}
	})
}
