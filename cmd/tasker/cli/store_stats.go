package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// statsJSON is what `store stats --json` prints.
type statsJSON struct {
	Path          string                    `json:"path"`
	FileBytes     int64                     `json:"file_bytes"`
	SchemaVersion int                       `json:"schema_version"`
	HostID        string                    `json:"host_id"`
	Epoch         uint64                    `json:"epoch"`
	LastSeq       uint64                    `json:"last_seq"`
	Commits       uint64                    `json:"commits"`     // since it was opened
	CommitTime    string                    `json:"commit_time"` // of all transactions together, such as "1.2s"
	WriteSets     uint64                    `json:"write_sets"`  // since it was opened
	Tasks         map[task.Status]uint64    `json:"tasks"`
	Buckets       []bucketJSON              `json:"buckets"`
	Operations    map[string]operationsJSON `json:"operations"`
}

type bucketJSON struct {
	Name  string `json:"name"`
	Keys  int    `json:"keys"`
	Bytes int64  `json:"bytes"`
}

type operationsJSON struct {
	Calls uint64 `json:"calls"`
	Reads uint64 `json:"reads"`
	Puts  uint64 `json:"puts"`
}

func (a *app) storeStatsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "stats",
		Short: "Say how much the store holds",
		Long: `Say how much the store holds, by kind of record, and what its operations touched since
it was opened.

--json prints {"path", "file_bytes", "schema_version", "host_id", "epoch", "last_seq",
"commits", "commit_time", "write_sets", "tasks", "buckets", "operations"}.`,
		Example: "  tasker store stats",
		Args:    args(0, 0),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			st, err := s.StoreStats(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(newStatsJSON(st))
			}
			a.printStats(st)
			return nil
		})
	}
	return c
}

func newStatsJSON(st *host.StoreStats) statsJSON {
	out := statsJSON{
		Path: st.Path, FileBytes: st.FileBytes, SchemaVersion: st.SchemaVersion, HostID: st.HostID, Epoch: st.Epoch,
		LastSeq: st.LastSeq, Commits: st.Commits, CommitTime: st.CommitTime.String(), WriteSets: st.WriteSets, Tasks: st.Tasks, Buckets: []bucketJSON{},
		Operations: make(map[string]operationsJSON, len(st.Operations)),
	}
	for _, b := range st.Buckets {
		out.Buckets = append(out.Buckets, bucketJSON{b.Name, b.Keys, b.Bytes})
	}
	for name, o := range st.Operations {
		out.Operations[name] = operationsJSON{o.Calls, o.Reads, o.Puts}
	}
	return out
}

func (a *app) printStats(st *host.StoreStats) {
	a.out.printf("%s: %s, schema %d, epoch %d, last event %s\n", st.Path, size(st.FileBytes), st.SchemaVersion, st.Epoch, number(st.LastSeq))
	a.out.printf("tasks: %s\n\n", counts(st.Tasks))
	t := table{head: []string{"RECORDS", "NUMBER", "SIZE"}}
	for _, b := range st.Buckets {
		t.add(b.Name, number(b.Keys), size(b.Bytes))
	}
	t.print(a.out)
	a.out.printf("\n")
	t = table{head: []string{"OPERATION", "CALLS", "READS", "PUTS"}}
	for _, name := range slices.Sorted(maps.Keys(st.Operations)) {
		o := st.Operations[name]
		if o.Calls > 0 {
			t.add(name, number(o.Calls), number(o.Reads), number(o.Puts))
		}
	}
	t.print(a.out)
}
