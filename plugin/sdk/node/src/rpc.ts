// The gRPC services that a plugin serves, as @grpc/grpc-js wants them described.

import { fromBinary, toBinary, type DescMessage, type DescService, type Message } from "@bufbuild/protobuf";
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";

/** Describes a service to gRPC, by its generated description. Some methods may encode their responses in a way of their own. */
export function serviceOf(desc: DescService, encoders: Record<string, (response: unknown) => Buffer> = {}): ServiceDefinition {
  return Object.fromEntries(
    desc.methods.map((m): [string, MethodDefinition<unknown, unknown>] => [
      m.name,
      {
        path: `/${desc.typeName}/${m.name}`,
        requestStream: m.methodKind === "client_streaming" || m.methodKind === "bidi_streaming",
        responseStream: m.methodKind === "server_streaming" || m.methodKind === "bidi_streaming",
        requestSerialize: serializer(m.input),
        requestDeserialize: deserializer(m.input),
        responseSerialize: encoders[m.name] ?? serializer(m.output),
        responseDeserialize: deserializer(m.output),
      },
    ]),
  );
}

function serializer(desc: DescMessage): (message: unknown) => Buffer {
  return (message) => bufferOf(toBinary(desc, message as Message));
}

/** The same bytes as a Buffer. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function deserializer(desc: DescMessage): (bytes: Buffer) => unknown {
  return (bytes) => fromBinary(desc, bytes);
}

const raw = (bytes: Buffer): Buffer => bytes;
const method = (path: string, responseStream = false): MethodDefinition<Buffer, Buffer> => ({
  path,
  requestStream: false,
  responseStream,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
});

/** grpc.health.v1.Health, of which go-plugin asks for the service "plugin". Messages are handled as bytes. */
export const health = {
  Check: method("/grpc.health.v1.Health/Check"),
  Watch: method("/grpc.health.v1.Health/Watch", true),
};

/** A HealthCheckResponse that says SERVING. */
export const serving = Buffer.from([0x08, 0x01]);

/** plugin.GRPCController, by which go-plugin ends the process. Its messages are empty. */
export const controller = { Shutdown: method("/plugin.GRPCController/Shutdown") };
