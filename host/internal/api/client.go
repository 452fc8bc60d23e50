package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// Client is a [Service] that asks a host in another process.
type Client struct {
	conn   *grpc.ClientConn
	rpc    hostv1.ControlServiceClient
	debug  hostv1.DebugServiceClient
	record Record
}

var _ Service = (*Client)(nil)

// Dial connects to the host that runs in the home. Error: [ErrNoHost], also when only
// the record of a killed host is left.
func Dial(ctx context.Context, home string) (*Client, error) {
	r, err := ReadRecord(home)
	if err != nil {
		return nil, err
	}
	return dial(ctx, home, r, r.Secret)
}

// DialToken connects to a host at its socket with a token of it, for a program that was
// started by `tasker NAME` and knows no more. Error: [ErrNoHost].
func DialToken(ctx context.Context, home, socket, token string) (*Client, error) {
	return dial(ctx, home, Record{Socket: socket}, token)
}

func dial(ctx context.Context, home string, r Record, token string) (*Client, error) {
	if err := probe(ctx, home, r); err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///tasker",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", r.Socket)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the directory is private to the user
		grpc.WithPerRPCCredentials(bearer(token)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the host: %w", err)
	}
	return &Client{conn: conn, rpc: hostv1.NewControlServiceClient(conn), debug: hostv1.NewDebugServiceClient(conn), record: r}, nil
}

// Record returns what the host wrote about itself.
func (c *Client) Record() Record { return c.record }

// Close ends the connection.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close the connection to the host: %w", err)
	}
	return nil
}

// CreateTask implements [Service].
func (c *Client) CreateTask(ctx context.Context, r task.Request) (task.Created, error) {
	out, err := c.rpc.CreateTask(ctx, &hostv1.CreateTaskRequest{Task: requestToWire(r)})
	if err != nil {
		return task.Created{}, fromWire(err)
	}
	return task.Created{ID: task.ID(out.GetId()), Duplicate: out.GetDuplicate(), Warnings: out.GetWarnings()}, nil
}

// UnfinishedTask implements [Service].
func (c *Client) UnfinishedTask(ctx context.Context, r task.Request) (task.ID, error) {
	out, err := c.rpc.FindUnfinishedTask(ctx, &hostv1.FindUnfinishedTaskRequest{Task: requestToWire(r)})
	return task.ID(out.GetId()), fromWire(err)
}

// Task implements [Service].
func (c *Client) Task(ctx context.Context, id string) (*task.View, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.GetTask(ctx, &hostv1.GetTaskRequest{Id: id})
	if err != nil {
		return nil, fromWire(err)
	}
	var parts viewParts
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errParts
		}
		if err != nil {
			return nil, fromWire(err)
		}
		if v, err := parts.add(m.GetPart()); v != nil || err != nil {
			return v, err
		}
	}
}

// ListTasks implements [Service].
func (c *Client) ListTasks(ctx context.Context, f store.Filter, p store.Page) (page []store.Summary, next task.ID, err error) {
	out, err := c.rpc.ListTasks(ctx, filterToWire(f, p))
	if err != nil {
		return nil, "", fromWire(err)
	}
	return each(out.GetTasks(), summaryFromWire), task.ID(out.GetNext()), nil
}

// WatchTask implements [Service].
func (c *Client) WatchTask(ctx context.Context, id string, fn func(*task.View) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.WatchTask(ctx, &hostv1.WatchTaskRequest{Id: id})
	if err != nil {
		return fromWire(err)
	}
	var parts viewParts
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fromWire(err)
		}
		v, err := parts.add(m.GetPart())
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}

// CancelTask implements [Service].
func (c *Client) CancelTask(ctx context.Context, id string, op task.Operation) error {
	_, err := c.rpc.CancelTask(ctx, &hostv1.CancelTaskRequest{Operation: operationToWire(id, op)})
	return fromWire(err)
}

// PauseTask implements [Service].
func (c *Client) PauseTask(ctx context.Context, id string, op task.Operation) error {
	_, err := c.rpc.PauseTask(ctx, &hostv1.PauseTaskRequest{Operation: operationToWire(id, op)})
	return fromWire(err)
}

// ResumeTask implements [Service].
func (c *Client) ResumeTask(ctx context.Context, id string, op task.Operation) error {
	_, err := c.rpc.ResumeTask(ctx, &hostv1.ResumeTaskRequest{Operation: operationToWire(id, op)})
	return fromWire(err)
}

