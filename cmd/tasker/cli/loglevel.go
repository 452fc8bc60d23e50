package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/task"
)

// logLevels says what is logged at least: of everything, and of parts of the host.
type logLevels struct {
	all   string
	parts map[string]string // by part
}

// pluginPart is the part of the host that runs plugins; followed by a name it is the
// plugin itself, which is told its level.
const pluginPart = "plugin"

// logParts are the parts of a host that log.
func logParts() []string {
	return []string{"runner", "store", "delivery", pluginPart, "control", "metrics", "traces"}
}

func levelNames() []string { return []string{"trace", "debug", "info", "warn", "error"} }

// parseLogLevels reads "info,delivery=debug,plugin.http=trace". Without a level of
// everything it is info.
func parseLogLevels(text string) (logLevels, error) {
	l := logLevels{all: "info", parts: make(map[string]string)}
	seen := false
	for item := range strings.SplitSeq(text, ",") {
		part, level, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok {
			part, level = "", part
		}
		if err := oneOf(level, levelNames()...); err != nil {
			return l, err
		}
		switch _, twice := l.parts[part]; {
		case part == "" && ok:
			return l, errors.New("want part=level, such as delivery=debug")
		case part == "" && seen, twice:
			return l, fmt.Errorf("%q stands twice", strings.TrimSuffix(item, "="+level))
		case part == "":
			l.all, seen = level, true
			continue
		}
		if name, isPlugin := strings.CutPrefix(part, pluginPart+"."); isPlugin && !task.ValidPluginName(name) {
			return l, fmt.Errorf("%q is no plugin name", name)
		} else if !isPlugin {
			if err := oneOf(part, logParts()...); err != nil {
				return l, fmt.Errorf("part %w, or %s.NAME", err, pluginPart)
			}
		}
		l.parts[part] = level
	}
	return l, nil
}

// plugins returns the levels that single plugins are told, by name.
func (l logLevels) plugins() map[string]string {
	out := make(map[string]string)
	for part, level := range l.parts {
		if name, ok := strings.CutPrefix(part, pluginPart+"."); ok {
			out[name] = level
		}
	}
	return out
}

// partLogger is a logger whose named children have levels of their own.
type partLogger struct {
	hclog.Logger

	levels logLevels
}

// newPartLogger gives a logger the level of everything, and its children theirs. The
// logger must have been made with IndependentLevels.
func newPartLogger(l hclog.Logger, levels logLevels) hclog.Logger {
	l.SetLevel(hclog.LevelFromString(levels.all))
	return &partLogger{Logger: l, levels: levels}
}

// Named implements [hclog.Logger].
func (p *partLogger) Named(name string) hclog.Logger {
	child := p.Logger.Named(name)
	if level, ok := p.levels.parts[name]; ok && slices.Contains(logParts(), name) {
		child.SetLevel(hclog.LevelFromString(level))
	}
	return child
}
