package depot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
)

// withCommands is a plugin with commands, as commands.json lists them.
func withCommands(p plugin, commands string) plugin {
	p.files = map[string]string{CommandsFile: commands, "bin/tally": "counts", "bin/other": "counts otherwise"}
	return p
}

const (
	tally      = `[{"name": "tally", "description": "Count", "executable": "bin/tally"}]`
	tallyOther = `[{"name": "tally", "description": "Count", "executable": "bin/other"}]`
	tallySelf  = `[{"name": "tally", "description": "Count"}]`
	tallyAndUp = `[{"name": "tally", "description": "Count", "executable": "bin/tally"}, {"name": "up", "description": "Go up"}]`
)

// TestCommandsAreApproved: what an install shows and is said yes to may run, and the lock
// says what that was.
func TestCommandsAreApproved(t *testing.T) {
	d := newDepot(t)
	var offers []*Offer
	in := install1(t, d, InstallRequest{Source: withCommands(plugin{}, tallyAndUp).pack(t).Path, Approve: func(_ context.Context, o *Offer) (bool, error) {
		offers = append(offers, o)
		return true, nil
	}})
	if len(offers) != 1 || !cmp.Equal(offers[0].NewCommands, []string{"tally", "up"}) {
		t.Fatalf("offers = %+v, want one with the commands tally and up", offers)
	}
	l, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"tally": "bin/tally", "up": ""}
	if diff := cmp.Diff(want, l.Plugins["greeter"].Versions["1.0.0"].Commands); diff != "" {
		t.Errorf("the commands of the lock (-want +got)\n%s", diff)
	}
	path, args, err := d.Program("greeter", "tally")
	if err != nil || path != filepath.Join(in.Dir, "bin", "tally") || len(args) > 0 {
		t.Errorf("Program(tally) = %s, %q, %v; want bin/tally", path, args, err)
	}
	b, err := d.Binary("greeter", "")
	if err != nil {
		t.Fatal(err)
	}
	path, args, err = d.Program("greeter", "up")
	if err != nil || path != b.Path || !cmp.Equal(args, []string{"up"}) {
		t.Errorf("Program(up) = %s, %q, %v; want the plugin's executable and its name", path, args, err)
	}
	if _, _, err := d.Program("greeter", "down"); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("Program(down) error = %v, want ErrNotFound", err)
	}
	tamper(t, filepath.Join(in.Dir, "bin", "tally"), flip)
	_, _, err = d.Program("greeter", "tally")
	wantMismatch(t, err, "", "bin/tally is changed", "tasker plugin lock greeter@1.0.0")
}

// TestCommandsRefused: no update brings a command, or another program for one, unasked; and
// no command takes a name that is taken.
func TestCommandsRefused(t *testing.T) {
	tests := []struct {
		name                    string
		first, second           plugin
		req                     InstallRequest
		expected, found, accept string
	}{
		{
			name: "an update with a command", second: withCommands(plugin{version: "1.1.0"}, tally),
			expected: "none", found: "also command tally", accept: "--approve",
		},
		{
			name: "an update with one more", first: withCommands(plugin{}, tally), second: withCommands(plugin{version: "1.1.0"}, tallyAndUp),
			expected: "command tally", found: "also command up", accept: "--approve",
		},
		{
			name: "an update with another program", first: withCommands(plugin{}, tally), second: withCommands(plugin{version: "1.1.0"}, tallyOther),
			expected: "command tally", found: "also command tally by bin/other", accept: "--approve",
		},
		{
			name: "the plugin itself as the program", first: withCommands(plugin{}, tally), second: withCommands(plugin{version: "1.1.0"}, tallySelf),
			expected: "command tally", found: "also command tally by the plugin's executable", accept: "--approve",
		},
		{
			name:   "a command and a permission",
			second: withCommands(plugin{version: "1.1.0", permissions: supervisor.Permissions{Network: "any"}}, tally),
			req:    InstallRequest{Beside: true}, expected: "none", found: "also network any, command tally", accept: "--approve",
		},
		{
			name: "a command of tasker", second: withCommands(plugin{name: "other"}, `[{"name": "serve", "description": "Serve"}]`),
			req: InstallRequest{Approve: yes}, expected: "not taken", found: "tasker's own", accept: "nothing accepts it",
		},
		{
			name: "a command of another plugin", first: withCommands(plugin{}, tally), second: withCommands(plugin{name: "other"}, tallySelf),
			req: InstallRequest{Approve: yes}, expected: "not taken", found: "the command of greeter 1.0.0", accept: "tasker plugin remove greeter",
		},
		{
			name: "an update with a command of tasker", second: withCommands(plugin{version: "1.1.0"}, `[{"name": "help", "description": "Help"}]`),
			req: InstallRequest{Approve: yes}, expected: "not taken", found: "tasker's own", accept: "nothing accepts it",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDepot(t)
			d.Reserve("serve", "help")
			install1(t, d, InstallRequest{Source: tt.first.pack(t).Path})
			before := lockText(t, d)
			tt.req.Source = tt.second.pack(t).Path
			_, err := d.Install(t.Context(), tt.req)
			wantMismatch(t, err, tt.expected, tt.found, tt.accept)
			if diff := cmp.Diff(before, lockText(t, d)); diff != "" {
				t.Errorf("the lock changed (-before +after)\n%s", diff)
			}
		})
	}
}

