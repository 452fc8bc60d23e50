package cli

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host/task"
)

// noteHome remembers the home that was named on the command line: what is proposed to be
// typed next must name it, too.
func (a *app) noteHome(c *cobra.Command, _ []string) {
	if f := c.Flags().Lookup("home"); f != nil && f.Changed {
		a.home = f.Value.String()
	}
}

// commandWords finds the commands in a text that look into a home.
func commandWords() *regexp.Regexp {
	return regexp.MustCompile(`\btasker (run|serve|task|template|plugin|event|subscriber|store|health)\b`)
}

// remedy is a proposal for the home of this call: every command in it names the home,
// when this one had to.
func (a *app) remedy(text string) string {
	if a.home == "" || strings.Contains(text, "--home") || strings.Contains(text, "--help") {
		return text
	}
	home := strings.ReplaceAll(shellWord(a.home), "$", "$$")
	return commandWords().ReplaceAllString(text, "tasker --home "+home+" $1")
}

// address gives the proposals of a view the home of this call.
func (a *app) address(v *task.View) {
	v.Action = a.remedy(v.Action)
	for i := range v.Steps {
		r := v.Steps[i].Reason
		if r == nil || r.Remedy == "" {
			continue
		}
		addressed := *r // it may be shared by steps
		addressed.Remedy = a.remedy(r.Remedy)
		v.Steps[i].Reason = &addressed
	}
}
