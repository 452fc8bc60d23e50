package api

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// Everything that crosses the socket is converted in this file, convert_task.go and
// convert_event.go, in pairs: xToWire and xFromWire. Zero times and durations are unset fields.

func timeToWire(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromWire(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func durationToWire(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// rawJSON keeps "no document" nil on both sides.
func rawJSON(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return b
}

// texts converts between slices of string types.
func texts[To, From ~string](in []From) []To {
	if len(in) == 0 {
		return nil
	}
	out := make([]To, len(in))
	for i, s := range in {
		out[i] = To(s)
	}
	return out
}

// each converts a slice.
func each[From, To any](in []From, f func(From) To) []To {
	if len(in) == 0 {
		return nil
	}
	out := make([]To, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

func requestToWire(r task.Request) *hostv1.TaskRequest {
	return &hostv1.TaskRequest{
		Template:        r.Template,
		Source:          r.Source,
		SourceName:      r.SourceName,
		Environment:     r.Environment,
		Input:           r.Input,
		Initiator:       r.Initiator,
		SourceSystem:    r.SourceSystem,
		Reason:          r.Reason,
		Tags:            r.Tags,
		Priority:        r.Priority,
		CorrelationId:   r.CorrelationID,
		IdempotencyKey:  r.IdempotencyKey,
		KeyTtl:          durationToWire(r.KeyTTL),
		Bypass:          texts[string](r.Bypass),
		Deadline:        durationToWire(r.Deadline),
		RequireHandlers: r.RequireHandlers,
		Traceparent:     r.Traceparent,
		Tracestate:      r.Tracestate,
	}
}

func requestFromWire(r *hostv1.TaskRequest) task.Request {
	return task.Request{
		Template:        r.GetTemplate(),
		Source:          r.GetSource(),
		SourceName:      r.GetSourceName(),
		Environment:     r.GetEnvironment(),
		Input:           rawJSON(r.GetInput()),
		Initiator:       r.GetInitiator(),
		SourceSystem:    r.GetSourceSystem(),
		Reason:          r.GetReason(),
		Tags:            r.GetTags(),
		Priority:        r.GetPriority(),
		CorrelationID:   r.GetCorrelationId(),
		IdempotencyKey:  r.GetIdempotencyKey(),
		KeyTTL:          r.GetKeyTtl().AsDuration(),
		Bypass:          texts[task.StepName](r.GetBypass()),
		Deadline:        r.GetDeadline().AsDuration(),
		RequireHandlers: r.GetRequireHandlers(),
		Traceparent:     r.GetTraceparent(),
		Tracestate:      r.GetTracestate(),
	}
}

func operationToWire(id string, op task.Operation) *hostv1.Operation {
	return &hostv1.Operation{Id: id, Step: string(op.Step), By: op.By, Reason: op.Reason, Results: op.Results}
}

func operationFromWire(op *hostv1.Operation) task.Operation {
	return task.Operation{
		Step: task.StepName(op.GetStep()), By: op.GetBy(), Reason: op.GetReason(), Results: rawJSON(op.GetResults()),
	}
}

func filterToWire(f store.Filter, p store.Page) *hostv1.ListTasksRequest {
	return &hostv1.ListTasksRequest{
		Statuses:      texts[string](f.Statuses),
		Namespace:     f.Namespace,
		Template:      f.Template,
		Version:       f.Version,
		Tag:           f.Tag,
		CorrelationId: f.CorrelationID,
		CreatedFrom:   timeToWire(f.CreatedFrom),
		CreatedTo:     timeToWire(f.CreatedTo),
		OldestFirst:   f.OldestFirst,
		After:         string(p.After),
		Limit:         uint32(max(p.Limit, 0)), //nolint:gosec // a page is at most store.MaxPage long
	}
}

func filterFromWire(r *hostv1.ListTasksRequest) (store.Filter, store.Page) {
	return store.Filter{
		Statuses:      texts[task.Status](r.GetStatuses()),
		Namespace:     r.GetNamespace(),
		Template:      r.GetTemplate(),
		Version:       r.GetVersion(),
		Tag:           r.GetTag(),
		CorrelationID: r.GetCorrelationId(),
		CreatedFrom:   timeFromWire(r.GetCreatedFrom()),
		CreatedTo:     timeFromWire(r.GetCreatedTo()),
		OldestFirst:   r.GetOldestFirst(),
	}, store.Page{After: task.ID(r.GetAfter()), Limit: int(r.GetLimit())}
}

func templateToWire(t TemplateInfo) *hostv1.Template {
	return &hostv1.Template{
		Ref:         refToWire(t.Ref),
		Description: t.Description,
		Path:        t.Path,
		Environment: t.Environment,
		Steps:       uint32(t.Steps), //nolint:gosec // a template has at most 10,000 steps
		Handlers:    t.Handlers,
		InputSchema: t.InputSchema,
		Latest:      t.Latest,
		Source:      t.Source,
		Snapshot:    t.Snapshot,
	}
}

func templateFromWire(t *hostv1.Template) TemplateInfo {
	return TemplateInfo{
		Ref:         refFromWire(t.GetRef()),
		Description: t.GetDescription(),
		Path:        t.GetPath(),
		Environment: t.GetEnvironment(),
		Steps:       int(t.GetSteps()),
		Handlers:    t.GetHandlers(),
		InputSchema: rawJSON(t.GetInputSchema()),
		Latest:      t.GetLatest(),
		Source:      t.GetSource(),
		Snapshot:    t.GetSnapshot(),
	}
}

func pluginToWire(p PluginInfo) *hostv1.Plugin {
	return &hostv1.Plugin{
		Name:          p.Name,
		Version:       p.Version,
		Path:          p.Path,
		State:         string(p.State),
		Cause:         p.Cause,
		Since:         timeToWire(p.Since),
		RetryAt:       timeToWire(p.RetryAt),
		Instance:      p.Instance,
		Pid:           int64(p.PID),
		Restarts:      count(p.Restarts),
		Capacity:      count(p.Capacity),
		InFlight:      count(p.InFlight),
		Leaked:        count(p.Leaked),
		Handlers:      each(p.Handlers, handlerToWire),
		Subscriptions: each(p.Subscriptions, subscriptionToWire),
		Emits:         each(p.Emits, emitToWire),
		Manifest:      p.Manifest,
		Notes:         p.Notes,
		Usage:         usageToWire(p.Usage),
		Finished:      p.Finished,
		Isolation:     isolationToWire(p.Isolation),
		Previous:      p.Previous,
		Upgraded:      p.Upgraded,
		Upgrade:       pluginUpgradeToWire(p.Upgrade),
	}
}

func isolationToWire(i *Isolation) *hostv1.Isolation {
	if i == nil {
		return nil
	}
	return &hostv1.Isolation{
		Profile: i.Profile, Env: i.Env, DataDir: i.DataDir, SocketDir: i.SocketDir, MemoryBytes: uint64(max(i.Memory, 0)),
		Measures: each(i.Measures, func(m Measure) *hostv1.Measure {
			return &hostv1.Measure{Name: m.Name, State: m.State, Detail: m.Detail}
		}),
	}
}

func isolationFromWire(i *hostv1.Isolation) *Isolation {
	if i == nil {
		return nil
	}
	return &Isolation{
		Profile: i.GetProfile(), Env: i.GetEnv(), DataDir: i.GetDataDir(), SocketDir: i.GetSocketDir(), Memory: int64(min(i.GetMemoryBytes(), math.MaxInt64)),
		Measures: each(i.GetMeasures(), func(m *hostv1.Measure) Measure {
			return Measure{Name: m.GetName(), State: m.GetState(), Detail: m.GetDetail()}
		}),
	}
}

func usageToWire(u *PluginUsage) *hostv1.PluginUsage {
	if u == nil {
		return nil
	}
	return &hostv1.PluginUsage{
		MemoryBytes: uint64(max(u.Memory, 0)), CpuTime: durationpb.New(u.CPUTime),
		OpenFiles: count(u.OpenFiles), Threads: count(u.Threads),
	}
}

func usageFromWire(u *hostv1.PluginUsage) *PluginUsage {
	if u == nil {
		return nil
	}
	return &PluginUsage{
		Memory: int64(min(u.GetMemoryBytes(), math.MaxInt64)), CPUTime: u.GetCpuTime().AsDuration(),
		OpenFiles: int(u.GetOpenFiles()), Threads: int(u.GetThreads()),
	}
}

func pluginFromWire(p *hostv1.Plugin) PluginInfo {
	return PluginInfo{
		Name:          p.GetName(),
		Version:       p.GetVersion(),
		Path:          p.GetPath(),
		State:         task.PluginState(p.GetState()),
		Cause:         p.GetCause(),
		Since:         timeFromWire(p.GetSince()),
		RetryAt:       timeFromWire(p.GetRetryAt()),
		Instance:      p.GetInstance(),
		PID:           int(p.GetPid()),
		Restarts:      int(p.GetRestarts()),
		Capacity:      int(p.GetCapacity()),
		InFlight:      int(p.GetInFlight()),
		Leaked:        int(p.GetLeaked()),
		Handlers:      each(p.GetHandlers(), handlerFromWire),
		Subscriptions: each(p.GetSubscriptions(), subscriptionFromWire),
		Emits:         each(p.GetEmits(), emitFromWire),
		Manifest:      rawJSON(p.GetManifest()),
		Notes:         p.GetNotes(),
		Usage:         usageFromWire(p.GetUsage()),
		Finished:      p.GetFinished(),
		Isolation:     isolationFromWire(p.GetIsolation()),
		Previous:      p.GetPrevious(),
		Upgraded:      p.GetUpgraded(),
		Upgrade:       pluginUpgradeFromWire(p.GetUpgrade()),
	}
}

// count makes a wire count of an int; a negative one, which cannot be, is 0.
func count(n int) uint32 {
	return uint32(min(max(n, 0), 1<<31-1))
}

func handlerToWire(h HandlerInfo) *hostv1.Handler {
	return &hostv1.Handler{
		Name:           h.Name,
		Version:        h.Version,
		Description:    h.Description,
		Idempotent:     string(h.Idempotent),
		Timeout:        durationToWire(h.Timeout),
		MaxConcurrency: count(h.MaxConcurrency),
		InputSchema:    h.InputSchema,
		ConfigSchema:   h.ConfigSchema,
		OutputSchema:   h.OutputSchema,
	}
}

func handlerFromWire(h *hostv1.Handler) HandlerInfo {
	return HandlerInfo{
		Name:           h.GetName(),
		Version:        h.GetVersion(),
		Description:    h.GetDescription(),
		Idempotent:     task.Idempotency(h.GetIdempotent()),
		Timeout:        h.GetTimeout().AsDuration(),
		MaxConcurrency: int(h.GetMaxConcurrency()),
		InputSchema:    rawJSON(h.GetInputSchema()),
		ConfigSchema:   rawJSON(h.GetConfigSchema()),
		OutputSchema:   rawJSON(h.GetOutputSchema()),
	}
}

func subscriptionToWire(s SubscriptionInfo) *hostv1.Subscription {
	return &hostv1.Subscription{Name: s.Name, Events: s.Events, Bound: s.Bound}
}

func subscriptionFromWire(s *hostv1.Subscription) SubscriptionInfo {
	return SubscriptionInfo{Name: s.GetName(), Events: s.GetEvents(), Bound: s.GetBound()}
}

func emitToWire(e EmitInfo) *hostv1.Emit {
	return &hostv1.Emit{Name: e.Name, Version: e.Version, Description: e.Description}
}

func emitFromWire(e *hostv1.Emit) EmitInfo {
	return EmitInfo{Name: e.GetName(), Version: e.GetVersion(), Description: e.GetDescription()}
}

func crashToWire(c store.Crash) *hostv1.Crash {
	return &hostv1.Crash{
		Plugin:   c.Plugin,
		Version:  c.Version,
		Instance: c.Instance,
		At:       timeToWire(c.At),
		Phase:    c.Phase,
		Cause:    c.Cause,
		ExitCode: int32(c.ExitCode), //nolint:gosec // exit codes fit
		Signal:   c.Signal,
		Stderr:   c.Stderr,
		Panic:    c.Panic,
		Attempts: c.Attempts,
	}
}

func crashFromWire(c *hostv1.Crash) store.Crash {
	return store.Crash{
		Plugin:   c.GetPlugin(),
		Version:  c.GetVersion(),
		Instance: c.GetInstance(),
		At:       timeFromWire(c.GetAt()),
		Phase:    c.GetPhase(),
		Cause:    c.GetCause(),
		ExitCode: int(c.GetExitCode()),
		Signal:   c.GetSignal(),
		Stderr:   c.GetStderr(),
		Panic:    c.GetPanic(),
		Attempts: c.GetAttempts(),
	}
}

func healthToWire(h *Health) *hostv1.GetHealthResponse {
	plugins := make(map[string]uint32, len(h.Plugins))
	for state, n := range h.Plugins {
		plugins[string(state)] = count(n)
	}
	return &hostv1.GetHealthResponse{
		Ready:    h.Ready,
		Live:     h.Live,
		Problems: h.Problems,
		Mode:     string(h.Mode),
		Version:  h.Version,
		Pid:      int64(h.PID),
		Home:     h.Home,
		HostId:   h.HostID,
		Since:    timeToWire(h.Since),
		Store: &hostv1.StoreHealth{
			Ok:            h.Store.OK,
			Path:          h.Store.Path,
			SchemaVersion: int64(h.Store.SchemaVersion),
			Epoch:         h.Store.Epoch,
			FileBytes:     h.Store.FileBytes,
			LastSeq:       h.Store.LastSeq,
		},
		Plugins:  plugins,
		Tasks:    countersToWire(h.Tasks),
		Draining: drainingToWire(h.Draining),
	}
}

func healthFromWire(h *hostv1.GetHealthResponse) *Health {
	plugins := make(map[task.PluginState]int, len(h.GetPlugins()))
	for state, n := range h.GetPlugins() {
		plugins[task.PluginState(state)] = int(n)
	}
	st := h.GetStore()
	return &Health{
		Ready:    h.GetReady(),
		Live:     h.GetLive(),
		Problems: h.GetProblems(),
		Mode:     Mode(h.GetMode()),
		Version:  h.GetVersion(),
		PID:      int(h.GetPid()),
		Home:     h.GetHome(),
		HostID:   h.GetHostId(),
		Since:    timeFromWire(h.GetSince()),
		Store: StoreHealth{
			OK:            st.GetOk(),
			Path:          st.GetPath(),
			SchemaVersion: int(st.GetSchemaVersion()),
			Epoch:         st.GetEpoch(),
			FileBytes:     st.GetFileBytes(),
			LastSeq:       st.GetLastSeq(),
		},
		Plugins:  plugins,
		Tasks:    countersFromWire(h.GetTasks()),
		Draining: drainingFromWire(h.GetDraining()),
	}
}

func countersToWire(in map[task.Status]uint64) map[string]uint64 {
	out := make(map[string]uint64, len(in))
	for s, n := range in {
		out[string(s)] = n
	}
	return out
}

func countersFromWire(in map[string]uint64) map[task.Status]uint64 {
	out := make(map[task.Status]uint64, len(in))
	for s, n := range in {
		out[task.Status(s)] = n
	}
	return out
}

func statsToWire(s *store.Stats) *hostv1.GetStoreStatsResponse {
	operations := make(map[string]*hostv1.OperationStats, len(s.Operations))
	for name, o := range s.Operations {
		operations[name] = &hostv1.OperationStats{Calls: o.Calls, Reads: o.Reads, Puts: o.Puts}
	}
	return &hostv1.GetStoreStatsResponse{
		SchemaVersion: int64(s.SchemaVersion),
		HostId:        s.HostID,
		Epoch:         s.Epoch,
		FileBytes:     s.FileBytes,
		Path:          s.Path,
		Buckets: each(s.Buckets, func(b store.BucketStats) *hostv1.BucketStats {
			return &hostv1.BucketStats{Name: b.Name, Keys: int64(b.Keys), Bytes: b.Bytes}
		}),
		Tasks:      countersToWire(s.Tasks),
		LastSeq:    s.LastSeq,
		Commits:    s.Commits,
		WriteSets:  s.WriteSets,
		Operations: operations,
		CommitTime: durationToWire(s.CommitTime),
		Deleted:    deletedToWire(s.Deleted),
	}
}

func statsFromWire(s *hostv1.GetStoreStatsResponse) *store.Stats {
	operations := make(map[string]store.OperationStats, len(s.GetOperations()))
	for name, o := range s.GetOperations() {
		operations[name] = store.OperationStats{Calls: o.GetCalls(), Reads: o.GetReads(), Puts: o.GetPuts()}
	}
	return &store.Stats{
		SchemaVersion: int(s.GetSchemaVersion()),
		HostID:        s.GetHostId(),
		Epoch:         s.GetEpoch(),
		FileBytes:     s.GetFileBytes(),
		Path:          s.GetPath(),
		Buckets: each(s.GetBuckets(), func(b *hostv1.BucketStats) store.BucketStats {
			return store.BucketStats{Name: b.GetName(), Keys: int(b.GetKeys()), Bytes: b.GetBytes()}
		}),
		Tasks:      countersFromWire(s.GetTasks()),
		LastSeq:    s.GetLastSeq(),
		Commits:    s.GetCommits(),
		WriteSets:  s.GetWriteSets(),
		Operations: operations,
		CommitTime: s.GetCommitTime().AsDuration(),
		Deleted:    deletedFromWire(s.GetDeleted()),
	}
}

func backupToWire(b *BackupInfo) *hostv1.BackupStoreResponse {
	return &hostv1.BackupStoreResponse{
		Path: b.Path, Bytes: b.Bytes, Sha256: b.SHA256, Took: durationToWire(b.Took), LastSeq: b.LastSeq, Tasks: b.Tasks,
	}
}

func backupFromWire(b *hostv1.BackupStoreResponse) *BackupInfo {
	return &BackupInfo{
		Path: b.GetPath(), Bytes: b.GetBytes(), SHA256: b.GetSha256(), Took: b.GetTook().AsDuration(),
		LastSeq: b.GetLastSeq(), Tasks: b.GetTasks(),
	}
}

func settingsToWire(s *task.Settings) []byte {
	if s == nil {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil // plain numbers and texts always encode
	}
	return b
}

func settingsFromWire(b []byte) (*task.Settings, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // no settings before the first claim
	}
	s := &task.Settings{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return s, nil
}
