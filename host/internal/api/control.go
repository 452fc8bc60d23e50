package api

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// embeddedError refuses a creation from elsewhere and says what to do instead.
type embeddedError struct{}

func (embeddedError) Error() string {
	return fmt.Sprintf("%v: it ends with its task", ErrEmbedded)
}
func (embeddedError) Unwrap() error { return ErrEmbedded }
func (embeddedError) Hint() string {
	return "wait for that task, or start a host that stays: tasker serve"
}

// CreateTask implements the RPC.
func (c *control) CreateTask(ctx context.Context, r *hostv1.CreateTaskRequest) (*hostv1.CreateTaskResponse, error) {
	if c.embedded {
		return nil, toWire(embeddedError{})
	}
	created, err := c.service.CreateTask(ctx, requestFromWire(r.GetTask()))
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.CreateTaskResponse{
		Id: string(created.ID), Duplicate: created.Duplicate, Warnings: created.Warnings,
	}, nil
}

// FindUnfinishedTask implements the RPC.
func (c *control) FindUnfinishedTask(ctx context.Context, r *hostv1.FindUnfinishedTaskRequest) (*hostv1.FindUnfinishedTaskResponse, error) {
	id, err := c.service.UnfinishedTask(ctx, requestFromWire(r.GetTask()))
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.FindUnfinishedTaskResponse{Id: string(id)}, nil
}

// GetTask implements the RPC.
func (c *control) GetTask(r *hostv1.GetTaskRequest, stream grpc.ServerStreamingServer[hostv1.GetTaskResponse]) error {
	v, err := c.service.Task(stream.Context(), r.GetId())
	if err != nil {
		return toWire(err)
	}
	return sendParts(v, func(p *hostv1.TaskPart) error {
		return stream.Send(&hostv1.GetTaskResponse{Part: p})
	})
}

// ListTasks implements the RPC.
func (c *control) ListTasks(ctx context.Context, r *hostv1.ListTasksRequest) (*hostv1.ListTasksResponse, error) {
	f, p := filterFromWire(r)
	page, next, err := c.service.ListTasks(ctx, f, p)
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.ListTasksResponse{Tasks: each(page, summaryToWire), More: next != "", Next: string(next)}, nil
}

// WatchTask implements the RPC.
func (c *control) WatchTask(r *hostv1.WatchTaskRequest, stream grpc.ServerStreamingServer[hostv1.WatchTaskResponse]) error {
	ctx, release, explain := c.untilStop(stream.Context())
	defer release()
	ended := false
	err := c.service.WatchTask(ctx, r.GetId(), func(v *task.View) error {
		ended = v.Status.Terminal()
		return sendParts(v, func(p *hostv1.TaskPart) error {
			return stream.Send(&hostv1.WatchTaskResponse{Part: p})
		})
	})
	if err == nil && ended {
		return nil
	}
	return explain(err)
}

// operate runs one operator's wish.
func operate(ctx context.Context, op *hostv1.Operation, do func(context.Context, string, task.Operation) error) error {
	return toWire(do(ctx, op.GetId(), operationFromWire(op)))
}

// CancelTask implements the RPC.
func (c *control) CancelTask(ctx context.Context, r *hostv1.CancelTaskRequest) (*hostv1.CancelTaskResponse, error) {
	return &hostv1.CancelTaskResponse{}, operate(ctx, r.GetOperation(), c.service.CancelTask)
}

// PauseTask implements the RPC.
func (c *control) PauseTask(ctx context.Context, r *hostv1.PauseTaskRequest) (*hostv1.PauseTaskResponse, error) {
	return &hostv1.PauseTaskResponse{}, operate(ctx, r.GetOperation(), c.service.PauseTask)
}

// ResumeTask implements the RPC.
func (c *control) ResumeTask(ctx context.Context, r *hostv1.ResumeTaskRequest) (*hostv1.ResumeTaskResponse, error) {
	return &hostv1.ResumeTaskResponse{}, operate(ctx, r.GetOperation(), c.service.ResumeTask)
}

// RetryTask implements the RPC.
func (c *control) RetryTask(ctx context.Context, r *hostv1.RetryTaskRequest) (*hostv1.RetryTaskResponse, error) {
	return &hostv1.RetryTaskResponse{}, operate(ctx, r.GetOperation(), c.service.RetryTask)
}

