package shim_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/shim"
)

// TestEverythingButTheHome: what may read and write everything does not get at what is
// excepted, by no way.
func TestEverythingButTheHome(t *testing.T) {
	needs(t, 6)
	beside := filepath.Join(t.TempDir(), "beside")
	if err := os.WriteFile(beside, []byte("fine"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	dir, err := filepath.EvalSymlinks(filepath.Dir(h.store))
	if err != nil {
		t.Fatal(err)
	}
	way := filepath.Join(filepath.Dir(dir), "way") // beside the home, and into it
	if err := os.Symlink(dir, way); err != nil {
		t.Fatal(err)
	}
	plan := shim.Plan{
		Profile: shim.Default, Private: []string{h.own}, Read: []string{"*"}, Write: []string{"*"}, Except: []string{dir}, Subprocess: true, Network: "any",
	}
	const refused, done = "refused: ", "done"
	for name, tt := range map[string]struct {
		attack attack
		want   string
	}{
		"read the store":                  {attack{What: "read", Path: h.store}, refused},
		"read it by a link":               {attack{What: "read", Path: filepath.Join(way, "tasker.db")}, refused},
		"write the store":                 {attack{What: "write", Path: h.store}, refused},
		"truncate the store":              {attack{What: "truncate", Path: h.store}, refused},
		"remove the store":                {attack{What: "remove", Path: h.store}, refused},
		"read the data of another plugin": {attack{What: "read", Path: filepath.Join(h.others, "secret")}, refused},
		"list the data of another plugin": {attack{What: "list", Path: h.others}, refused},
		"list the home":                   {attack{What: "list", Path: dir}, refused},
		"its own: write":                  {attack{What: "write", Path: filepath.Join(h.own, "x")}, done},
		"others: read":                    {attack{What: "read", Path: beside}, done},
		"others: write":                   {attack{What: "write", Path: beside}, done},
		"the system: read":                {attack{What: "read", Path: "/etc/hosts"}, done},
		"the system: list":                {attack{What: "list", Path: "/usr"}, done},
	} {
		t.Run(name, func(t *testing.T) {
			got, measures, err := launch(t, plan, tt.attack)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("the program says %q, want %q", got, tt.want)
			}
			for _, m := range measures {
				if m.Name == "files" && (m.State != shim.Enforced || !strings.Contains(m.Detail, "everything but "+dir+" (and in /, ")) {
					t.Errorf("files: %+v", m)
				}
			}
		})
	}
	if got, err := os.ReadFile(h.store); err != nil || string(got) != "secret" {
		t.Errorf("the store is %q, %v; want it untouched", got, err)
	}
}

// TestMeasuresOfWhatIsAround: what is told of directories above an exception.
func TestMeasuresOfWhatIsAround(t *testing.T) {
	k := shim.Kernel{Landlock: 7, Seccomp: true, NoNewPrivs: true}
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		plan shim.Plan
		want string
	}{
		"everything":      {shim.Plan{Read: []string{"*"}, Except: []string{"/etc/x/home"}, Hidden: []string{"/etc/x"}}, "reads everything but /etc/x/home (and in /, /etc what is there at its start) (and nothing else in /etc/x, which cannot be listed), writes its own directory"},
		"above":           {shim.Plan{Read: []string{dir}, Except: []string{dir + "/home"}}, "reads system files and its own, " + dir + " but " + dir + "/home (and in " + dir + " what is there at its start), writes"},
		"beside":          {shim.Plan{Read: []string{dir + "/x"}, Except: []string{dir + "/home"}}, "reads system files and its own, " + dir + "/x, writes"},
		"all is the home": {shim.Plan{Read: []string{"*"}, Except: []string{"/"}}, "reads everything but /, writes"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.plan.Profile = shim.Default
			for _, m := range tt.plan.Measures(k) {
				if m.Name == "files" && !strings.Contains(m.Detail, tt.want) {
					t.Errorf("files: %s, want %s", m.Detail, tt.want)
				}
			}
		})
	}
}
