// Texts and JSON documents of bounded size.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Encodes a text. */
export function bytesOf(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Decodes bytes. What is no UTF-8 is replaced. */
export function textOf(bytes: Uint8Array): string {
  return bytes.length === 0 ? "" : decoder.decode(bytes);
}

/** Shortens a text to at most limit bytes. */
export function cut(text: string, limit: number): string {
  if (text.length * 3 <= limit || Buffer.byteLength(text) <= limit) return text;
  const mark = " ...";
  const bytes = Buffer.from(text);
  let end = limit - mark.length;
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end) + mark;
}

/** Writes a value as JSON, undefined as null. Throws what JSON.stringify throws. */
export function encode(value: unknown): string {
  return JSON.stringify(value) ?? "null";
}

/**
 * Writes what comes with an error or a log line: at most limit bytes. What cannot be written or is too large is
 * replaced by a document that says so. Empty where there is nothing.
 */
export function document(value: unknown, limit: number): Uint8Array {
  if (value === undefined || value === null) return new Uint8Array();
  let why: string;
  try {
    const doc = bytesOf(JSON.stringify(value, lenient) ?? "null");
    if (doc.length <= limit) return doc;
    why = `${doc.length} bytes are more than ${limit}`;
  } catch (error) {
    why = cut(`it cannot be written as JSON: ${messageOf(error)}`, 1024);
  }
  return bytesOf(JSON.stringify({ omitted: why }));
}

/** Lets JSON.stringify write errors and large integers. */
function lenient(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  return value instanceof Error ? messageOf(value) : value;
}

/** The message of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message || thrown.name : thrown);
  } catch {
    return "something that cannot be written";
  }
}
