package telemetry

import "google.golang.org/protobuf/encoding/protowire"

// Nested reports whether an encoded ExportTraceServiceRequest has more than one span: more
// than the attempt's own, of which the events of its task tell. It decodes nothing.
func Nested(otlp []byte) bool {
	const resourceSpans, scopeSpans, spans = 1, 2, 2
	n := 0
	each(otlp, resourceSpans, func(of []byte) {
		each(of, scopeSpans, func(of []byte) {
			each(of, spans, func([]byte) { n++ })
		})
	})
	return n > 1
}

// each calls fn for the values of one field of a message, as far as it can be read.
func each(message []byte, field protowire.Number, fn func(value []byte)) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		if number == field && kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return
			}
			fn(value)
			message = message[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return
		}
		message = message[n:]
	}
}
