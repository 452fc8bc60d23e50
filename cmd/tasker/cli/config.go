package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// configFile is the name of the one optional configuration file, in the home.
const configFile = "tasker.yaml"

// defaultHome is the home when none is named.
const defaultHome = ".tasker"

// Where a value comes from.
const (
	originDefault = "default"
	originFlag    = "flag"
)

// hostFlags adds the flags of commands that may start a host.
func hostFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringArray("plugin-dir", nil, "`DIR` with plugins, or one plugin (may be repeated)")
	f.StringArray("template-dir", nil, "`DIR` with templates (may be repeated)")
	f.String("env", "", "`NAME` of the environment whose overrides are merged into templates")
	f.String("log-level", "", "least `LEVEL` to log: trace, debug, info, warn or error")
	f.String("log-format", "", "`FORMAT` of the log: text or json")
	f.String("grace", "", "how long (`DURATION`) attempts may go on when the host stops")
}

// templateFlags adds the flags of commands that may read templates themselves.
func templateFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringArray("template-dir", nil, "`DIR` with templates, when no host is running (may be repeated)")
	f.String("env", "", "`NAME` of the environment whose overrides are merged")
}

// config reads the configuration: flags before variables before the file before
// defaults. A file that is wrong is refused with everything that is wrong with it.
func (a *app) config(c *cobra.Command) (*config, error) {
	cfg, err := a.homeConfig(c)
	if err != nil {
		return nil, err
	}
	list := settings()
	if err := cfg.readFile(filepath.Join(cfg.Home, configFile)); err != nil {
		return nil, err
	}
	if err := a.layer(c, cfg, list[1:]); err != nil {
		return nil, err
	}
	cfg.defaultDirs()
	return cfg, nil
}

// homeConfig is a configuration of which only the home is known, which says where the file is.
func (a *app) homeConfig(c *cobra.Command) (*config, error) {
	cfg := defaults()
	cfg.Home = defaultHome
	list := settings()
	for _, s := range list {
		cfg.origins[s.key] = originDefault
	}
	return cfg, a.layer(c, cfg, list[:1])
}

// layer applies variables and flags.
func (a *app) layer(c *cobra.Command, cfg *config, list []setting) error {
	for _, s := range list {
		if text, ok := a.lookup(s.variable()); ok && text != "" {
			if err := cfg.apply(s, text); err != nil {
				return withHint(fmt.Errorf("%s: %w", s.variable(), err), "set the variable to another value, or unset it")
			}
			cfg.origins[s.key] = s.variable()
		}
		f := c.Flags().Lookup(s.flag)
		if s.flag == "" || f == nil || !f.Changed {
			continue
		}
		if list, ok := s.value(cfg).(*[]string); ok {
			dirs, err := c.Flags().GetStringArray(s.flag)
			if err != nil {
				return fmt.Errorf("--%s: %w", s.flag, err)
			}
			*list = dirs
		} else if err := cfg.apply(s, f.Value.String()); err != nil {
			return usageOf(c, fmt.Errorf("--%s: %w", s.flag, err))
		}
		cfg.origins[s.key] = originFlag + " --" + s.flag
	}
	return nil
}

// apply sets and checks one value.
func (cfg *config) apply(s setting, text string) error {
	if err := s.set(cfg, text); err != nil {
		return err
	}
	if s.check == nil {
		return nil
	}
	return s.check(cfg)
}

// readFile reads the file, if there is one.
func (cfg *config) readFile(path string) error {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	r := &configReader{cfg: cfg, path: path, src: src}
	file, err := parser.ParseBytes(src, 0)
	switch {
	case err != nil:
		r.syntax(err)
	case len(file.Docs) > 1:
		r.at(file.Docs[1].Start, "a second document in the file", "") // it may have no body
	case len(file.Docs) == 1 && file.Docs[0].Body != nil:
		r.mapping(file.Docs[0].Body, "", r.top)
	}
	if len(r.found) > 0 {
		return r.found
	}
	return nil
}

// configReader reads tasker.yaml and collects what is wrong with it.
type configReader struct {
	cfg   *config
	path  string
	src   []byte
	found template.Diagnostics
}

func (r *configReader) add(n ast.Node, message, hint string) {
	r.at(n.GetToken(), message, hint)
}

// at adds a diagnostic with the place of a token, if it has one.
func (r *configReader) at(tok *token.Token, message, hint string) {
	d := template.Diagnostic{File: r.path, Message: message, Hint: hint}
	if tok != nil && tok.Position != nil {
		d.Line, d.Column = tok.Position.Line, tok.Position.Column
	}
	r.found = append(r.found, d)
}

// syntax reports a file that is not YAML.
func (r *configReader) syntax(err error) {
	if e, ok := errors.AsType[yaml.Error](err); ok {
		r.at(e.GetToken(), e.GetMessage(), "")
		return
	}
	r.at(nil, err.Error(), "")
}

// mapping calls each for every key of a mapping, with the key's path.
func (r *configReader) mapping(n ast.Node, prefix string, each func(key string, keyNode, value ast.Node)) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return
	default:
		r.add(n, strings.TrimPrefix(prefix+": want keys and values", ": "), "see tasker config show")
		return
	}
	seen := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		key := p.Key.GetToken().Value
		if seen[key] {
			r.add(p.Key, fmt.Sprintf("key %q stands twice", prefix+key), "")
			continue
		}
		seen[key] = true
		each(prefix+key, p.Key, p.Value)
	}
}

