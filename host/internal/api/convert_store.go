package api

import (
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

func deletedToWire(d store.Deleted) *hostv1.Deleted {
	return &hostv1.Deleted{Tasks: d.Tasks, Records: d.Records}
}

func deletedFromWire(d *hostv1.Deleted) store.Deleted {
	return store.Deleted{Tasks: d.GetTasks(), Records: d.GetRecords()}
}

func sizesToWire(s *store.Sizes) *hostv1.GetStoreSizesResponse {
	return &hostv1.GetStoreSizesResponse{
		FileBytes: s.FileBytes, PageBytes: int64(s.PageBytes), Pages: s.Pages, FreePages: s.FreePages, Unfinished: s.Unfinished,
		Buckets: each(s.Buckets, func(b store.BucketSize) *hostv1.BucketSize {
			return &hostv1.BucketSize{Name: b.Name, Keys: int64(b.Keys), Bytes: b.Bytes, Pages: b.Pages}
		}),
		Finished: each(s.Finished, func(t store.TaskSize) *hostv1.TaskSize {
			return &hostv1.TaskSize{
				Namespace: t.Namespace, Template: t.Template, Status: string(t.Status), Tasks: t.Tasks, Sampled: t.Sampled,
				Bytes: t.Bytes, Oldest: timeToWire(t.Oldest),
			}
		}),
	}
}

func sizesFromWire(s *hostv1.GetStoreSizesResponse) *store.Sizes {
	return &store.Sizes{
		FileBytes: s.GetFileBytes(), PageBytes: int(s.GetPageBytes()), Pages: s.GetPages(), FreePages: s.GetFreePages(),
		Unfinished: s.GetUnfinished(),
		Buckets: each(s.GetBuckets(), func(b *hostv1.BucketSize) store.BucketSize {
			return store.BucketSize{Name: b.GetName(), Keys: int(b.GetKeys()), Bytes: b.GetBytes(), Pages: b.GetPages()}
		}),
		Finished: each(s.GetFinished(), func(t *hostv1.TaskSize) store.TaskSize {
			return store.TaskSize{
				Namespace: t.GetNamespace(), Template: t.GetTemplate(), Status: task.Status(t.GetStatus()), Tasks: t.GetTasks(),
				Sampled: t.GetSampled(), Bytes: t.GetBytes(), Oldest: timeFromWire(t.GetOldest()),
			}
		}),
	}
}

func prunedToWire(p *Pruned) *hostv1.PruneStoreResponse {
	return &hostv1.PruneStoreResponse{
		Records: p.Records, Next: timeToWire(p.Next),
		Groups: each(p.Groups, func(g PrunedGroup) *hostv1.Pruned {
			return &hostv1.Pruned{Namespace: g.Namespace, Template: g.Template, Status: string(g.Status), Tasks: g.Tasks}
		}),
	}
}

func prunedFromWire(p *hostv1.PruneStoreResponse) *Pruned {
	return &Pruned{
		Records: p.GetRecords(), Next: timeFromWire(p.GetNext()),
		Groups: each(p.GetGroups(), func(g *hostv1.Pruned) PrunedGroup {
			return PrunedGroup{Namespace: g.GetNamespace(), Template: g.GetTemplate(), Status: task.Status(g.GetStatus()), Tasks: g.GetTasks()}
		}),
	}
}
