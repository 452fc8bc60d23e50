package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// prunedJSON is what `store prune --json` prints.
type prunedJSON struct {
	DryRun  bool              `json:"dry_run"`
	Tasks   uint64            `json:"tasks"`
	Records uint64            `json:"records"` // removed
	Next    *string           `json:"next"`
	Groups  []prunedGroupJSON `json:"groups"`
}

type prunedGroupJSON struct {
	Template string `json:"template"`
	Status   string `json:"status"`
	Tasks    uint64 `json:"tasks"`
}

func (a *app) storePruneCommand() *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove the finished tasks that retention lets go, now",
		Long: `Remove the finished tasks that the rules of retention let go, now, which the host does by
itself whenever one becomes due. With --dry-run nothing is removed: it only says what
would be, for which no host need run.

--json prints {"dry_run", "tasks", "records", "next", "groups"}.`,
		Example: `  tasker store prune --dry-run`,
		Args:    args(0, 0),
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		prune := func(ctx context.Context, s host.Service) error {
			p, err := s.PruneStore(ctx, dryRun)
			if err != nil {
				return err
			}
			out := newPrunedJSON(p, dryRun)
			if *asJSON {
				return a.printJSON(out)
			}
			a.printPruned(p, out)
			return nil
		}
		if dryRun {
			return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error { return prune(ctx, s) })
		}
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error { return prune(ctx, client) })
	}
	return c
}

func newPrunedJSON(p *host.Pruned, dryRun bool) prunedJSON {
	out := prunedJSON{DryRun: dryRun, Records: p.Records, Next: stamp(p.Next), Groups: []prunedGroupJSON{}}
	for _, g := range p.Groups {
		name := g.Namespace + "/" + g.Template
		if g.Template == "" {
			name = "" // its deletion was begun before
		}
		out.Groups = append(out.Groups, prunedGroupJSON{name, string(g.Status), g.Tasks})
		out.Tasks += g.Tasks
	}
	return out
}

func (a *app) printPruned(p *host.Pruned, out prunedJSON) {
	if out.Tasks > 0 {
		t := table{head: []string{"TEMPLATE", "STATUS", "TASKS"}}
		for _, g := range out.Groups {
			t.add(g.Template, g.Status, number(g.Tasks))
		}
		t.print(a.out)
	}
	if out.DryRun {
		a.note("%s would be removed", plural(out.Tasks, "task"))
	} else {
		a.note("removed %s", plural(out.Tasks, "task"))
	}
	if !p.Next.IsZero() {
		a.note("the next is due at %s or later", p.Next.UTC().Format(time.RFC3339))
	}
}
