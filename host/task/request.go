package task

import (
	"encoding/json"
	"regexp"
	"time"
)

// Request asks for a task (rule C1). Only Template is required.
type Request struct {
	// Template is "namespace/name[@version]" of a registered template. Empty when Source
	// is set.
	Template string
	// Source is the template itself, with SourceName for diagnostics: such a template is
	// used for this task and never registered.
	Source     []byte
	SourceName string
	// Environment is merged into a Source template; registered ones are already merged.
	Environment string

	Input          json.RawMessage // nil = {}
	Initiator      string
	SourceSystem   string
	Reason         string
	Tags           []string
	Priority       int32
	CorrelationID  string // empty = a fresh one
	IdempotencyKey string // empty = every request is distinct
	KeyTTL         time.Duration
	Bypass         []StepName
	Deadline       time.Duration // from now; 0 = the template's
	// Traceparent and Tracestate are the W3C trace context of what asks; the task's trace
	// goes on from there. Empty = it begins here. One that is not valid is dropped with a
	// warning, as the standard asks.
	Traceparent, Tracestate string
	// RequireHandlers refuses the task when no plugin offers one of its handlers.
	RequireHandlers bool
}

// Limits and defaults of requests.
const (
	// DefaultKeyTTL is how long an idempotency key outlives the creation at least.
	DefaultKeyTTL = 24 * time.Hour
	// MaxTags is the number of tags a task may have; MaxTagLen the characters of one.
	MaxTags   = 32
	MaxTagLen = 100
	// MaxTracestate is the limit in bytes of a trace state: what the standard wants to be
	// handed on.
	MaxTracestate = 512
	// MaxText is the limit in bytes of initiator, source system, reason and keys.
	MaxText = 1000
)

// Created answers a [Request].
type Created struct {
	ID        ID
	Duplicate bool     // the idempotency key was known: ID is the existing task
	Warnings  []string // such as a handler that no plugin offers yet
}

var correlationID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

// ValidCorrelationID reports whether s is taken as a correlation id (rule C5).
func ValidCorrelationID(s string) bool { return correlationID.MatchString(s) }

// Operation is an operator's wish about a task or one of its steps.
type Operation struct {
	Task ID
	// Step names a step; empty means the whole task.
	Step   StepName
	By     string
	Reason string
	// Results is what a step resolved by hand yields, JSON; nil = null.
	Results json.RawMessage
}
