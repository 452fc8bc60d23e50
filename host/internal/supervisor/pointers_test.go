package supervisor

import (
	"encoding/json"
	"testing"
)

// TestCheckPointers: a pointer that the configuration cannot have is told with what it may have meant.
func TestCheckPointers(t *testing.T) {
	t.Parallel()
	const schema = `{"$ref": "#/$defs/config", "$defs": {
		"config": {"type": "object", "additionalProperties": false, "properties": {
			"tls": {"$ref": "#/$defs/tls"}, "endpoints": {"type": "object", "additionalProperties": {"$ref": "#/$defs/endpoint"}},
			"list": {"type": "array", "items": {"type": "object", "properties": {"file": {"type": "string"}}}},
			"either": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"path": {"type": "string"}}}]},
			"free": {"type": "object"}, "circle": {"$ref": "#/$defs/config/properties/circle"}, "self": {"$ref": "#"}}},
		"endpoint": {"properties": {"tls": {"$ref": "#/$defs/tls"}}},
		"tls": {"type": "object", "properties": {"ca_file": {"type": "string"}, "cert_file": {"type": "string"}}}}}`
	for _, c := range []struct{ name, schema, entry, want string }{
		{"a property", schema, "config:/tls/ca_file", ""},
		{"of each member", schema, "config-dir:/endpoints/*/tls/cert_file", ""},
		{"of one member", schema, "config:/endpoints/main/tls/ca_file", ""},
		{"of each item", schema, "config:/list/*/file", ""},
		{"of one of two forms", schema, "config:/either/path", ""},
		{"below what may be anything", schema, "config:/free/what/ever", ""},
		{"through a reference to itself", schema, "config:/self/self/tls/ca_file", ""},
		{"no schema", "", "config:/any", ""},
		{"a path", schema, "/etc/ssl", ""},
		{"a typo", schema, "config:/tls/cafile", `permission "config:/tls/cafile": config_schema below /tls has no "cafile"; did you mean "ca_file"?`},
		{"a typo below a member", schema, "config:/endpoints/*/tsl/ca_file", `permission "config:/endpoints/*/tsl/ca_file": config_schema below /endpoints/* has no "tsl"; did you mean "tls"?`},
		{"nothing near", schema, "config-dir:/tls/password", `permission "config-dir:/tls/password": config_schema below /tls has no "password", only ca_file, cert_file`},
		{"below a text", schema, "config:/tls/ca_file/x", `permission "config:/tls/ca_file/x": config_schema below /tls/ca_file has no "x"`},
		{"an index", schema, "config:/list/0/file", `permission "config:/list/0/file": config_schema below /list has no "0"`},
		{"a circle", schema, "config:/circle/x", `permission "config:/circle/x": config_schema below /circle has no "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &Manifest{ConfigSchema: json.RawMessage(c.schema), Permissions: Permissions{FSWrite: []string{c.entry}}}
			got := ""
			if err := CheckPointers(m); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
