package supervisor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/shim"
)

// What an entry of fs_read and fs_write may begin with, where it is no path itself.
const (
	// byConfig and a JSON pointer is the path that the plugin's configuration has there; * in
	// the pointer is every member of a map or list.
	byConfig = "config:"
	// byConfigDir and a JSON pointer is the directory of the file that the configuration names
	// there, and that file.
	byConfigDir = "config-dir:"
	// byEnv and a name is the path in a variable that the plugin sees.
	byEnv = "env:"
)

// errEntry says what an entry of fs_read and fs_write may be.
var errEntry = errors.New(`want an absolute path, "*", config:POINTER, config-dir:POINTER or env:NAME`)

// driveLetter begins the absolute paths of Windows.
var driveLetter = regexp.MustCompile(`^[A-Za-z]:[\\/]`)

// checkEntry refuses an entry of fs_read or fs_write that means nothing.
func checkEntry(entry string) error {
	kind, rest := splitEntry(entry)
	switch {
	case strings.ContainsRune(entry, 0):
		return errors.New("a path has no zero byte")
	case kind == byEnv && rest != "" && !strings.ContainsAny(rest, "=*"):
		return nil
	case kind == byConfig || kind == byConfigDir:
		if _, err := splitPointer(rest); err != nil {
			return err
		}
		return nil
	case kind == "" && (rest == shim.Everything || strings.HasPrefix(rest, "/") || driveLetter.MatchString(rest)):
		return nil
	}
	return errEntry
}

// splitEntry returns what an entry begins with, empty for a path, and what follows.
func splitEntry(entry string) (kind, rest string) {
	for _, kind := range []string{byConfig, byConfigDir, byEnv} {
		if rest, ok := strings.CutPrefix(entry, kind); ok {
			return kind, rest
		}
	}
	return "", entry
}

// EntryPhrase says in words what an entry of fs_read or fs_write stands for; a path stands for itself.
func EntryPhrase(entry string) string {
	kind, rest := splitEntry(entry)
	keys, err := splitPointer(rest)
	switch {
	case entry == shim.Everything:
		return "every file (" + entry + ")"
	case kind == byEnv:
		return "what the variable " + rest + " names"
	case kind == byConfig && err == nil:
		return "what " + strings.Join(keys, ".") + " of its configuration names"
	case kind == byConfigDir && err == nil:
		return "the directory of what " + strings.Join(keys, ".") + " of its configuration names"
	}
	return entry
}

// splitPointer returns the keys of a JSON pointer that is not empty.
func splitPointer(pointer string) ([]string, error) {
	if !strings.HasPrefix(pointer, "/") || strings.HasSuffix(pointer, "/") {
		return nil, fmt.Errorf("%q: want a JSON pointer into the configuration, such as /tls/ca_file", pointer)
	}
	keys := strings.Split(pointer[1:], "/")
	for i, key := range keys {
		keys[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
	}
	return keys, nil
}

// textsAt returns the texts at a pointer, sorted; also those of a list. What is not there, or
// is no text, is none.
func textsAt(config json.RawMessage, pointer string) []string {
	keys, err := splitPointer(pointer)
	var doc any
	if err != nil || json.Unmarshal(config, &doc) != nil {
		return nil
	}
	found := []any{doc}
	for _, key := range append(keys, "") {
		var next []any
		for _, value := range found {
			next = append(next, members(value, key)...)
		}
		found = next
	}
	var texts []string
	for _, value := range found {
		if text, ok := value.(string); ok && text != "" && !strings.ContainsRune(text, 0) {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// members returns the member of a map, or all of a map or list with the key *. The key ""
// is behind the end of a pointer: there, a list stands for its elements.
func members(value any, key string) (found []any) {
	switch v := value.(type) {
	case map[string]any:
		if key == "*" {
			for _, member := range v {
				found = append(found, member)
			}
		} else if member, ok := v[key]; ok {
			found = append(found, member)
		}
	case []any:
		if key == "*" || key == "" {
			return v
		}
	default:
		if key == "" {
			return []any{value}
		}
	}
	return found
}

// grantedPath is a path, and the entry of a manifest that it comes from.
type grantedPath struct{ path, entry string }

// byOperator reports whether it was the operator who wrote the path.
func (g grantedPath) byOperator() bool {
	kind, _ := splitEntry(g.entry)
	return kind != ""
}

// pathsOf returns the paths that entries stand for, absolute. dir is the plugin's own
// directory, in which relative paths begin; what lies there is left out, as the plugin has it.
func pathsOf(entries []string, config json.RawMessage, env []string, dir string) []grantedPath {
	var paths []grantedPath
	add := func(entry, path string) {
		if path != shim.Everything {
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			if path = filepath.Clean(path); within(path, dir) {
				return
			}
		}
		paths = append(paths, grantedPath{path: path, entry: entry})
	}
	for _, entry := range entries {
		switch kind, rest := splitEntry(entry); kind {
		case byConfig:
			for _, text := range textsAt(config, rest) {
				add(entry, cmp.Or(beforeBraces(text), text))
			}
		case byConfigDir:
			for _, text := range textsAt(config, rest) {
				if fixed := beforeBraces(text); fixed != "" {
					add(entry, fixed)
					continue
				}
				add(entry, filepath.Dir(text))
				add(entry, text)
			}
		case byEnv:
			if text := os.Getenv(rest); text != "" && slices.Contains(env, rest) {
				add(entry, text)
			}
		default:
			add(entry, rest)
		}
	}
	return paths
}

// beforeBraces returns the directory before the first element of a path that has a brace in
// it, for which the plugin puts something in; empty when there is none.
func beforeBraces(path string) string {
	fixed, _, braced := strings.Cut(path, "{")
	if !braced {
		return ""
	}
	return cmp.Or(fixed[:strings.LastIndexByte(fixed, '/')+1], ".")
}

// within reports whether a path is a directory or lies in it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}
