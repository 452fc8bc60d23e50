package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// epoch is the modification time of every archived file: archives of one commit are equal to the
// byte wherever and whenever they are made. Zip knows no earlier year than 1980.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// extras are the files that accompany the binaries.
var extras = []string{"LICENSE", "README.md"}

// A packed is one file of an archive: its slash-separated name there and where it lies here.
type packed struct {
	name, file string
	mode       os.FileMode
}

// packAll builds and packs every platform ("os/arch") into dir, and writes SHA256SUMS beside the archives.
func packAll(ctx context.Context, dir string, platforms []string, version string) error {
	if len(platforms) == 0 {
		return errors.New("-dist needs -platforms")
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mains, err := listMains(ctx)
	if err != nil {
		return err
	}
	// Examples are for reading and for building oneself.
	mains = slices.DeleteFunc(mains, func(b binary) bool { return strings.HasPrefix(b.out, "examples/") })

	var sums strings.Builder
	for _, platform := range platforms {
		system, arch, ok := strings.Cut(platform, "/")
		if !ok {
			return fmt.Errorf("platform %q: want os/arch", platform)
		}
		archive, err := packOne(ctx, dir, target{os: system, arch: arch, version: version, release: true}, mains)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		sum, err := digest(archive)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", sum, filepath.Base(archive))
	}
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o644); err != nil {
		return err
	}
	fmt.Print(sums.String())
	return nil
}

// packOne builds for one platform and returns the path of the archive it made.
func packOne(ctx context.Context, dir string, t target, mains []binary) (string, error) {
	stage, err := os.MkdirTemp("", "tasker-dist-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	if _, err := t.build(ctx, mains, stage); err != nil {
		return "", err
	}

	base := fmt.Sprintf("tasker_%s_%s_%s", t.version, t.os, t.arch)
	var files []packed
	for _, b := range mains {
		name := b.out + t.extension()
		files = append(files, packed{name: path.Join(base, name), file: filepath.Join(stage, filepath.FromSlash(name)), mode: 0o755})
	}
	for _, name := range extras {
		files = append(files, packed{name: path.Join(base, name), file: name, mode: 0o644})
	}
	slices.SortFunc(files, func(a, b packed) int { return strings.Compare(a.name, b.name) })

	archive, write := filepath.Join(dir, base+".tar.gz"), writeTar
	if t.os == "windows" {
		archive, write = filepath.Join(dir, base+".zip"), writeZip
	}
	f, err := os.Create(archive)
	if err != nil {
		return "", err
	}
	return archive, errors.Join(write(f, files), f.Close())
}

// writeTar writes a gzip-compressed tar; the gzip header carries neither name nor time.
func writeTar(w io.Writer, files []packed) error {
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	for _, p := range files {
		content, err := os.ReadFile(p.file)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: p.name, Mode: int64(p.mode), Size: int64(len(content)), ModTime: epoch, Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(header); err != nil {
			return err
		}
		if _, err := tw.Write(content); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), zw.Close())
}

func writeZip(w io.Writer, files []packed) error {
	zw := zip.NewWriter(w)
	for _, p := range files {
		content, err := os.ReadFile(p.file)
		if err != nil {
			return err
		}
		header := &zip.FileHeader{Name: p.name, Method: zip.Deflate, Modified: epoch}
		header.SetMode(p.mode)
		fw, err := zw.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := fw.Write(content); err != nil {
			return err
		}
	}
	return zw.Close()
}

// digest returns the SHA-256 of a file in hexadecimal.
func digest(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(content)), nil
}
