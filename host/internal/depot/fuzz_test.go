package depot

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// FuzzParseLock: a lock that is read is written again as a lock that says the same.
func FuzzParseLock(f *testing.F) {
	f.Add([]byte(`{"format":1,"plugins":{}}`))
	f.Add([]byte(`{"format":2,"plugins":{}}`))
	f.Add([]byte(`{"format":1,"plugins":{"a":null}}`))
	f.Add([]byte(`{"format":1,"plugins":{"a":{"version":"1.0.0","versions":{"1.0.0":null}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := ParseLock(raw)
		if err != nil {
			return
		}
		first, err := encodeJSON(l)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseLock(first)
		if err != nil {
			t.Fatalf("ParseLock() of what was written: %v\n%s", err, first)
		}
		if second, err := encodeJSON(again); err != nil || !bytes.Equal(first, second) {
			t.Errorf("written twice: %s and %s, %v", first, second, err)
		}
		for _, name := range l.Names() {
			l.Plugins[name].Sorted()
		}
	})
}

// FuzzParseManifest: a manifest that is read has trees, and its own text is one again.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"protocol":1,"name":"a","version":"1.0.0","executables":{"any":"a"},"files":{"a":{"sha256":"0","size":1}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseManifest(raw)
		if err != nil {
			return
		}
		digest, err := m.Digest()
		if err != nil {
			return // a schema that is no JSON
		}
		text, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseManifest(text)
		if err != nil {
			t.Fatalf("ParseManifest() of what was written: %v\n%s", err, text)
		}
		if got, err := again.Digest(); err != nil || got != digest {
			t.Errorf("digest %s became %s, %v", digest, got, err)
		}
		for name := range m.Files {
			if !filepath.IsLocal(filepath.FromSlash(name)) {
				t.Errorf("file %q lies outside of the tree", name)
			}
		}
	})
}

func permissions() *rapid.Generator[supervisor.Permissions] {
	return rapid.Custom(func(t *rapid.T) supervisor.Permissions {
		some := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "B", "C", "*"}), 0, 3, rapid.ID[string])
		return supervisor.Permissions{
			Network: rapid.SampledFrom([]string{"", "none", "loopback", "any", "odd"}).Draw(t, "network"),
			Env:     some.Draw(t, "env"), FSRead: some.Draw(t, "read"), FSWrite: some.Draw(t, "write"), Subprocess: rapid.Bool().Draw(t, "subprocess"),
		}
	})
}

// TestBeyond: what was approved is never new, and everything is beyond nothing.
func TestBeyond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		asked, approved := permissions().Draw(t, "asked"), permissions().Draw(t, "approved")
		if got := Beyond(asked, asked); len(got) != 0 {
			t.Fatalf("beyond itself: %v", got)
		}
		if got := Beyond(asked, supervisor.Permissions{}); !slices.Equal(got, Asks(asked)) {
			t.Fatalf("beyond nothing: %v, want %v", got, Asks(asked))
		}
		for _, ask := range Beyond(asked, approved) {
			if !slices.Contains(Asks(asked), ask) {
				t.Fatalf("%q was not asked for", ask)
			}
		}
	})
}
