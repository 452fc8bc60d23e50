package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// TestToken: what a caller may do is what its token says, and no token says more than it
// was made with.
func TestToken(t *testing.T) {
	client, home, _ := start(t, &fake{watch: func(context.Context, func(*task.View) error) error { return nil }, view: &task.View{}, op: func(string, task.Operation) error { return nil }}, nil)
	r := client.Record()
	other := Record{Secret: newToken()}
	read := r.Token("look", AccessRead)
	for name, tt := range map[string]struct {
		token                string
		mayRead, mayWrite    bool
		errorSays, errorHint string
	}{
		"owner":         {token: r.Secret, mayRead: true, mayWrite: true},
		"write":         {token: r.Token("steer", AccessWrite), mayRead: true, mayWrite: true},
		"read":          {token: read, mayRead: true, errorSays: "tasker look may read only, and ResolveTask", errorHint: "commands: {look: {access: write}}"},
		"none":          {token: "", errorSays: "not of this host"},
		"another host":  {token: other.Token("look", AccessWrite), errorSays: "not of this host"},
		"made to write": {token: strings.Replace(read, "read", "write", 1), errorSays: "not of this host"},
		"cut":           {token: read[:len(read)-1], errorSays: "not of this host"},
		"no secret":     {token: "read:look:", errorSays: "not of this host"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := DialToken(t.Context(), home, r.Socket, tt.token)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}()
			_, asked := c.Health(t.Context())
			changed := c.ResolveTask(t.Context(), "X", task.Operation{})
			if (asked == nil) != tt.mayRead || (changed == nil) != tt.mayWrite {
				t.Errorf("reading: %v, writing: %v", asked, changed)
			}
			watched := c.WatchTask(t.Context(), "X", nil)
			if denied := errors.Is(watched, ErrDenied); denied == tt.mayRead {
				t.Errorf("watching: %v", watched)
			}
			if tt.errorSays == "" {
				return
			}
			h, _ := errors.AsType[Hinter](changed)
			if !errors.Is(changed, ErrDenied) || !strings.Contains(changed.Error(), tt.errorSays) || !strings.Contains(h.Hint(), tt.errorHint) {
				t.Errorf("writing: %v", changed)
			}
		})
	}
}

// TestReaders lists what a token for reading does not allow, so that a new method is
// looked at.
func TestReaders(t *testing.T) {
	var denied []string
	for _, service := range []grpc.ServiceDesc{hostv1.ControlService_ServiceDesc, hostv1.DebugService_ServiceDesc} {
		for _, m := range service.Methods {
			if !reads("/service/" + m.MethodName) {
				denied = append(denied, m.MethodName)
			}
		}
		for _, m := range service.Streams {
			if !reads("/service/" + m.StreamName) {
				denied = append(denied, m.StreamName)
			}
		}
	}
	slices.Sort(denied)
	want := []string{
		"BackupStore", "CancelTask", "CreateTask", "DeleteTasks", "DiscardDeadLetters", "ForgetSubscription", "PauseSubscription",
		"PauseTask", "Profile", "PruneStore", "ReplaySubscription", "ResolveTask", "ResumePlugin", "ResumeSubscription", "ResumeTask",
		"RetryDeadLetters", "RetryTask", "RewindSubscription", "StopHost", "TryEvent", "UpgradePlugin",
	}
	if diff := cmp.Diff(denied, want); diff != "" {
		t.Errorf("denied to readers (-got +want):\n%s", diff)
	}
}
