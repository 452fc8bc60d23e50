package trace

// The names of spans. They are constants, so that spans can be grouped by them; what a
// span is about stands in its attributes.
const (
	SpanTask       = "task.processing"   // a task, from its creation to its end
	SpanStep       = "step.processing"   // a step, from its first claim to its end
	SpanHandler    = "handler.process"   // an attempt, in the plugin's process
	SpanAPICall    = "api.call"          // one HTTP request of an attempt
	SpanSubscriber = "subscriber.handle" // one delivery of an event, in the plugin's process
)

// The names of span events.
const (
	// EventWorkflowState is on the spans of failed steps and tasks: how the task stands.
	EventWorkflowState = "workflow.state"
	// EventException is on the spans of failed attempts.
	EventException = "exception"
	// EventRateLimited is on the span of what waits for its turn to call a host, or is refused it.
	EventRateLimited = "api.rate_limited"
	// EventCircuitOpen is on the span of what cannot call a host that is left alone for a while.
	EventCircuitOpen = "api.circuit_open"
)

// The keys of attributes that Tasker sets. Those of HTTP calls are the semantic
// conventions' own.
const (
	KeyTaskID          = "task.id"
	KeyTaskNamespace   = "task.namespace"
	KeyTaskTemplate    = "task.template"
	KeyTaskVersion     = "task.template_version"
	KeyTaskStatus      = "task.status"
	KeyTaskSteps       = "task.steps" // how many there are
	KeyCorrelationID   = "workflow.correlation_id"
	KeyStepID          = "step.id"
	KeyStepName        = "step.name"
	KeyStepHandler     = "step.handler"
	KeyStepStatus      = "step.status"
	KeyStepAttempts    = "step.attempts"
	KeyStepReason      = "step.reason"       // why it was skipped
	KeyOpen            = "span.open"         // it goes on; its end is the time at which it was asked for
	KeyDependencies    = "step.dependencies" // names of steps
	KeyDependents      = "step.dependents"   // names of steps
	KeyLevel           = "step.level"        // length of the longest chain of dependencies below which it stands
	KeyAttempt         = "attempt.number"
	KeyAttemptInput    = "attempt.input_size"  // bytes
	KeyAttemptResult   = "attempt.result_size" // bytes
	KeyWait            = "api.wait"            // seconds: a call's until its turn, or until it may be tried again
	KeySpansDropped    = "spans.dropped"       // how many of an attempt or delivery are not told of
	KeyErrorType       = "error.type"
	KeyErrorCode       = "error.code"
	KeyErrorSource     = "error.source"
	KeyErrorCategory   = "error.category"
	KeyEventName       = "event.name"
	KeyEventSeq        = "event.seq"
	KeySubscription    = "subscriber.name" // plugin/subscription
	KeyDelivery        = "delivery.number"
	KeyStateCount      = "workflow.state.count."   // and a status: how many steps have it
	KeyStateSteps      = "workflow.state.steps"    // "name status attempts code" of each step that is told of
	KeyStateOmitted    = "workflow.state.omitted"  // how many are not told of
	KeyLinkKind        = "link.kind"               // why a span links to another
	LinkDependency     = "dependency"              // the step needs the other
	LinkEarlierAttempt = "earlier_attempt"         // the attempt follows the other
	LinkHandled        = "handled"                 // the delivery is about the other
	BaggageCorrelation = "workflow.correlation_id" // the member of W3C baggage that calls carry
)
