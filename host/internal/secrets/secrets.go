// Package secrets puts secrets into the configurations of plugins at the last moment, and
// keeps them out of logs.
//
// A configuration refers to a secret by an object where the text would stand:
//
//	password: {secret: {env: SMTP_PASSWORD}}
//	token: {secret: {file: /run/secrets/token}}
//	key: {secret: {command: [pass, show, api-key]}}
//
// It is an object and no text with a pattern in it, so that no value has to be escaped, and so
// that whoever reads the file sees it for what it is. What it refers to is read for each start
// of a plugin, handed to it, and kept nowhere else: a [Redactor] takes it out of all that the
// plugin says.
package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrSecret is wrapped by the error of a secret that cannot be had. It names the reference
// and never the secret.
var ErrSecret = errors.New("secret")

const (
	// commandTimeout is how long a command may take.
	commandTimeout = 10 * time.Second
	// maxSecret is the size of a secret in bytes, at most.
	maxSecret = 64 << 10
	// minText and minData are the lengths in bytes from which a secret is looked for in texts
	// and in data: shorter ones would tear holes into every line, and into values that only
	// look like them.
	minText, minData = 4, 8
)

// reference says where a secret is. One field is set.
type reference struct {
	Env     string   `json:"env"`
	File    string   `json:"file"`
	Command []string `json:"command"`
}

// Resolve returns the configuration (JSON) with each reference replaced by its secret, and the
// secrets. A configuration without references is returned as it is.
func Resolve(ctx context.Context, config json.RawMessage) (resolved json.RawMessage, found []string, err error) {
	if !bytes.Contains(config, []byte(`"secret"`)) {
		return config, nil, nil
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(config))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	r := resolver{ctx: ctx}
	doc = r.walk("", doc)
	if err := errors.Join(r.problems...); err != nil {
		return nil, nil, err
	}
	if len(r.found) == 0 {
		return config, nil, nil
	}
	if resolved, err = json.Marshal(doc); err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	return resolved, r.found, nil
}

// resolver replaces references.
type resolver struct {
	ctx      context.Context //nolint:containedctx // of one call of Resolve
	found    []string
	problems []error
}

func (r *resolver) walk(pointer string, doc any) any {
	switch doc := doc.(type) {
	case []any:
		for i, v := range doc {
			doc[i] = r.walk(fmt.Sprintf("%s/%d", pointer, i), v)
		}
	case map[string]any:
		if ref, ok, err := readReference(doc); err != nil {
			r.problems = append(r.problems, fmt.Errorf("%s: %w", pointer, err))
		} else if ok {
			return r.resolve(pointer, ref)
		}
		for k, v := range doc {
			doc[k] = r.walk(pointer+"/"+k, v)
		}
	}
	return doc
}

// readReference reads {"secret": {...}}; ok is false for any other object.
func readReference(doc map[string]any) (ref reference, ok bool, err error) {
	inner, is := doc["secret"].(map[string]any)
	if !is || len(doc) != 1 {
		return reference{}, false, nil
	}
	raw, err := json.Marshal(inner)
	if err != nil {
		return reference{}, false, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&ref); err != nil || len(inner) != 1 {
		return reference{}, false, fmt.Errorf("%w: want one of env, file and command", ErrSecret)
	}
	return ref, true, nil
}

func (r *resolver) resolve(pointer string, ref reference) any {
	value, err := ref.read(r.ctx)
	if err == nil && value == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		r.problems = append(r.problems, fmt.Errorf("%s: %w from %s: %w", pointer, ErrSecret, ref, err))
		return nil
	}
	if !slices.Contains(r.found, value) {
		r.found = append(r.found, value)
	}
	return value
}

// String names where the secret is.
func (r reference) String() string {
	switch {
	case r.Env != "":
		return "the variable " + r.Env
	case r.File != "":
		return "the file " + r.File
	case len(r.Command) > 0:
		return "the command " + r.Command[0] // its arguments may be telling
	}
	return "nowhere"
}

func (r reference) read(ctx context.Context) (string, error) {
	switch {
	case r.Env != "":
		value, ok := os.LookupEnv(r.Env)
		if !ok {
			return "", errors.New("it is not set")
		}
		return value, nil
	case r.File != "":
		if !filepath.IsAbs(r.File) {
			return "", errors.New("want an absolute path")
		}
		return readFile(r.File)
	case len(r.Command) > 0:
		return run(ctx, r.Command)
	}
	return "", errors.New("want one of env, file and command")
}

func readFile(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", errors.Unwrap(err) // the path is named already
	}
	return text(raw)
}

func run(ctx context.Context, command []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.WaitDelay = time.Second
	raw, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("not done within %s", commandTimeout)
	case err != nil:
		return "", err //nolint:wrapcheck // exit status or why it did not start; its output is nobody's business
	}
	return text(raw)
}

// text takes off the end of the line that editors and programs put behind a secret.
func text(raw []byte) (string, error) {
	if len(raw) > maxSecret {
		return "", fmt.Errorf("it has %d bytes: want at most %d", len(raw), maxSecret)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}
