// A self-signed certificate for one life of a process. node:crypto makes keys and signatures but no certificates, so
// that the few fields that one needs are written here, in DER.

import { generateKeyPairSync, randomBytes, sign } from "node:crypto";

/** A key pair with its certificate. */
export interface Certificate {
  /** PEM. */
  readonly key: string;
  readonly cert: string;
  /** The certificate as the handshake has it. */
  readonly der: Buffer;
}

/** Makes a P-256 key pair and a certificate for localhost that is valid from now, but for clocks that are late. */
export function selfSigned(now = new Date()): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const algorithm = sequence(oid("1.2.840.10045.4.3.2")); // ecdsa-with-SHA256
  const name = sequence(tlv(0x31, sequence(oid("2.5.4.3"), tlv(0x0c, Buffer.from("localhost")))));
  const body = sequence(
    tlv(0xa0, integer(Buffer.from([2]))), // version 3
    integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])), // serial number: positive
    algorithm,
    name,
    sequence(time(new Date(now.getTime() - 60_000)), time(new Date(now.getTime() + 10 * 365 * 86_400_000))),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    tlv(0xa3, sequence(...extensions())),
  );
  const signature = sign("sha256", body, privateKey);
  const der = sequence(body, algorithm, bits(0, signature));
  const lines = der.toString("base64").match(/.{1,64}/g)!.join("\n");
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    der,
  };
}

function extensions(): Buffer[] {
  const critical = Buffer.from([0x01, 0x01, 0xff]);
  const extension = (id: string, value: Buffer, ...flags: Buffer[]) => sequence(oid(id), ...flags, tlv(0x04, value));
  return [
    extension("2.5.29.15", bits(3, Buffer.from([0xa8])), critical), // digitalSignature, keyEncipherment, keyAgreement
    extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2"))), // server and client
    extension("2.5.29.17", sequence(tlv(0x82, Buffer.from("localhost")))), // subject alternative name
  ];
}

function tlv(tag: number, ...parts: Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  const n = value.length;
  const length = n < 0x80 ? [n] : n < 0x100 ? [0x81, n] : [0x82, n >> 8, n & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), value]);
}

const sequence = (...parts: Buffer[]): Buffer => tlv(0x30, ...parts);
const integer = (value: Buffer): Buffer => tlv(0x02, value);
const bits = (unused: number, value: Buffer): Buffer => tlv(0x03, Buffer.from([unused]), value);

/** UTCTime, which X.509 asks for until 2049, then GeneralizedTime. */
function time(t: Date): Buffer {
  const text = t.toISOString().replace(/[-:T]|\.\d+/g, "");
  return t.getUTCFullYear() < 2050 ? tlv(0x17, Buffer.from(text.slice(2))) : tlv(0x18, Buffer.from(text));
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const n of rest) {
    const groups = [n & 0x7f];
    for (let more = n >> 7; more > 0; more >>= 7) groups.unshift((more & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tlv(0x06, Buffer.from(bytes));
}
