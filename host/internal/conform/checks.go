package conform

// The groups of checks, in the order of a plugin's life. They are the parts of the ids
// before the dot, and each is a chapter of the document.
const (
	groupStart     = "start"
	groupDescribe  = "describe"
	groupConfigure = "configure"
	groupWatch     = "watch"
	groupWork      = "work"
	groupDeliver   = "deliver"
	groupLife      = "life"
	groupOutput    = "output"
)

// document is where the rules are written.
const document = "docs/plugin-wire.md"

// Checks returns all checks, in the order in which they are reported.
func Checks() []Check {
	var all []Check
	for _, group := range []struct {
		name   string
		checks []Check
	}{
		{groupStart, startChecks()},
		{groupDescribe, describeChecks()},
		{groupConfigure, configureChecks()},
		{groupWatch, watchChecks()},
		{groupWork, workChecks()},
		{groupDeliver, deliverChecks()},
		{groupLife, lifeChecks()},
		{groupOutput, outputChecks()},
	} {
		for _, c := range group.checks {
			c.ID, c.Doc = group.name+"."+c.ID, document+"#"+group.name
			all = append(all, c)
		}
	}
	return all
}

func startChecks() []Check {
	return []Check{
		{ID: "by-hand", run: checkByHand, Title: "started by hand it says what it is and ends", Rule: "Without the cookie in its environment a plugin serves nobody: it says what it is on standard error and ends with an exit status other than 0."},
		{ID: "line", run: checkLine, Title: "the handshake line has its shape", Rule: "The first line on standard output is 1|PROTOCOL|unix|PATH|grpc|CERTIFICATE, with a socket in PLUGIN_UNIX_SOCKET_DIR whose path has at most 107 bytes."},
		{ID: "protocol", run: checkProtocol, Title: "it chooses the highest common protocol", Rule: "Of PLUGIN_PROTOCOL_VERSIONS the plugin takes the highest that it speaks, and does not mind those that it does not know."},
		{ID: "no-protocol", run: checkNoProtocol, Title: "it claims no protocol that it does not speak", Rule: "When no offered version is known, the plugin names its own in the line, for the host to refuse, or ends with an exit status other than 0."},
		{ID: "mtls", run: checkMTLS, Title: "mutual TLS: the host's certificate alone is let in", Rule: "With PLUGIN_CLIENT_CERT the plugin serves TLS with a certificate for localhost, which it puts in the line, and lets in only who shows that certificate (a P-521 key)."},
		{ID: "plain", run: checkPlain, Title: "without mutual TLS it serves plainly", Rule: "Without PLUGIN_CLIENT_CERT the plugin serves without TLS, and the line has no certificate."},
		{ID: "health", run: checkHealth, Title: "its health is SERVING", Rule: "grpc.health.v1.Health/Check answers SERVING for the service plugin."},
	}
}

func describeChecks() []Check {
	return []Check{
		{ID: "stable", run: checkStable, Title: "Describe says the same each time, in each process", Rule: "Describe does no I/O and answers the same at every call, before and after Configure, in every process of the same program."},
		{ID: "manifest", run: checkManifest, Title: "a host accepts the manifest", Rule: "Names, versions, limits and durations of the manifest have their forms; it offers at least one handler or subscription; it names its language."},
		{ID: "schemas", run: checkSchemas, Title: "schemas are valid, and examples fit them", Rule: "Each schema is a JSON Schema with no reference to the outside, and the example of each event fits its schema."},
	}
}

func configureChecks() []Check {
	return []Check{
		{ID: "accepts", run: checkConfigured, Title: "it takes its configuration", Rule: "Configure answers without problems when the configuration is right."},
		{ID: "refuses", run: checkRefusal, Title: "it refuses wrong configurations, with reasons", Rule: "A configuration that is no JSON, breaks the schema, or comes where none is taken is answered by ConfigProblems with a message and a JSON pointer; the process goes on."},
		{ID: "secrets", run: checkSecrets, Title: "no secret of the configuration leaves it", Rule: "What a writeOnly property holds is in no log line, no error, no result and no output, at any log level."},
	}
}

func watchChecks() []Check {
	return []Check{
		{ID: "first", run: checkFirst, Title: "Watch says at once how it is", Rule: "Watch sends the first status at once: STATE_READY, or STATE_DEGRADED with a message."},
		{ID: "ticks", run: checkTicks, Title: "Watch ticks under load", Rule: "While attempts run Watch sends a status at least every 3 seconds, with their number, however busy the process is."},
	}
}