// RetryTask implements [Service].
func (c *Client) RetryTask(ctx context.Context, id string, op task.Operation) error {
	_, err := c.rpc.RetryTask(ctx, &hostv1.RetryTaskRequest{Operation: operationToWire(id, op)})
	return fromWire(err)
}

// ResolveTask implements [Service].
func (c *Client) ResolveTask(ctx context.Context, id string, op task.Operation) error {
	_, err := c.rpc.ResolveTask(ctx, &hostv1.ResolveTaskRequest{Operation: operationToWire(id, op)})
	return fromWire(err)
}

// Templates implements [Service].
func (c *Client) Templates(ctx context.Context) ([]TemplateInfo, error) {
	out, err := c.rpc.ListTemplates(ctx, &hostv1.ListTemplatesRequest{})
	return each(out.GetTemplates(), templateFromWire), fromWire(err)
}

// Template implements [Service].
func (c *Client) Template(ctx context.Context, ref string) (*TemplateInfo, error) {
	out, err := c.rpc.GetTemplate(ctx, &hostv1.GetTemplateRequest{Ref: ref})
	if err != nil {
		return nil, fromWire(err)
	}
	t := templateFromWire(out.GetTemplate())
	return &t, nil
}

// Plugins implements [Service].
func (c *Client) Plugins(ctx context.Context) ([]PluginInfo, error) {
	out, err := c.rpc.ListPlugins(ctx, &hostv1.ListPluginsRequest{})
	return each(out.GetPlugins(), pluginFromWire), fromWire(err)
}

// PluginLogs implements [Service].
func (c *Client) PluginLogs(ctx context.Context, plugin string, lines int) ([]string, error) {
	out, err := c.rpc.ListPluginLogs(ctx, &hostv1.ListPluginLogsRequest{Plugin: plugin, Lines: count(lines)})
	return out.GetLines(), fromWire(err)
}

// Crashes implements [Service].
func (c *Client) Crashes(ctx context.Context, plugin string) ([]store.Crash, error) {
	out, err := c.rpc.ListCrashes(ctx, &hostv1.ListCrashesRequest{Plugin: plugin})
	return each(out.GetCrashes(), crashFromWire), fromWire(err)
}

// ResumePlugin implements [Service].
func (c *Client) ResumePlugin(ctx context.Context, plugin string) error {
	_, err := c.rpc.ResumePlugin(ctx, &hostv1.ResumePluginRequest{Plugin: plugin})
	return fromWire(err)
}

// Health implements [Service].
func (c *Client) Health(ctx context.Context) (*Health, error) {
	out, err := c.rpc.GetHealth(ctx, &hostv1.GetHealthRequest{})
	if err != nil {
		return nil, fromWire(err)
	}
	return healthFromWire(out), nil
}

// StoreSizes implements [Service].
func (c *Client) StoreSizes(ctx context.Context, samples int) (*store.Sizes, error) {
	out, err := c.rpc.GetStoreSizes(ctx, &hostv1.GetStoreSizesRequest{Samples: uint32(max(samples, 0))}) //nolint:gosec // a few
	if err != nil {
		return nil, fromWire(err)
	}
	return sizesFromWire(out), nil
}

// PruneStore implements [Service].
func (c *Client) PruneStore(ctx context.Context, dryRun bool) (*Pruned, error) {
	out, err := c.rpc.PruneStore(ctx, &hostv1.PruneStoreRequest{DryRun: dryRun})
	if err != nil {
		return nil, fromWire(err)
	}
	return prunedFromWire(out), nil
}

// DeleteTasks implements [Service].
func (c *Client) DeleteTasks(ctx context.Context, ids []task.ID) (store.Deleted, error) {
	out, err := c.rpc.DeleteTasks(ctx, &hostv1.DeleteTasksRequest{Ids: texts[string](ids)})
	if err != nil {
		return store.Deleted{}, fromWire(err)
	}
	return deletedFromWire(out.GetDeleted()), nil
}

// StoreStats implements [Service].
func (c *Client) StoreStats(ctx context.Context) (*store.Stats, error) {
	out, err := c.rpc.GetStoreStats(ctx, &hostv1.GetStoreStatsRequest{})
	if err != nil {
		return nil, fromWire(err)
	}
	return statsFromWire(out), nil
}

// Backup implements [Service].
func (c *Client) Backup(ctx context.Context, path string) (*BackupInfo, error) {
	out, err := c.rpc.BackupStore(ctx, &hostv1.BackupStoreRequest{Path: path})
	if err != nil {
		return nil, fromWire(err)
	}
	return backupFromWire(out), nil
}
