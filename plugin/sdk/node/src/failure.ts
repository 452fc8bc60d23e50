// Translates what was thrown into the wire's form of an error.

import { create } from "@bufbuild/protobuf";

import { milliseconds, toWire } from "./duration.js";
import { CancelError, chain, codes, explain, limits, PluginError } from "./errors.js";
import { type Error as WireError, ErrorKind, ErrorSchema, ErrorSource } from "./gen/tasker/plugin/v1/step_pb.js";
import { cut, document, messageOf } from "./text.js";

/** Bytes of an error's message, and of the reason of an answer. */
export const maxMessage = 8 << 10;

const maxFrames = 10;

/** Translates an error. The signal tells a cancelled attempt from a failed one. It never throws. */
export function failure(signal: AbortSignal, thrown: unknown): WireError {
  try {
    return translate(signal, thrown);
  } catch (error) {
    return create(ErrorSchema, { kind: ErrorKind.RETRYABLE, message: unreadable(error), class: typeof thrown, source: ErrorSource.PLUGIN });
  }
}

/** Says that what was thrown cannot be read, such as an error whose fields throw. */
export function unreadable(error: unknown): string {
  return cut(`what was thrown cannot be read: ${messageOf(error)}`, maxMessage);
}

function translate(signal: AbortSignal, thrown: unknown): WireError {
  const said = explain(thrown);
  const wait = said.retryAfter === undefined ? 0 : milliseconds(said.retryAfter);
  const out = create(ErrorSchema, {
    kind: ErrorKind.RETRYABLE,
    code: said.code ?? "",
    message: cut(messageOf(thrown), maxMessage),
    class: classOf(thrown),
    source: said.source === "downstream" ? ErrorSource.DOWNSTREAM : ErrorSource.PLUGIN,
    details: document(said.details, limits.details),
    partial: document(said.partial, limits.partial),
    stack: stackOf(thrown),
    ...(wait > 0 ? { retryAfter: toWire(wait) } : {}),
  });
  switch (said.verdict) {
    case "permanent":
      out.kind = ErrorKind.PERMANENT;
      break;
    case "cancelled":
      out.kind = ErrorKind.CANCELLED;
      break;
    case "retryable":
      break;
    default: // after its signal was aborted, an attempt fails because of that
      if (signal.aborted) {
        const reason = reasonOf(signal);
        if (reason !== codes.timeout) out.kind = ErrorKind.CANCELLED;
        if (out.code === "") out.code = reason;
      }
  }
  return out;
}

/** The reason of an aborted signal. */
export function reasonOf(signal: AbortSignal): string {
  return signal.reason instanceof CancelError ? signal.reason.reason : "stopped";
}

/** Names the type of the innermost error that says more than a text, else the innermost one's. */
function classOf(thrown: unknown): string {
  let name = "";
  let special = false;
  for (const link of chain(thrown)) {
    const type = link instanceof Error ? link.name : typeof link;
    if (!(link instanceof PluginError) && type !== "Error") {
      name = type;
      special = true;
    } else if (!special) {
      name = type;
    }
  }
  return name;
}

/** The frames of the innermost error, without the SDK's own. An error with a verdict was meant, and has none. */
function stackOf(thrown: unknown): string[] {
  const innermost = chain(thrown).at(-1);
  if (!(innermost instanceof Error) || innermost instanceof PluginError || innermost instanceof CancelError) return [];
  return String(innermost.stack ?? "")
    .split("\n")
    .filter((frame) => /^\s+at /.test(frame) && !frame.includes("node:internal"))
    .map((frame) => cut(frame.trim().slice(3), 512))
    .slice(0, maxFrames);
}
