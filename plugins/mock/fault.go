package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

type panicConfig struct {
	common
	faulty
}

func panics(ctx context.Context, _ json.RawMessage, c panicConfig) (nothing, error) {
	if c.fails(ctx) {
		panic("panicking as configured")
	}
	return nothing{}, nil
}

type exitConfig struct {
	common
	faulty

	Code int `json:"code,omitempty" jsonschema:"minimum=0,maximum=255" jsonschema_description:"The exit code."`
}

func exit(ctx context.Context, _ json.RawMessage, c exitConfig) (nothing, error) {
	if c.fails(ctx) {
		os.Exit(c.Code)
	}
	return nothing{}, nil
}

type hangConfig struct {
	common

	IgnoreCancel bool `json:"ignore_cancel,omitempty" jsonschema_description:"Hang on when the attempt is cancelled."`
}

func hang(ctx context.Context, _ json.RawMessage, c hangConfig) (nothing, error) {
	sdk.Logger(ctx).Info("hanging")
	<-ctx.Done()
	if c.IgnoreCancel {
		select {} // until the process ends
	}
	return nothing{}, context.Cause(ctx)
}

type floodConfig struct {
	common

	Lines   int  `json:"lines"             jsonschema:"minimum=0" jsonschema_description:"How many lines are written to standard error."`
	Bytes   int  `json:"bytes"             jsonschema:"minimum=0" jsonschema_description:"How long each of them is."`
	Hostile bool `json:"hostile,omitempty" jsonschema_description:"Write what breaks careless readers, too."`
}

// flood writes to the process's outputs what a host must survive.
func flood(_ context.Context, _ json.RawMessage, c floodConfig) (nothing, error) {
	line := append(bytes.Repeat([]byte{'x'}, c.Bytes), '\n')
	for range c.Lines {
		if _, err := os.Stderr.Write(line); err != nil {
			return nothing{}, err
		}
	}
	if !c.Hostile {
		return nothing{}, nil
	}
	for _, s := range []string{
		"{\"@message\": 1}\n",                                 // a field of the wrong type
		"{\"@level\": [], \"@timestamp\": {}}\n",              // and more of them
		"{\"@message\":\"\x1b[2J\x1b]0;title\x07\"}\n",        // terminal control
		"panic: not really\n\ngoroutine 1 [running]:\n",       // looks like a crash
		"\xff\xfe\x00 no UTF-8\r\n",                           // no text
		"1|1|unix|/tmp/other.sock|grpc|\n",                    // a handshake line
		string(bytes.Repeat([]byte{'e'}, 1<<20)) + "no end\n", // longer than any buffer
	} {
		if _, err := os.Stderr.WriteString(s); err != nil {
			return nothing{}, err
		}
	}
	_, err := os.Stdout.Write(append(bytes.Repeat([]byte{'o'}, 1<<20), '\n'))
	return nothing{}, err
}

// childArg makes the binary a child that holds standard error.
const childArg = "--hold-stderr"

type childConfig struct {
	common

	For sdk.Duration `json:"for,omitempty" jsonschema_description:"How long the child lives. Default 1m."`
}

// orphan is the result of mock/child.
type orphan struct {
	Pid int `json:"pid"`
}

// child starts a child that inherits standard error, and does not wait for it.
func child(_ context.Context, _ json.RawMessage, c childConfig) (orphan, error) {
	if c.For == 0 {
		c.For = sdk.Duration(time.Minute)
	}
	self, err := os.Executable()
	if err != nil {
		return orphan{}, err
	}
	cmd := exec.Command(self, childArg, c.For.String()) //nolint:noctx // it outlives the attempt: that is its purpose
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return orphan{}, err
	}
	return orphan{Pid: cmd.Process.Pid}, nil
}

// holdStderr is what the child does: live for a while.
func holdStderr(d string) {
	life, err := time.ParseDuration(d)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	<-time.NewTimer(life).C
}
