package supervisor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/shim"
)

func TestEntries(t *testing.T) {
	for entry, ok := range map[string]bool{
		"*": true, "/": true, "/etc/ssl": true, `C:\certs`: true, "config:/a": true, "config:/a/*/b~1c": true, "config-dir:/a": true, "env:SSL_CERT_FILE": true,
		"": false, "relative": false, "config:": false, "config:a": false, "config:/": false, "config:/a/": false, "config-dir:": false,
		"env:": false, "env:*": false, "env:A=B": false, "/a\x00b": false, "file:/etc": false, "~/x": false,
	} {
		if err := checkEntry(entry); (err == nil) != ok {
			t.Errorf("%q: %v, want it accepted: %t", entry, err, ok)
		}
	}
}

func FuzzEntries(f *testing.F) {
	f.Add("config:/a/*/b", `{"a":[{"b":"x"}]}`)
	f.Add("config-dir:/a", `{"a":["x","{y}/z"]}`)
	f.Add("/etc", `null`)
	f.Fuzz(func(t *testing.T, entry, config string) {
		for _, g := range pathsOf([]string{entry}, json.RawMessage(config), nil, "/home/data/p") {
			if g.path != shim.Everything && (!filepath.IsAbs(g.path) || filepath.Clean(g.path) != g.path) {
				t.Errorf("%q with %s: %q", entry, config, g.path)
			}
		}
	})
}