// top reads one key of the top level, or of a group of keys.
func (r *configReader) top(key string, keyNode, value ast.Node) {
	switch key {
	case "events", "retention", "metrics", "store", "tracing":
		r.mapping(value, key+".", r.top)
		return
	case "retention.rules":
		rules, found := template.ReadRetentionRules(r.path, value)
		r.cfg.Retention.Rules, r.cfg.origins[key] = rules, r.path
		r.found = append(r.found, found...)
		return
	case "subscriptions":
		subs, found := template.ReadSubscriptions(r.path, r.src, value)
		r.cfg.Subscriptions, r.cfg.origins[key] = subs, r.path
		r.found = append(r.found, found...)
		return
	case "plugins":
		r.cfg.Plugins = make(map[string]pluginConfig)
		r.cfg.origins[key] = r.path
		r.mapping(value, "plugins.", r.plugin)
		return
	case "commands":
		r.cfg.Commands = make(map[string]commandConfig)
		r.cfg.origins[key] = r.path
		r.mapping(value, "commands.", r.command)
		return
	case "home":
		r.add(keyNode, "home cannot be set in a file that lies in the home", "use --home or TASKER_HOME")
		return
	}
	var keys []string
	for _, s := range settings() {
		if s.key == key {
			r.setting(s, value)
			return
		}
		keys = append(keys, s.key)
	}
	hint := strings.TrimPrefix(didYouMean(key, append(keys, "subscriptions", "plugins", "commands", "retention.rules")), "; ")
	r.add(keyNode, fmt.Sprintf("unknown key %q", key), hint)
}

// setting reads the value of one key.
func (r *configReader) setting(s setting, value ast.Node) {
	var err error
	switch p := s.value(r.cfg).(type) {
	case *[]string:
		if err = yaml.NodeToValue(value, p); err != nil {
			r.add(value, s.key+": want a list of texts", "")
			return
		}
		for i, dir := range *p {
			if !filepath.IsAbs(dir) {
				(*p)[i] = filepath.Join(filepath.Dir(r.path), dir)
			}
		}
	default:
		if _, ok := value.(ast.ScalarNode); !ok {
			r.add(value, s.key+": want a single value", "")
			return
		}
		err = r.cfg.apply(s, value.GetToken().Value)
		if dir, ok := s.value(r.cfg).(*string); ok && s.dir && *dir != "" && !filepath.IsAbs(*dir) {
			*dir = filepath.Join(filepath.Dir(r.path), *dir)
		}
	}
	if err != nil {
		r.add(value, s.key+": "+err.Error(), "")
	}
	r.cfg.origins[s.key] = r.path
}

// plugin reads plugins.NAME.
func (r *configReader) plugin(key string, keyNode, value ast.Node) {
	name := strings.TrimPrefix(key, "plugins.")
	if !task.ValidPluginName(name) {
		r.add(keyNode, fmt.Sprintf("%q is no plugin name", name), "want lower-case letters, digits and -, beginning with a letter")
		return
	}
	var p pluginConfig
	r.mapping(value, key+".", func(path string, keyNode, value ast.Node) {
		var err error
		switch sub := strings.TrimPrefix(path, key+"."); sub {
		case "config":
			p.Config, err = jsonOf(value)
		case "env":
			if err = yaml.NodeToValue(value, &p.Env); err != nil {
				err = errors.New("want a list of names of variables")
			}
		case "start_timeout":
			if p.StartTimeout, err = time.ParseDuration(value.GetToken().Value); err == nil {
				err = positive(p.StartTimeout)
			}
		case "isolation":
			p.Isolation = value.GetToken().Value
			err = oneOf(p.Isolation, host.IsolationProfiles()...)
		case "limits":
			r.mapping(value, path+".", func(path string, keyNode, value ast.Node) { r.limit(&p.Limits, path, keyNode, value) })
		case "start", "idle_stop":
			err = p.Rest.set(sub, value.GetToken().Value)
		default:
			var keys []string
			for _, k := range pluginKeys() {
				keys = append(keys, k.key)
			}
			r.add(keyNode, fmt.Sprintf("unknown key %q", path), strings.TrimPrefix(didYouMean(sub, keys), "; "))
		}
		if err != nil {
			r.add(value, path+": "+firstLine(err.Error()), "")
		}
	})
	r.cfg.Plugins[name] = p
}

// jsonOf turns a YAML value into JSON.
func jsonOf(n ast.Node) (json.RawMessage, error) {
	if _, ok := n.(*ast.NullNode); ok {
		return nil, nil
	}
	text, err := n.MarshalYAML()
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	out, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return out, nil
}

// didYouMean proposes the nearest of some names: "; did you mean "x"?", empty when none
// is near.
func didYouMean(name string, names []string) string {
	const enough = 3 // characters of a name's beginning that mean it
	best, limit := "", max(2, len(name)/3)
	for _, n := range names {
		if len(name) >= enough && strings.HasPrefix(n, name) {
			best = n
			break
		}
		if d := levenshtein.ComputeDistance(name, n); d <= limit {
			best, limit = n, d-1
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
