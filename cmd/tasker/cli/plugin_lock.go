package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// relockedJSON is one element of what `plugin lock --json` prints.
type relockedJSON struct {
	Name     string  `json:"name"`
	Version  string  `json:"version"`
	Platform string  `json:"platform"`
	Before   *string `json:"before"` // hash of the tree
	After    string  `json:"after"`
	Manifest bool    `json:"manifest"` // what it declares changed, too
}

func (a *app) pluginLockCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lock [PLUGIN[@VERSION]...]",
		Short: "Make the lock say what is installed",
		Long: `Write the hashes of what lies in the home to the lock: this is how changed files are
accepted. Without a name it does so for the current version of every plugin. Platforms that
a package has and the lock has not are added. Permissions are not approved by it, and the
signer stays.

--json prints an array of {"name", "version", "platform", "before", "after", "manifest"},
one for each hash that changed.`,
		Example: `  tasker plugin lock greeter
  tasker plugin lock && git diff tasker.plugins.lock`,
		Args:              args(0, -1),
		ValidArgsFunction: a.completeInstalled,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		_, d, err := a.depot(c)
		if err != nil {
			return err
		}
		if len(given) == 0 {
			if given, err = lockedRefs(d); err != nil {
				return err
			}
		}
		out := []relockedJSON{}
		for _, ref := range given {
			name, version, _ := strings.Cut(ref, "@")
			changed, err := d.Relock(name, version)
			if err != nil {
				return installedHint(err)
			}
			for _, r := range changed {
				out = append(out, relockedJSON{r.Name, r.Version, r.Platform, optional(r.Before), r.After, r.Manifest})
			}
		}
		if *asJSON {
			return a.printJSON(out)
		}
		for _, r := range out {
			a.note("%s %s %s: %s, was %s", r.Name, r.Version, r.Platform, r.After, orText(deref(r.Before), "not in the lock"))
		}
		if len(out) == 0 {
			a.note("the lock says what is installed")
		}
		return nil
	}
	return c
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// verifiedJSON is one element of what `plugin verify-lock --json` prints.
type verifiedJSON struct {
	Name     string  `json:"name"`
	Version  string  `json:"version"`
	Current  bool    `json:"current"`
	OK       bool    `json:"ok"`
	Problem  *string `json:"problem"`
	Expected *string `json:"expected"`
	Found    *string `json:"found"`
	Accept   *string `json:"accept"` // the command that accepts what was found
}

func (a *app) pluginVerifyLockCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify-lock",
		Short: "Compare the installed plugins with the lock",
		Long: `Compare every file of the installed plugins with the lock, and what they declare with what
was approved. Of each difference it says what was expected, what was found, and the command
that accepts it. The exit code is 1 when there is one. A version that is not current may
lack its files.

--json prints an array of {"name", "version", "current", "ok", "problem", "expected", "found",
"accept"}.`,
		Example: `  tasker plugin verify-lock
  tasker plugin verify-lock --json | jq '.[] | select(.ok | not)'`,
		Args: args(0, 0),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		_, d, err := a.depot(c)
		if err != nil {
			return err
		}
		found, err := d.Verify()
		if err != nil {
			return err
		}
		out := make([]verifiedJSON, 0, len(found))
		failed := false
		for i := range found {
			v := a.newVerifiedJSON(&found[i])
			failed = failed || !v.OK
			out = append(out, v)
		}
		if *asJSON {
			err = a.printJSON(out)
		} else {
			a.printVerified(out)
		}
		if err == nil && failed {
			err = exit(exitFailed)
		}
		return err
	}
	return c
}

func (a *app) newVerifiedJSON(f *host.PluginFinding) verifiedJSON {
	absent := f.Absent && !f.Current
	v := verifiedJSON{Name: f.Name, Version: f.Version, Current: f.Current, OK: f.Err == nil || absent}
	if f.Err == nil {
		return v
	}
	v.Problem = textOf(f.Err)
	if m, ok := errors.AsType[*host.MismatchError](f.Err); ok {
		v.Problem, v.Expected, v.Found, v.Accept = &m.What, &m.Expected, &m.Found, optional(a.remedy(m.Accept))
	}
	return v
}

func (a *app) printVerified(all []verifiedJSON) {
	if len(all) == 0 {
		a.note("no plugins are installed")
	}
	for _, v := range all {
		switch {
		case v.Problem == nil:
			a.out.printf("%s %s: as in the lock\n", v.Name, v.Version)
		case v.OK:
			a.out.printf("%s %s: not here, and not current\n", v.Name, v.Version)
		default:
			a.out.printf("%s %s: differs: %s\n", v.Name, v.Version, printable(*v.Problem, false))
			if v.Expected != nil {
				a.out.printf("  expected %s\n  found    %s\n  next     %s\n", printable(*v.Expected, false), printable(*v.Found, false), printable(deref(v.Accept), false))
			}
		}
	}
}
