// Package report turns a census into files that a person and a program can read: an HTML page that stands
// alone (charts as inline SVG, no script, nothing fetched, light and dark) and the census itself as JSON.
package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"

	"github.com/tasker-engine/tasker/examples/03-census/internal/census"
)

//go:embed page.html
var pageSource string

//go:embed style.css
var styleSource string

// Files are the absolute paths of what [Write] wrote.
type Files struct {
	Page string `json:"page"`
	Data string `json:"data"`
}

// Write puts index.html and census.json into dir, which it makes if need be. Each file appears whole or not at
// all, and the same census gives the same bytes, so Write may be repeated. An empty title is derived from the
// tree.
func Write(dir, title string, c census.Census) (Files, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Files{}, err
	}
	page, err := Render(title, c)
	if err != nil {
		return Files{}, err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return Files{}, fmt.Errorf("encode the census: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return Files{}, fmt.Errorf("make the output directory: %w", err)
	}
	out := Files{Page: filepath.Join(dir, "index.html"), Data: filepath.Join(dir, "census.json")}
	if err := replace(out.Data, append(data, '\n')); err != nil {
		return Files{}, err
	}
	return out, replace(out.Page, page)
}

// Render makes the HTML page.
func Render(title string, c census.Census) ([]byte, error) {
	t, err := template.New("page").Parse(pageSource)
	if err != nil {
		return nil, fmt.Errorf("parse the page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, newPage(title, c)); err != nil {
		return nil, fmt.Errorf("render the page: %w", err)
	}
	return b.Bytes(), nil
}

// replace writes a file beside its place and renames it.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to tell
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