func TestPathsOfEntries(t *testing.T) {
	t.Setenv("TASKER_TEST_FILE", "/by/env")
	const config = `{"file": "/by/config/file", "own": "below/file", "up": "../other", "secret": {"secret": {"env": "X"}}, "number": 1, "empty": "",
		"list": ["/b", "/a", "/a"], "map": {"x": {"file": "/x"}, "y": {"file": "/y"}, "z": {}}, "braced": "/log/{template}/{family}.jsonl", "own braced": "{template}",
		"a/b": "/escaped"}`
	for name, tt := range map[string]struct {
		entry string
		env   []string
		want  []string
	}{
		"everything":                       {entry: "*", want: []string{"*"}},
		"a path":                           {entry: "/etc/../srv/", want: []string{"/srv"}},
		"a value":                          {entry: "config:/file", want: []string{"/by/config/file"}},
		"the directory of a value":         {entry: "config-dir:/file", want: []string{"/by/config", "/by/config/file"}},
		"what the plugin has anyway":       {entry: "config-dir:/own"},
		"relative, out of its directory":   {entry: "config:/up", want: []string{"/home/data/other"}},
		"a value that is not there":        {entry: "config:/none"},
		"a value of nothing":               {entry: "config:/file/below"},
		"a reference to a secret":          {entry: "config:/secret"},
		"the parts of a secret":            {entry: "config:/secret/*"},
		"a number":                         {entry: "config:/number"},
		"an empty text":                    {entry: "config:/empty"},
		"a list":                           {entry: "config:/list", want: []string{"/a", "/b"}},
		"the members of a map":             {entry: "config:/map/*/file", want: []string{"/x", "/y"}},
		"up to a brace":                    {entry: "config-dir:/braced", want: []string{"/log"}},
		"a brace in its own directory":     {entry: "config-dir:/own braced"},
		"an escaped key":                   {entry: "config:/a~1b", want: []string{"/escaped"}},
		"a variable":                       {entry: "env:TASKER_TEST_FILE", env: []string{"TASKER_TEST_FILE"}, want: []string{"/by/env"}},
		"a variable that it does not see":  {entry: "env:TASKER_TEST_FILE"},
		"a variable that is not set":       {entry: "env:TASKER_TEST_UNSET", env: []string{"TASKER_TEST_UNSET"}},
		"what lies in its directory, too?": {entry: "/home/data/p/x"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, g := range pathsOf([]string{tt.entry}, json.RawMessage(config), tt.env, "/home/data/p") {
				got = append(got, g.path)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHiddenAbove(t *testing.T) {
	dir := t.TempDir()
	if got := hiddenAbove(filepath.Join(dir, "none", "home")); len(got) != 1 || got[0] != filepath.Join(dir, "none") {
		t.Errorf("hidden %q, want what is not there", got)
	}
	if got := hiddenAbove("/"); len(got) != 0 {
		t.Errorf("hidden above the root: %q", got)
	}
}

// granting is a launch of plugin p with what its permissions grant.
func granting(t *testing.T, home, config string, p Permissions) *launch {
	t.Helper()
	opts := Options{DataDir: filepath.Join(home, "data"), Isolation: Isolation{Profile: shim.Default, Home: home}}
	if err := os.MkdirAll(filepath.Join(opts.DataDir, "p"), 0o700); err != nil {
		t.Fatal(err)
	}
	b := Binary{Name: "p"}
	return &launch{
		launcher: launcher{opts: opts}, binary: b, plugin: "p",
		granted: opts.grantOf(b, &Manifest{Name: "p", Permissions: p}, json.RawMessage(config)),
	}
}

func TestWhereGrantedPathsLead(t *testing.T) {
	root := realPath(t.TempDir())
	at := func(elements ...string) string { return filepath.Join(append([]string{root}, elements...)...) }
	home := at("user", "home")
	for _, dir := range []string{at("certs"), at("log"), at("user", "docs"), filepath.Join(home, "data", "p"), filepath.Join(home, "files")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{at("certs", "ca.pem"), filepath.Join(home, "control.json"), filepath.Join(home, "files", "ca.pem")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		at("link"): "certs/ca.pem", at("circle"): "circle", at("way"): "user/home/control.json",
		at("log", "planted"): filepath.Join(home, "control.json"), filepath.Join(home, "data", "p", "planted"): at("certs"),
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		permissions       Permissions
		config            map[string]string
		wantRead, wantDir []string
		wantErr           string
	}{
		"a link":                      {permissions: Permissions{FSRead: []string{at("link")}}, wantRead: []string{at("certs", "ca.pem")}},
		"a circle":                    {permissions: Permissions{FSRead: []string{at("circle")}}},
		"what is not there":           {permissions: Permissions{FSRead: []string{"config:/x"}}, config: map[string]string{"x": at("none")}},
		"the home":                    {permissions: Permissions{FSRead: []string{home}, FSWrite: []string{home}}},
		"the token, by a link":        {permissions: Permissions{FSRead: []string{at("way")}}},
		"a file of the home, by name": {permissions: Permissions{FSRead: []string{"config:/x"}}, config: map[string]string{"x": filepath.Join(home, "files", "ca.pem")}, wantRead: []string{filepath.Join(home, "files", "ca.pem")}},
		"the home, by name":           {permissions: Permissions{FSRead: []string{"config:/x"}}, config: map[string]string{"x": home}},
		"a directory that is made":    {permissions: Permissions{FSWrite: []string{"config-dir:/x"}}, config: map[string]string{"x": at("made", "below", "file")}, wantDir: []string{at("made", "below")}},
		"none is made for authors":    {permissions: Permissions{FSWrite: []string{at("not made")}}},
		"a link that it put there":    {permissions: Permissions{FSWrite: []string{"config-dir:/x"}, FSRead: []string{"config:/y"}}, config: map[string]string{"x": at("log", "file"), "y": at("log", "planted")}, wantDir: []string{at("log")}},
		"one in its own directory":    {permissions: Permissions{FSRead: []string{"config:/x"}}, config: map[string]string{"x": filepath.Join(home, "data", "q", "..", "p", "planted", "ca.pem")}},
		"written: the home":           {permissions: Permissions{FSWrite: []string{"config-dir:/x"}}, config: map[string]string{"x": filepath.Join(home, "file")}, wantErr: "plugin p: /x in its configuration: " + home + ": no plugin is granted the tasker home, which is " + home},
		"written: above the home":     {permissions: Permissions{FSWrite: []string{"config-dir:/x"}}, config: map[string]string{"x": at("user", "file")}, wantErr: "no plugin is granted the tasker home"},
		"written: beside the home":    {permissions: Permissions{FSWrite: []string{"config-dir:/x"}}, config: map[string]string{"x": at("user", "docs", "file")}, wantDir: []string{at("user", "docs")}},
		"everything":                  {permissions: Permissions{FSRead: []string{at("certs"), "*"}, FSWrite: []string{"*"}}, wantRead: []string{"*"}, wantDir: []string{"*"}},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := json.Marshal(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			var plan shim.Plan
			err = granting(t, home, string(config), tt.permissions).files(&plan, true)
			if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if diff := cmp.Diff([][]string{tt.wantRead, tt.wantDir}, [][]string{plan.Read, plan.Write}); diff != "" {
				t.Errorf("read and written (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{home}, plan.Except); diff != "" {
				t.Errorf("except (-want +got):\n%s", diff)
			}
		})
	}
}
