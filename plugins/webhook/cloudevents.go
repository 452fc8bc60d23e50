package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// attribute is an attribute of a CloudEvent.
type attribute struct{ name, value string }

// attributes are those of an event, without its data: the required ones, the optional ones, and the extensions sequence,
// traceparent, correlationid, step and templateversion, as far as they have a value.
func attributes(e sdk.Event[json.RawMessage], c cloudEventsConfig) []attribute {
	all := []attribute{
		{"specversion", "1.0"},
		{"id", e.ID},
		{"source", source(e, c)},
		{"type", c.TypePrefix + e.Type},
		{"subject", e.Task},
		{"time", e.At.UTC().Format(time.RFC3339Nano)},
		{"sequence", fmt.Sprintf("%020d", e.Seq)}, // sorts as a text, as the extension's specification wants
		{"traceparent", e.Traceparent},
		{"correlationid", e.CorrelationID},
		{"step", e.Step},
		{"templateversion", e.Version},
	}
	set := all[:0]
	for _, a := range all {
		if a.value != "" {
			set = append(set, a)
		}
	}
	return set
}

func source(e sdk.Event[json.RawMessage], c cloudEventsConfig) string {
	switch {
	case c.Source != "":
		return c.Source
	case e.Template == "":
		return "/tasker"
	default:
		return "/tasker/" + url.PathEscape(e.Namespace) + "/" + url.PathEscape(e.Template)
	}
}

// structured makes the body of the structured mode.
func structured(e sdk.Event[json.RawMessage], c cloudEventsConfig) ([]byte, error) {
	doc := map[string]any{"datacontenttype": contentJSON, "data": data(e)}
	for _, a := range attributes(e, c) {
		doc[a.name] = a.value
	}
	return encodeJSON(doc)
}

// binary sets the headers of the binary mode; the body is the data.
func binary(h http.Header, e sdk.Event[json.RawMessage], c cloudEventsConfig) {
	for _, a := range attributes(e, c) {
		h.Set("ce-"+a.name, percent(a.value))
	}
}

// percent encodes the value of a header as the HTTP binding of CloudEvents says: what is not printable ASCII, and space,
// quote and percent.
func percent(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
