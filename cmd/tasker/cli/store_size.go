package cli

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// sizeSamples is how many tasks of each template and status are read.
const sizeSamples = 100

// sizesJSON is what `store size --json` prints.
type sizesJSON struct {
	FileBytes  int64            `json:"file_bytes"`
	PageBytes  int              `json:"page_bytes"`
	Pages      int64            `json:"pages"`
	FreePages  int64            `json:"free_pages"`
	Buckets    []bucketSizeJSON `json:"buckets"`
	Unfinished uint64           `json:"unfinished"`
	Finished   []taskSizeJSON   `json:"finished"`
	Compact    *string          `json:"compact"` // the command that gives free pages back, when it pays
}

type bucketSizeJSON struct {
	Name  string `json:"name"`
	Keys  int    `json:"keys"`
	Bytes int64  `json:"bytes"`
	Pages int64  `json:"pages"`
}

type taskSizeJSON struct {
	Template string  `json:"template"`
	Status   string  `json:"status"`
	Tasks    uint64  `json:"tasks"`
	Sampled  uint64  `json:"sampled"`
	Bytes    int64   `json:"bytes"`
	Oldest   *string `json:"oldest"`
	Due      *uint64 `json:"due"` // tasks that retention lets go now; null without a host
}

func (a *app) storeSizeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "size",
		Short: "Say what takes the room of the store",
		Long: `Say what takes the room of the store: by kind of record, by template and status of finished
tasks (a sample of each is read, the others are taken to be like it; their events are not
counted), what is free, and what retention would remove now. It reads all of the file.

--json prints {"file_bytes", "page_bytes", "pages", "free_pages", "buckets", "unfinished",
"finished", "compact"}.`,
		Example: "  tasker store size",
		Args:    args(0, 0),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			sizes, err := s.StoreSizes(ctx, sizeSamples)
			if err != nil {
				return err
			}
			due, err := s.PruneStore(ctx, true)
			if err != nil && !errors.Is(err, host.ErrNoHost) {
				return err
			}
			out := a.newSizesJSON(sizes, due)
			if *asJSON {
				return a.printJSON(out)
			}
			a.printSizes(&out)
			return nil
		})
	}
	return c
}

// newSizesJSON makes the answer; due is nil without a host.
func (a *app) newSizesJSON(s *host.StoreSizes, due *host.Pruned) sizesJSON {
	out := sizesJSON{
		FileBytes: s.FileBytes, PageBytes: s.PageBytes, Pages: s.Pages, FreePages: s.FreePages, Unfinished: s.Unfinished,
		Buckets: []bucketSizeJSON{}, Finished: []taskSizeJSON{},
	}
	for _, b := range s.Buckets {
		out.Buckets = append(out.Buckets, bucketSizeJSON{b.Name, b.Keys, b.Bytes, b.Pages})
	}
	for _, t := range s.Finished {
		line := taskSizeJSON{t.Namespace + "/" + t.Template, string(t.Status), t.Tasks, t.Sampled, t.Bytes, stamp(t.Oldest), nil}
		if due != nil {
			line.Due = new(uint64)
			for _, g := range due.Groups {
				if g.Namespace == t.Namespace && g.Template == t.Template && g.Status == t.Status {
					*line.Due += g.Tasks
				}
			}
		}
		out.Finished = append(out.Finished, line)
	}
	if s.FreePages > s.Pages/2 {
		command := a.remedy("tasker store compact")
		out.Compact = &command
	}
	return out
}

func (a *app) printSizes(s *sizesJSON) {
	free := s.FreePages * int64(s.PageBytes)
	a.out.printf("%s: %s pages of %s, of which %s (%s) are free and used again before the file grows\n\n",
		size(s.FileBytes), number(s.Pages), size(int64(s.PageBytes)), number(s.FreePages), size(free))
	slices.SortStableFunc(s.Buckets, func(x, y bucketSizeJSON) int { return cmp.Compare(y.Pages, x.Pages) })
	t := table{head: []string{"RECORDS", "NUMBER", "SIZE", "PAGES"}}
	for _, b := range s.Buckets {
		t.add(b.Name, number(b.Keys), size(b.Bytes), number(b.Pages))
	}
	t.print(a.out)
	a.out.printf("\n%s\n", plural(s.Unfinished, "unfinished task"))
	if len(s.Finished) > 0 {
		slices.SortStableFunc(s.Finished, func(x, y taskSizeJSON) int { return cmp.Compare(y.Bytes, x.Bytes) })
		t = table{head: []string{"TEMPLATE", "STATUS", "TASKS", "SIZE", "DUE"}}
		for _, f := range s.Finished {
			due := "-"
			if f.Due != nil {
				due = number(*f.Due)
			}
			t.add(f.Template, f.Status, number(f.Tasks), size(f.Bytes), due)
		}
		t.print(a.out)
	}
	if s.Compact != nil {
		a.note("more than half of the file is free; to give it back, stop the host and run: %s", *s.Compact)
	}
}