// ResolveTask implements the RPC.
func (c *control) ResolveTask(ctx context.Context, r *hostv1.ResolveTaskRequest) (*hostv1.ResolveTaskResponse, error) {
	return &hostv1.ResolveTaskResponse{}, operate(ctx, r.GetOperation(), c.service.ResolveTask)
}

// ListTemplates implements the RPC.
func (c *control) ListTemplates(ctx context.Context, _ *hostv1.ListTemplatesRequest) (*hostv1.ListTemplatesResponse, error) {
	list, err := c.service.Templates(ctx)
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.ListTemplatesResponse{Templates: each(list, templateToWire)}, nil
}

// GetTemplate implements the RPC.
func (c *control) GetTemplate(ctx context.Context, r *hostv1.GetTemplateRequest) (*hostv1.GetTemplateResponse, error) {
	t, err := c.service.Template(ctx, r.GetRef())
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.GetTemplateResponse{Template: templateToWire(*t)}, nil
}

// ListPlugins implements the RPC.
func (c *control) ListPlugins(ctx context.Context, _ *hostv1.ListPluginsRequest) (*hostv1.ListPluginsResponse, error) {
	list, err := c.service.Plugins(ctx)
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.ListPluginsResponse{Plugins: each(list, pluginToWire)}, nil
}

// ListPluginLogs implements the RPC.
func (c *control) ListPluginLogs(ctx context.Context, r *hostv1.ListPluginLogsRequest) (*hostv1.ListPluginLogsResponse, error) {
	lines, err := c.service.PluginLogs(ctx, r.GetPlugin(), int(r.GetLines()))
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.ListPluginLogsResponse{Lines: lines}, nil
}

// ListCrashes implements the RPC.
func (c *control) ListCrashes(ctx context.Context, r *hostv1.ListCrashesRequest) (*hostv1.ListCrashesResponse, error) {
	list, err := c.service.Crashes(ctx, r.GetPlugin())
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.ListCrashesResponse{Crashes: each(list, crashToWire)}, nil
}

// ResumePlugin implements the RPC.
func (c *control) ResumePlugin(ctx context.Context, r *hostv1.ResumePluginRequest) (*hostv1.ResumePluginResponse, error) {
	return &hostv1.ResumePluginResponse{}, toWire(c.service.ResumePlugin(ctx, r.GetPlugin()))
}

// GetHealth implements the RPC.
func (c *control) GetHealth(ctx context.Context, _ *hostv1.GetHealthRequest) (*hostv1.GetHealthResponse, error) {
	h, err := c.service.Health(ctx)
	if err != nil {
		return nil, toWire(err)
	}
	return healthToWire(h), nil
}

// GetStoreStats implements the RPC.
func (c *control) GetStoreStats(ctx context.Context, _ *hostv1.GetStoreStatsRequest) (*hostv1.GetStoreStatsResponse, error) {
	s, err := c.service.StoreStats(ctx)
	if err != nil {
		return nil, toWire(err)
	}
	return statsToWire(s), nil
}

// GetStoreSizes implements the RPC.
func (c *control) GetStoreSizes(ctx context.Context, r *hostv1.GetStoreSizesRequest) (*hostv1.GetStoreSizesResponse, error) {
	s, err := c.service.StoreSizes(ctx, int(r.GetSamples()))
	if err != nil {
		return nil, toWire(err)
	}
	return sizesToWire(s), nil
}

// PruneStore implements the RPC.
func (c *control) PruneStore(ctx context.Context, r *hostv1.PruneStoreRequest) (*hostv1.PruneStoreResponse, error) {
	p, err := c.service.PruneStore(ctx, r.GetDryRun())
	if err != nil {
		return nil, toWire(err)
	}
	return prunedToWire(p), nil
}

// DeleteTasks implements the RPC.
func (c *control) DeleteTasks(ctx context.Context, r *hostv1.DeleteTasksRequest) (*hostv1.DeleteTasksResponse, error) {
	d, err := c.service.DeleteTasks(ctx, texts[task.ID](r.GetIds()))
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.DeleteTasksResponse{Deleted: deletedToWire(d)}, nil
}

// BackupStore implements the RPC.
func (c *control) BackupStore(ctx context.Context, r *hostv1.BackupStoreRequest) (*hostv1.BackupStoreResponse, error) {
	b, err := c.service.Backup(ctx, r.GetPath())
	if err != nil {
		return nil, toWire(err)
	}
	return backupToWire(b), nil
}
