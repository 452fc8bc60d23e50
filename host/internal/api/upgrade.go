package api

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// What an [UpgradeRequest] may ask for.
const (
	ActionUpgrade  = "upgrade"  // another version, or another executable
	ActionRollback = "rollback" // what it was before
	ActionReload   = "reload"   // the same executable with the configuration as it is now
	ActionPromote  = "promote"  // a canary takes over
	ActionAbort    = "abort"    // what is under way ends, and the plugin is what it was
)

// Phases of an upgrade. It may end at each but the first of them.
const (
	UpgradeDraining = "draining" // what is replaced finishes what it holds

	UpgradeDone   = "done"
	UpgradeCanary = "canary"
	UpgradeRolled = "rolled_back"
)

// UpgradeRequest says what a plugin is to be replaced by.
type UpgradeRequest struct {
	Plugin  string
	Action  string        // one of the Action constants
	Version string        // the installed version; empty = the one that the lock names
	Path    string        // an executable to run instead; absolute
	Canary  float64       // the share of new attempts until it is promoted; 0 = it takes over at once
	Probe   time.Duration // how long it has to be fine; 0 = the default
	Force   bool          // even if tasks or templates need what it offers no more
}

// UpgradeProgress is how far the replacement of a plugin is.
type UpgradeProgress struct {
	Phase    string // starting, canary, probing, draining, done or rolled_back
	Text     string // for people
	From, To string // versions; empty when not known
	Instance string // of the successor, "plugin#n"; empty before it is ready
	Why      string // with rolled_back
}

// UpgradePlugin implements the RPC.
func (c *control) UpgradePlugin(r *hostv1.UpgradePluginRequest, stream grpc.ServerStreamingServer[hostv1.UpgradePluginResponse]) error {
	ctx, release, explain := c.untilStop(stream.Context())
	defer release()
	const phases = 8 // more than there are
	told := make(chan UpgradeProgress, phases)
	type ending struct {
		progress UpgradeProgress
		err      error
	}
	ended := make(chan ending, 1)
	go func() { // ends with the call: the end of ctx rolls back
		p, err := c.service.UpgradePlugin(ctx, upgradeFromWire(r), func(p UpgradeProgress) {
			select {
			case told <- p:
			default: // nobody listens
			}
		})
		ended <- ending{p, err}
	}()
	for {
		select {
		case p := <-told:
			if err := stream.Send(progressToWire(p)); err != nil {
				release()
				<-ended
				return err
			}
		case end := <-ended:
			for len(told) > 0 {
				if err := stream.Send(progressToWire(<-told)); err != nil {
					return err
				}
			}
			if end.err != nil {
				return explain(end.err)
			}
			last := progressToWire(end.progress)
			last.Last = true
			return stream.Send(last)
		}
	}
}

// UpgradePlugin implements [Service].
func (c *Client) UpgradePlugin(ctx context.Context, r UpgradeRequest, tell func(UpgradeProgress)) (UpgradeProgress, error) {
	stream, err := c.rpc.UpgradePlugin(ctx, upgradeToWire(r))
	if err != nil {
		return UpgradeProgress{}, fromWire(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the last answer says that it is
		}
		if err != nil {
			return UpgradeProgress{}, fromWire(err)
		}
		if m.GetLast() {
			return progressFromWire(m), nil
		}
		tell(progressFromWire(m))
	}
}

func upgradeToWire(r UpgradeRequest) *hostv1.UpgradePluginRequest {
	return &hostv1.UpgradePluginRequest{
		Plugin: r.Plugin, Action: r.Action, Version: r.Version, Path: r.Path, Canary: r.Canary, Probe: durationpb.New(r.Probe), Force: r.Force,
	}
}

func upgradeFromWire(r *hostv1.UpgradePluginRequest) UpgradeRequest {
	return UpgradeRequest{
		Plugin: r.GetPlugin(), Action: r.GetAction(), Version: r.GetVersion(), Path: r.GetPath(), Canary: r.GetCanary(),
		Probe: r.GetProbe().AsDuration(), Force: r.GetForce(),
	}
}

func progressToWire(p UpgradeProgress) *hostv1.UpgradePluginResponse {
	return &hostv1.UpgradePluginResponse{Phase: p.Phase, Text: p.Text, From: p.From, To: p.To, Instance: p.Instance, Why: p.Why}
}

func progressFromWire(p *hostv1.UpgradePluginResponse) UpgradeProgress {
	return UpgradeProgress{
		Phase: p.GetPhase(), Text: p.GetText(), From: p.GetFrom(), To: p.GetTo(), Instance: p.GetInstance(), Why: p.GetWhy(),
	}
}

func pluginUpgradeToWire(u *PluginUpgrade) *hostv1.PluginUpgrade {
	if u == nil {
		return nil
	}
	return &hostv1.PluginUpgrade{
		Phase: u.Phase, Share: u.Share, From: u.From, To: u.To, Path: u.Path, Instance: u.Instance, Pid: int64(u.PID),
		State: string(u.State), InFlight: count(u.InFlight),
	}
}

func pluginUpgradeFromWire(u *hostv1.PluginUpgrade) *PluginUpgrade {
	if u == nil {
		return nil
	}
	return &PluginUpgrade{
		Phase: u.GetPhase(), Share: u.GetShare(), From: u.GetFrom(), To: u.GetTo(), Path: u.GetPath(), Instance: u.GetInstance(),
		PID: int(u.GetPid()), State: task.PluginState(u.GetState()), InFlight: int(u.GetInFlight()),
	}
}