func workChecks() []Check {
	return []Check{
		{ID: "result", run: checkResult, Title: "one result for each attempt, the last update", Rule: "Each attempt ends with exactly one Result; no update of the attempt follows it."},
		{ID: "form", run: checkForm, Title: "updates have their form", Rule: "Outputs, checkpoints, fields, details and payloads are JSON and fit their schemas; progress is 0 to 1; levels are known; errors have a message and keep their limits; events are declared."},
		{ID: "parallel", run: checkParallel, Title: "a hundred attempts at once", Rule: "A plugin takes as many attempts at once as it declares (the host's default where it declares nothing), in frames of up to 64, and mixes none up."},
		{ID: "unknown-handler", run: checkUnknownHandler, Title: "unknown handlers are a permanent error", Rule: "An attempt of a handler or version that the plugin does not have ends with an error ERROR_KIND_PERMANENT; the stream goes on."},
		{ID: "unknown-fields", run: checkUnknownFields, Title: "unknown fields and features are ignored", Rule: "Fields, features, references and log levels of a later version of the wire are passed over."},
		{ID: "bad-input", run: checkBadInput, Title: "input that breaks its schema is an error", Rule: "An attempt whose input breaks the handler's input_schema ends with an error, and harms nothing else."},
		{ID: "cancel", run: checkCancel, Title: "Cancel ends an attempt", Rule: "After its Cancel an attempt still ends with its one Result, an error ERROR_KIND_CANCELLED if it stopped for it, within cancel_grace."},
		{ID: "late-cancel", run: checkLateCancel, Title: "late Cancels are harmless", Rule: "A Cancel of an attempt that has ended or never was is passed over."},
		{ID: "deadline", run: checkDeadline, Title: "the timeout of an attempt is kept", Rule: "An attempt that is not done within its timeout is stopped by the plugin itself and ends with an error."},
		{ID: "twice", run: checkTwice, Title: "an attempt that comes twice runs once", Rule: "An attempt whose id is running already is passed over."},
		{ID: "panic", run: checkPanic, Title: "a panic ends its own attempt alone", Rule: "A panic or uncaught exception becomes the error of its attempt; other attempts and the process go on."},
		{ID: "fetch", run: checkFetch, Title: "input by reference is fetched", Rule: "A Value with a reference is asked for with Fetch and put together from the Chunks up to the last."},
		{ID: "large-input", run: checkLargeInput, Title: "messages of several MiB are taken", Rule: "A plugin accepts messages of up to 16 MiB, not the 4 MiB that are gRPC's default."},
		{ID: "large-result", run: checkLargeResult, Title: "results of several MiB are sent", Rule: "A plugin sends messages of up to 16 MiB."},
		{ID: "half-close", run: checkHalfClose, Title: "the end of sending is not the end of work", Rule: "When the host sends no more, the attempts go on to their results; then the plugin ends the stream in order."},
	}
}

func deliverChecks() []Check {
	return []Check{
		{ID: "answers", run: checkAnswers, Title: "each event is answered", Rule: "Each event is answered by Ack, Retry or Reject, once for each delivery, in any grouping; an Ack goes through what was delivered only."},
		{ID: "duplicates", run: checkDuplicates, Title: "events that come again are answered again", Rule: "Delivery is at least once: an event that was answered may come again, and is answered again."},
		{ID: "gaps", run: checkGaps, Title: "gaps and trials are taken", Rule: "Sequences increase with gaps; gap_through is news, not an error; a batch may be empty; sequences from 2^63 are trials and answered like others."},
		{ID: "unknown", run: checkUnknownEvents, Title: "events of a later version are answered", Rule: "Unknown frames, fields, keys of payloads and types of events are passed over; the event is answered."},
		{ID: "unreadable", run: checkUnreadable, Title: "what cannot be read does not stop what follows", Rule: "Bytes that are no event are not acked but rejected; the next event is handled."},
		{ID: "ping", run: checkPing, Title: "each Ping has its Pong", Rule: "Each Ping is answered by a Pong with its nonce, in order, also while events are handled."},
		{ID: "reopen", run: checkReopen, Title: "after a broken stream the next one serves", Rule: "A stream that breaks ends nothing but itself: on another one for the subscription everything unanswered comes again and is answered."},
		{ID: "unknown-subscription", run: checkNoSubscription, Title: "unknown subscriptions are NotFound", Rule: "A stream for a subscription that the plugin does not have ends with NotFound (Unimplemented by a plugin without subscriptions); the process goes on."},
	}
}

func lifeChecks() []Check {
	return []Check{
		{ID: "signals", run: checkSignals, Title: "TERM and INT do not stop what works", Rule: "SIGTERM and SIGINT are ignored until the host has drained the plugin: they often go to whole groups."},
		{ID: "drain", run: checkDrain, Title: "Drain waits for what runs", Rule: "After Drain, Watch says STATE_DRAINING; what runs goes on to its end; then Drain returns with unfinished 0."},
		{ID: "drain-deadline", run: checkDrainDeadline, Title: "Drain returns at its deadline", Rule: "At its deadline Drain returns with the number of attempts that still run."},
		{ID: "drained", run: checkDrained, Title: "drained, it ends when asked", Rule: "Once drained, the plugin ends with exit status 0 at SIGTERM."},
		{ID: "shutdown", run: checkShutdown, Title: "Shutdown ends the process", Rule: "plugin.GRPCController/Shutdown ends the process with exit status 0."},
		{ID: "lifeline", run: checkLifeline, Title: "the end of standard input ends the process", Rule: "Standard input is the lifeline: at its end the plugin cancels what runs and ends with exit status 0."},
		{ID: "host-killed", run: checkHostKilled, Title: "the death of the host ends the process", Rule: "When all pipes and the connection break at one moment, also with writes to them failing, the process ends."},
		{ID: "children", run: checkChildren, Title: "no process is left behind", Rule: "When a plugin has ended, no process that it started goes on."},
	}
}

func outputChecks() []Check {
	return []Check{
		{ID: "stdout", run: checkStdout, Title: "nothing on standard output but the handshake", Rule: "After the handshake line nothing is written to standard output; what handlers print goes to standard error."},
		{ID: "log", run: checkLog, Title: "log lines have their form", Rule: "A line on standard error that is a JSON object has texts in @level, @message and @timestamp; no line is longer than 64 KiB."},
		{ID: "flood", run: checkFlood, Title: "a flood on standard error harms nothing", Rule: "A handler may write as much to standard error as it likes, in lines of any length: its attempt ends, and the process goes on."},
	}
}
