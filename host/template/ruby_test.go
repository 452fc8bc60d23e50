package template

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/tasker-engine/tasker/host/task"
)

// TestImportRuby carries task handlers over: each file holds one, what becomes of it,
// and what is said about it.
func TestImportRuby(t *testing.T) {
	for _, path := range glob(t, "testdata/ruby/*.txtar") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out, warnings, err := ImportRuby(ar.Files[0].Name, ar.Files[0].Data, ImportOptions{})
			got := []txtar.File{ar.Files[0]}
			if err != nil {
				if !errors.Is(err, task.ErrInvalid) || out != nil {
					t.Errorf("ImportRuby: %q, %v, want nothing and an error about the file", out, err)
				}
				got = append(got, txtar.File{Name: "error", Data: []byte(err.Error() + "\n")})
			} else {
				got = append(got, txtar.File{Name: "template.yaml", Data: out})
			}
			if len(warnings) > 0 {
				got = append(got, txtar.File{Name: "warnings", Data: []byte(warnings.Error() + "\n")})
			}
			ar.Files = got
			checkGolden(t, path, txtar.Format(ar))
		})
	}
}

// TestImportRubyEnvironments: an environment of the result is what it was.
func TestImportRubyEnvironments(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/ruby/order.txtar")
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := ImportRuby("order.yaml", ar.Files[0].Data, ImportOptions{Plugin: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := Parse("template.yaml", out, Options{Environment: "test"})
	if err != nil {
		t.Fatal(err)
	}
	stock := tmpl.Steps[1]
	if got, want := stock.Handler.String(), "orders/stock"; got != want {
		t.Errorf("handler %s, want %s", got, want)
	}
	if got, want := string(stock.Config), `{"headers":{"Accept":"application/json"},"params":{"warehouse":7},"url":"http://localhost:4000"}`; got != want {
		t.Errorf("config %s, want %s", got, want)
	}
	if r := stock.Retry; r.Limit != 8 || r.Backoff != task.BackoffConstant || r.Base.String() != "100ms" {
		t.Errorf("retry %+v, want limit 8, constant, 100ms", r)
	}
	if charge := tmpl.Steps[2]; charge.Retryable != nil && !*charge.Retryable || charge.Retry == nil || charge.Retry.Limit != 5 {
		t.Errorf("charge: retryable %v, retry %+v, want up to 5 attempts", charge.Retryable, charge.Retry)
	}
	if parcel := tmpl.Steps[3]; parcel.Retryable == nil || *parcel.Retryable {
		t.Errorf("parcel: retryable %v, want false", parcel.Retryable)
	}
}

func TestImportRubyPlugin(t *testing.T) {
	_, _, err := ImportRuby("x.yaml", []byte("name: x\nstep_templates: []\n"), ImportOptions{Plugin: "Orders"})
	if !errors.Is(err, task.ErrInvalid) || !strings.Contains(err.Error(), `plugin "Orders"`) {
		t.Errorf("ImportRuby: %v, want a refused plugin", err)
	}
}

// FuzzImportRuby: whatever goes in, what comes out is a template.
func FuzzImportRuby(f *testing.F) {
	for _, path := range []string{"order", "odd", "minimal", "draft", "wrong", "cycle", "other"} {
		ar, err := txtar.ParseFile("testdata/ruby/" + path + ".txtar")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ar.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		out, _, err := ImportRuby("x.yaml", src, ImportOptions{})
		if err != nil {
			if !errors.Is(err, task.ErrInvalid) {
				t.Fatalf("ImportRuby: %v, want an error about the file", err)
			}
			return
		}
		if _, err := Parse("out.yaml", out, Options{}); err != nil {
			t.Fatalf("the template is none: %v\n%s", err, out)
		}
	})
}

// FuzzYAMLText: what is written reads back as the same text.
func FuzzYAMLText(f *testing.F) {
	for _, s := range []string{"", "on", "1.0.0", "30m", "03010", "a: b", "- x", "#x", "x #y", "\u2028", "é", "'", `"`, "a\nb", " x ", "~", "0x1", "1e3", "null", "=", "<<", "..5s", "1_000", "12:30:45"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if at, ok := badText([]byte(s)); !ok {
			t.Skip(at)
		}
		var b strings.Builder
		writeYAML(&b, &node{kind: kindMap, entries: []entry{{key: "k", value: textNode(s)}}}, "")
		root, ds := readTree("x.yaml", []byte(b.String()))
		if len(ds) > 0 || root.get("k").kind != kindText || root.get("k").text != s {
			t.Fatalf("%q is written as %q and read as %+v, %v", s, b.String(), root, ds)
		}
	})
}
