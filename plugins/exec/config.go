package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// What stdin and stdout may be.
const (
	stdinInput    = "input"
	stdinNone     = "none"
	stdoutJSON    = "json"
	stdoutText    = "text"
	stdoutDiscard = "discard"
)

const (
	defaultMaxOutput = 1 << 20
	defaultKillGrace = sdk.Duration(2 * time.Second)
)

// config is the step's config.
type config struct {
	Command   []string          `json:"command"              jsonschema:"minItems=1" jsonschema_description:"The program and its arguments; no shell sees them."`
	Shell     bool              `json:"shell,omitempty"      jsonschema_description:"Let the shell run the command, which then has one element."`
	Dir       string            `json:"dir,omitempty"        jsonschema_description:"The working directory. Default the plugin's data directory."`
	Env       []string          `json:"env,omitempty"        jsonschema_description:"Names of variables that the command gets from the plugin's environment, beside PATH."`
	SetEnv    map[string]string `json:"set_env,omitempty"    jsonschema_description:"Variables that the command gets."`
	Stdin     string            `json:"stdin,omitempty"      jsonschema:"enum=input,enum=none" jsonschema_description:"What the command reads: the step's input as JSON, or nothing. Default input."`
	Stdout    string            `json:"stdout,omitempty"     jsonschema:"enum=json,enum=text,enum=discard" jsonschema_description:"What the command prints: JSON, which is the result; text, which is part of it; or nothing of interest. Default text."`
	MaxOutput int               `json:"max_output,omitempty" jsonschema:"minimum=1,maximum=15728640" jsonschema_description:"The most bytes that the command may print. Default 1048576."`
	ExitCodes exitCodes         `json:"exit_codes,omitzero"  jsonschema_description:"What exit codes mean."`
	KillGrace sdk.Duration      `json:"kill_grace,omitempty" jsonschema_description:"The time between asking a cancelled command to end and killing it. Default 2s."`
}

// exitCodes says what exit codes mean. 0 is a success unless it is listed.
type exitCodes struct {
	Success    []int        `json:"success,omitempty"     jsonschema_description:"The step succeeds."`
	Retryable  []int        `json:"retryable,omitempty"   jsonschema_description:"The attempt fails and is tried again."`
	Permanent  []int        `json:"permanent,omitempty"   jsonschema_description:"The step fails."`
	Default    string       `json:"default,omitempty"     jsonschema:"enum=retryable,enum=permanent" jsonschema_description:"What other codes, and signals, mean. Default retryable."`
	RetryAfter sdk.Duration `json:"retry_after,omitempty" jsonschema_description:"The least wait after a retryable failure."`
}

// The kinds of exit codes.
const (
	success   = "success"
	retryable = "retryable"
	permanent = "permanent"
)

func (c config) withDefaults() config {
	c.Stdin = cmp.Or(c.Stdin, stdinInput)
	c.Stdout = cmp.Or(c.Stdout, stdoutText)
	c.MaxOutput = cmp.Or(c.MaxOutput, defaultMaxOutput)
	c.KillGrace = cmp.Or(c.KillGrace, defaultKillGrace)
	c.ExitCodes.Default = cmp.Or(c.ExitCodes.Default, retryable)
	return c
}

// validate refuses what the schema cannot.
func (c config) validate() error {
	switch {
	case len(c.Command) == 0 || c.Command[0] == "":
		return errors.New("/command/0: there is no name of a program")
	case c.Shell && len(c.Command) != 1:
		return errors.New("/command: with shell: true it is one element, the line that the shell runs")
	}
	seen := make(map[int]string)
	for _, l := range []struct {
		kind  string
		codes []int
	}{{success, c.ExitCodes.Success}, {retryable, c.ExitCodes.Retryable}, {permanent, c.ExitCodes.Permanent}} {
		for _, code := range l.codes {
			if other, ok := seen[code]; ok && other != l.kind {
				return fmt.Errorf("/exit_codes: %d is in %s and in %s", code, other, l.kind)
			}
			seen[code] = l.kind
		}
	}
	return nil
}

// kind says what an exit code means.
func (e exitCodes) kind(code int) string {
	switch {
	case slices.Contains(e.Success, code):
		return success
	case slices.Contains(e.Retryable, code):
		return retryable
	case slices.Contains(e.Permanent, code):
		return permanent
	case code == 0:
		return success
	default:
		return e.Default
	}
}
