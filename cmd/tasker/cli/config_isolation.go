package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/tasker-engine/tasker/host"
)

// isolationDefault is what the binary keeps from plugins unless it is told otherwise.
const isolationDefault = "default"

// limit reads one key of plugins.NAME.limits.
func (r *configReader) limit(limits *host.PluginLimits, path string, keyNode, value ast.Node) {
	text, err := value.GetToken().Value, error(nil)
	_, key, _ := strings.Cut(path, ".limits.")
	switch key {
	case "memory":
		limits.Memory, err = parseBytes(text)
	case "files":
		limits.Files, err = parseCount(text)
	case "processes":
		limits.Processes, err = parseCount(text)
	default:
		r.add(keyNode, fmt.Sprintf("unknown key %q", path), strings.TrimPrefix(didYouMean(key, []string{"memory", "files", "processes"}), "; "))
	}
	if err != nil {
		r.add(value, path+": "+err.Error(), "")
	}
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q: want a whole number above 0", text)
	}
	return n, nil
}

// errBytes says what a number of bytes looks like.
var errBytes = errors.New("want a size such as 512MiB or 2GiB")

// parseBytes reads a number of bytes.
func parseBytes(text string) (int64, error) {
	number, shift := text, 0
	for _, unit := range []struct {
		name  string
		shift int
	}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}} {
		if n, ok := strings.CutSuffix(text, unit.name); ok {
			number, shift = strings.TrimSpace(n), unit.shift
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	const most = 1 << 62
	if err != nil || n < 1 || n > most>>shift {
		return 0, fmt.Errorf("%q: %w", text, errBytes)
	}
	return n << shift, nil
}

// showIsolation lists what is set for one plugin.
func (p *pluginConfig) showIsolation(key, origin string) []settingJSON {
	var lines []settingJSON
	if p.Isolation != "" {
		lines = append(lines, settingJSON{key + ".isolation", p.Isolation, origin})
	}
	for _, l := range []struct {
		name  string
		value int64
	}{{"memory", p.Limits.Memory}, {"files", int64(p.Limits.Files)}, {"processes", int64(p.Limits.Processes)}} {
		if l.value > 0 {
			lines = append(lines, settingJSON{key + ".limits." + l.name, l.value, origin})
		}
	}
	return lines
}