// TestUpdateKeepsCommands: of what was approved nobody is asked again, what went is gone, and
// a version that lies beside takes its commands' names, too.
func TestUpdateKeepsCommands(t *testing.T) {
	d := newDepot(t)
	install1(t, d, InstallRequest{Source: withCommands(plugin{}, tallyAndUp).pack(t).Path})
	if _, err := d.Install(t.Context(), InstallRequest{Source: withCommands(plugin{version: "1.1.0", content: "!"}, tally).pack(t).Path}); err != nil {
		t.Fatalf("an update without anything new: %v", err)
	}
	commands, err := d.Commands()
	want := []InstalledCommand{{Command{"tally", "Count", "bin/tally"}, "greeter", "1.1.0", true}}
	if diff := cmp.Diff(want, commands); err != nil || diff != "" {
		t.Errorf("Commands() error = %v (-want +got)\n%s", err, diff)
	}
	up := InstallRequest{Source: withCommands(plugin{name: "other"}, `[{"name": "up", "description": "Up"}]`).pack(t).Path, Approve: yes}
	_, err = d.Install(t.Context(), up)
	wantMismatch(t, err, "not taken", "the command of greeter 1.0.0", "tasker plugin remove greeter@1.0.0")
	if err := d.Remove("greeter", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	install1(t, d, up)
}

// inLock changes the text of the lock.
func inLock(t *testing.T, d *Depot, change func(string) string) {
	t.Helper()
	before := lockText(t, d)
	after := change(before)
	if after == before {
		t.Fatalf("the lock has not what was to be changed:\n%s", before)
	}
	write(t, filepath.Join(d.home, LockFile), after)
}

// asBefore cuts the commands out of a lock: it is one of the format before then.
func asBefore(text string) string {
	text = strings.Replace(text, `"format": 2`, `"format": 1`, 1)
	from := strings.Index(text, `"commands"`)
	to := from + strings.Index(text[from:], `"trees"`)
	return text[:from] + text[to:]
}

// TestLockBeforeCommands: a lock from before commands were approved approves none. The plugin
// is started, its commands are not run, and approving them writes the lock as it is now.
func TestLockBeforeCommands(t *testing.T) {
	d := newDepot(t)
	pkg := withCommands(plugin{}, tally).pack(t).Path
	install1(t, d, InstallRequest{Source: pkg})
	now := lockText(t, d)
	inLock(t, d, asBefore)
	if installed, err := d.Installed(); err != nil || len(installed) != 1 || installed[0].Refused != nil {
		t.Errorf("Installed() = %+v, %v, want the plugin as ever", installed, err)
	}
	if commands, err := d.Commands(); err != nil || len(commands) != 1 || commands[0].Approved {
		t.Errorf("Commands() = %+v, %v, want one that is not approved", commands, err)
	}
	_, _, err := d.Program("greeter", "tally")
	wantMismatch(t, err, "one that was approved", "nobody approved", "tasker plugin approve greeter")
	found, err := d.Verify()
	if err != nil || len(found) != 1 {
		t.Fatalf("Verify() = %+v, %v, want one finding", found, err)
	}
	wantMismatch(t, found[0].Err, "none", "also command tally", "tasker plugin approve greeter@1.0.0")
	_, err = d.Install(t.Context(), InstallRequest{Source: pkg, Locked: true, Approve: yes})
	wantMismatch(t, err, "none", "also command tally", "without --locked: tasker plugin install "+pkg+" --approve")
	_, err = d.Install(t.Context(), InstallRequest{Source: pkg})
	wantMismatch(t, err, "none", "also command tally", "--approve")
	added, err := d.Approve("greeter", "")
	if err != nil || !cmp.Equal(added, []string{"command tally"}) {
		t.Errorf("Approve() = %q, %v, want command tally", added, err)
	}
	if diff := cmp.Diff(now, lockText(t, d)); diff != "" {
		t.Errorf("the lock is not what an install writes (-want +got)\n%s", diff)
	}
	if _, _, err := d.Program("greeter", "tally"); err != nil {
		t.Errorf("Program() error = %v", err)
	}
	install1(t, d, InstallRequest{Source: pkg, Locked: true})
	inLock(t, d, func(text string) string { return strings.Replace(text, `"format": 2`, `"format": 1`, 1) })
	if _, err := d.Lock(); !errors.Is(err, ErrLock) {
		t.Errorf("Lock() of format 1 with commands: error = %v, want ErrLock", err)
	}
}

// TestApproveClash: approving is no way to a name that is taken.
func TestApproveClash(t *testing.T) {
	d := newDepot(t)
	install1(t, d, InstallRequest{Source: withCommands(plugin{}, tally).pack(t).Path})
	inLock(t, d, asBefore)
	install1(t, d, InstallRequest{Source: withCommands(plugin{name: "other"}, tally).pack(t).Path})
	_, err := d.Approve("greeter", "")
	wantMismatch(t, err, "not taken", "the command of other 1.0.0", "tasker plugin remove other")
	d.Reserve("tally")
	_, err = d.Approve("other", "")
	wantMismatch(t, err, "not taken", "tasker's own", "nothing accepts it")
}

// TestMergedLocks: two plugins with one command, as a merge of two locks has them.
func TestMergedLocks(t *testing.T) {
	d := newDepot(t)
	install1(t, d, InstallRequest{Source: withCommands(plugin{}, tally).pack(t).Path})
	install1(t, d, InstallRequest{Source: withCommands(plugin{name: "other"}, `[{"name": "up", "description": "Up", "executable": "bin/tally"}]`).pack(t).Path})
	inLock(t, d, func(text string) string { return strings.Replace(text, `"up"`, `"tally"`, 1) })
	_, _, err := d.Program("greeter", "tally")
	wantMismatch(t, err, "one plugin", "greeter, other", "tasker plugin remove other")
	found, err := d.Verify()
	if err != nil || len(found) != 2 {
		t.Fatalf("Verify() = %+v, %v, want two findings", found, err)
	}
	wantMismatch(t, found[0].Err, "one plugin", "greeter, other", "tasker plugin remove greeter")
}

// TestRelockApprovesNoCommand: that what lies there is accepted does not approve what a
// changed manifest adds to the command line.
func TestRelockApprovesNoCommand(t *testing.T) {
	d := newDepot(t)
	in := install1(t, d, InstallRequest{Source: withCommands(plugin{}, tally).pack(t).Path})
	tamper(t, filepath.Join(in.Dir, ManifestFile), func(raw []byte) []byte {
		return bytes.Replace(raw, []byte(`"name": "tally"`), []byte(`"name": "sum"`), 1)
	})
	if _, err := d.Relock("greeter", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Binary("greeter", ""); err != nil {
		t.Errorf("Binary() error = %v, want the plugin to start", err)
	}
	_, _, err := d.Program("greeter", "sum")
	wantMismatch(t, err, "one that was approved", "nobody approved", "tasker plugin approve greeter")
	if _, err := d.Approve("greeter", ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Program("greeter", "sum"); err != nil {
		t.Errorf("Program() error = %v", err)
	}
}

// TestLockOfCommands: what a lock cannot say of commands.
func TestLockOfCommands(t *testing.T) {
	for _, tt := range []struct{ name, was, is string }{
		{"a path out of the tree", `"bin/tally"`, `"../tally"`},
		{"an absolute path", `"bin/tally"`, `"/bin/sh"`},
		{"no name", `"tally"`, `"--home"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDepot(t)
			install1(t, d, InstallRequest{Source: withCommands(plugin{}, tally).pack(t).Path})
			inLock(t, d, func(text string) string { return strings.Replace(text, tt.was, tt.is, 1) })
			if _, err := d.Lock(); !errors.Is(err, ErrLock) {
				t.Errorf("Lock() error = %v, want ErrLock", err)
			}
		})
	}
}

// TestRemoveThatDidNotEnd: the lock goes first, so a removal that was cut off leaves a tree
// that nobody starts, and is ended by another.
func TestRemoveThatDidNotEnd(t *testing.T) {
	d := newDepot(t)
	pkg := plugin{}.pack(t).Path
	in := install1(t, d, InstallRequest{Source: pkg})
	inLock(t, d, func(string) string { return `{"format": 2, "plugins": {}}` })
	write(t, filepath.Join(d.home, treesDir, stagePrefix+"1", "tree", "x"), "x") // the half of a removal
	found, err := d.Verify()
	if err != nil || len(found) != 1 {
		t.Fatalf("Verify() = %+v, %v, want one finding", found, err)
	}
	wantMismatch(t, found[0].Err, "one of the lock", "greeter 1.0.0", "tasker plugin remove --tree greeter@1.0.0")
	if err := d.Remove("greeter", ""); err != nil {
		t.Errorf("Remove() error = %v, want the tree removed", err)
	}
	if _, err := os.Stat(in.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the tree: %v, want none", err)
	}
	if left, err := filepath.Glob(filepath.Join(d.home, treesDir, stagePrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v; want nothing", left, err)
	}
	for _, name := range []string{"greeter", "..", "../../etc", "."} {
		if err := d.Remove(name, ""); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("Remove(%q) error = %v, want ErrNotInstalled", name, err)
		}
	}
}
