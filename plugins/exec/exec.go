package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Codes of the failures; a command that ran and ended badly has exit_<code> or signal.
const (
	codeNotFound  = "command_not_found" // there is no such command, or no such directory
	codeOutput    = "output_too_large"  // the command printed more than max_output
	codeNoJSON    = "invalid_output"    // stdout is json and the command printed something else
	codeSignalled = "signal"            // a signal ended the command
)

// waitDelay is how long the output of a command may stay open after it has ended: by children that it left.
const waitDelay = time.Second

// plugin is the plugin.
func plugin() sdk.Plugin {
	return sdk.Plugin{
		Name:        "exec",
		Version:     "1.0.0",
		Title:       "Runs commands as steps.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Permissions: sdk.Permissions{FSRead: []string{"*"}, FSWrite: []string{"*"}, Network: sdk.NetworkAny, Env: []string{"*"}, Subprocess: true},
		Handlers: sdk.Handlers{
			"run": sdk.Func(run, sdk.Options{
				Description: "Runs a command; its output is the result, its exit code the verdict.",
				Config:      config{},
				NoResults:   true,
				ErrorCodes:  []string{codeNotFound, codeOutput, codeNoJSON, codeSignalled},
			}),
		},
	}
}

// result is what a step results in, unless stdout is json.
type result struct {
	ExitCode int    `json:"exit_code"`
	Stdout   string `json:"stdout,omitempty"`
}

// run runs the command of the step's config.
func run(ctx context.Context, input json.RawMessage) (json.RawMessage, error) {
	c, err := sdk.Config[config](ctx)
	if err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, sdk.Permanent(sdk.WithCode(err, sdk.CodeInvalidConfig))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stdout := &limited{limit: c.MaxOutput, exceeded: func() { cancel(tooMuch(c.MaxOutput)) }, discard: c.Stdout == stdoutDiscard}
	stderr := &lines{line: func(s string) { sdk.Logger(ctx).Info(s, "stream", "stderr") }}
	cmd := c.command(ctx)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if c.Stdin == stdinInput {
		cmd.Stdin = bytes.NewReader(input)
	}
	err = runGroup(cmd, c.KillGrace.D())
	stderr.flush()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause // cancelled, out of time, or too much output
	}
	code, err := c.verdict(cmd, err, stderr.tail.String())
	if err != nil {
		return nil, err
	}
	return c.output(code, stdout.buf.Bytes())
}

// command makes the command, in a process group of its own.
func (c config) command(ctx context.Context) *exec.Cmd {
	argv := c.Command
	if c.Shell {
		argv = shell(c.Command[0])
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = c.environment(ctx)
	return cmd
}

// environment is what the command gets: PATH, what the config lets through and sets, and which attempt it is.
func (c config) environment(ctx context.Context) []string {
	a := sdk.Attempt(ctx)
	env := []string{
		"TASKER_TASK_ID=" + a.Task,
		"TASKER_STEP=" + a.Step,
		fmt.Sprintf("TASKER_ATTEMPT=%d", a.Number),
		"TASKER_IDEMPOTENCY_KEY=" + sdk.IdempotencyKey(ctx),
		"TASKER_CORRELATION_ID=" + a.CorrelationID,
	}
	for _, name := range append([]string{"PATH"}, c.Env...) {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for name, v := range c.SetEnv {
		env = append(env, name+"="+v)
	}
	return env
}

// runGroup runs the command and leaves nothing of its group behind. When the command's context ends, the group is asked to end, and
// killed after grace.
func runGroup(cmd *exec.Cmd, grace time.Duration) error {
	ownGroup(cmd)
	late := time.NewTimer(0)
	late.Stop()
	cmd.Cancel = func() error {
		late = time.AfterFunc(grace, func() { kill(cmd) })
		return terminate(cmd)
	}
	cmd.WaitDelay = grace + waitDelay // both begin when the context ends
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait() // Cancel does not run any more
	late.Stop()
	kill(cmd) // what the command left behind
	return err
}

// verdict is the exit code, and the error that it stands for.
func (c config) verdict(cmd *exec.Cmd, err error, stderr string) (int, error) {
	if cmd.ProcessState == nil { // it did not start
		if _, dirErr := os.Stat(cmd.Dir); cmd.Dir != "" && dirErr != nil { // the system's error names the program
			err = fmt.Errorf("dir: %w", dirErr)
		} else {
			err = fmt.Errorf("run %s: %w", cmd.Path, err)
		}
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return 0, sdk.Permanent(sdk.WithCode(err, codeNotFound))
		}
		return 0, err
	}
	code := cmd.ProcessState.ExitCode()
	kind := c.ExitCodes.kind(code)
	if kind == success {
		return code, nil
	}
	failure := &sdk.Error{
		Code: fmt.Sprintf("exit_%d", code), Source: sdk.FromDownstream,
		Details: map[string]any{"exit_code": code, "stderr": stderr},
	}
	failure.Err = fmt.Errorf("the command ended with exit code %d%s", code, lastLine(stderr))
	if code < 0 {
		failure.Code = codeSignalled
		failure.Err = fmt.Errorf("the command was ended: %s%s", cmd.ProcessState, lastLine(stderr))
	}
	failure.Verdict = sdk.Retryable
	switch {
	case kind == permanent:
		failure.Verdict = sdk.Final
	case c.ExitCodes.RetryAfter > 0:
		failure.RetryAfter = c.ExitCodes.RetryAfter.D()
	}
	return code, failure
}

// output makes the step's result.
func (c config) output(code int, stdout []byte) (json.RawMessage, error) {
	switch c.Stdout {
	case stdoutJSON:
		if !json.Valid(stdout) {
			err := fmt.Errorf("stdout is json, but the command printed %s", excerpt(stdout))
			return nil, sdk.Permanent(sdk.WithCode(err, codeNoJSON))
		}
		return stdout, nil
	case stdoutDiscard:
		return json.Marshal(result{ExitCode: code})
	default:
		return json.Marshal(result{ExitCode: code, Stdout: string(stdout)})
	}
}

// excerpt shows the beginning of an output.
func excerpt(b []byte) string {
	switch {
	case len(bytes.TrimSpace(b)) == 0:
		return "nothing"
	case len(b) > 80:
		return fmt.Sprintf("%q and more", b[:80])
	default:
		return fmt.Sprintf("%q", b)
	}
}

// lastLine is the last line of what the command said, as the end of a message.
func lastLine(stderr string) string {
	stderr = strings.TrimSpace(stderr)
	if stderr == "" {
		return ""
	}
	return ": " + stderr[strings.LastIndexByte(stderr, '\n')+1:]
}

func tooMuch(limit int) error {
	err := fmt.Errorf("the command printed more than %d bytes: print less, raise max_output, or write to a file and print its name", limit)
	return sdk.Permanent(sdk.WithCode(err, codeOutput))
}
