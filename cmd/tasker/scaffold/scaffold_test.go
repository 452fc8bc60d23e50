package scaffold_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
	"github.com/tasker-engine/tasker/host/template"
)

// TestKinds: a plugin of a kind has the files of that kind.
func TestKinds(t *testing.T) {
	goHandlers := []string{"handler.go", "handler_test.go", "template.yaml"}
	goSubscribers := []string{"subscriber.go", "subscriber_test.go"}
	nodeHandlers := []string{"src/handler.ts", "test/handler.test.ts", "template.yaml"}
	nodeSubscribers := []string{"src/subscriber.ts", "test/subscriber.test.ts"}
	tests := []struct {
		lang scaffold.Lang
		kind scaffold.Kind
		want []string
	}{
		{scaffold.Go, scaffold.Handler, goHandlers},
		{scaffold.Go, scaffold.Subscriber, goSubscribers},
		{scaffold.Go, scaffold.Both, slices.Concat(goHandlers, goSubscribers)},
		{scaffold.Node, scaffold.Handler, nodeHandlers},
		{scaffold.Node, scaffold.Subscriber, nodeSubscribers},
		{scaffold.Node, scaffold.Both, slices.Concat(nodeHandlers, nodeSubscribers, []string{"src/events.ts"})},
	}
	ofKind := regexp.MustCompile(`^(.*/)?(handler|subscriber|events|template)[._]`)
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %s", tt.lang, tt.kind), func(t *testing.T) {
			p := scaffold.Plugin{Name: "orders", Lang: tt.lang, Kind: tt.kind, Module: "example.com/orders", Go: "1.26.0", SDK: scaffold.SDK{Version: "v1.0.0", Npm: "1.0.0"}}
			files, err := p.Files()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range files {
				if ofKind.MatchString(f.Path) {
					got = append(got, f.Path)
				}
				if strings.Contains(string(f.Data), "[[") || strings.Contains(string(f.Data), "<no value>") {
					t.Errorf("%s is not complete:\n%s", f.Path, f.Data)
				}
				wantTemplate(t, f)
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVendored: package.json and README say where the SDK is from.
func TestVendored(t *testing.T) {
	for npm, want := range map[string]string{
		"1.2.3":               "takes `@tasker-engine/sdk` 1.2.3 from npm's registry",
		"file:vendor/sdk.tgz": "takes it from vendor/sdk.tgz, packed from a checkout",
	} {
		files, err := scaffold.Plugin{Name: "orders", Lang: scaffold.Node, Kind: scaffold.Both, SDK: scaffold.SDK{Npm: npm}}.Files()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			switch f.Path {
			case "README.md":
				if !strings.Contains(string(f.Data), want) {
					t.Errorf("%s: the README says\n%s\nwant %q", npm, f.Data, want)
				}
			case "package.json":
				if !strings.Contains(string(f.Data), `"@tasker-engine/sdk": "`+npm+`"`) {
					t.Errorf("%s: package.json is\n%s", npm, f.Data)
				}
			}
		}
	}
}

// TestTemplates: the templates that others begin with are well.
func TestTemplates(t *testing.T) {
	home, err := scaffold.Home{Name: "orders", Plugin: "hello"}.Files()
	if err != nil {
		t.Fatal(err)
	}
	files, err := scaffold.Template{Namespace: "shop", Name: "order", File: "order.yaml"}.Files()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range append(home, files...) {
		if wantTemplate(t, f) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d templates, want 2", found)
	}
}

// wantTemplate checks a file if it is a template.
func wantTemplate(t *testing.T, f scaffold.File) bool {
	t.Helper()
	if filepath.Ext(f.Path) != ".yaml" || strings.HasPrefix(f.Path, ".") {
		return false
	}
	if _, err := template.Parse(f.Path, f.Data, template.Options{}); err != nil {
		t.Errorf("%s: %v", f.Path, err)
	}
	return true
}

// TestWrite: what exists is named and kept, unless it is to be overwritten.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	files := []scaffold.File{{Path: "a", Data: []byte("new")}, {Path: "b/c", Data: []byte("new")}}
	mine := filepath.Join(dir, "b", "c")
	if err := os.Mkdir(filepath.Dir(mine), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := scaffold.Write(dir, files, false); !errors.Is(err, scaffold.ErrExists) || !strings.Contains(err.Error(), mine) {
		t.Errorf("error %v, want one that names %s", err, mine)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("a was written, want nothing written")
	}
	if err := scaffold.Write(dir, files, true); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(mine); err != nil || string(got) != "new" {
		t.Errorf("b/c is %q, %v; want it overwritten", got, err)
	}
}
