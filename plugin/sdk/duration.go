package sdk

import (
	"fmt"
	"time"

	derive "github.com/invopop/jsonschema"
)

// Duration is a [time.Duration] for inputs and configs: in JSON it is a text such as "1.5s" or "200ms".
type Duration time.Duration

// D returns the duration as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String returns the text form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. The error says what a duration looks like.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration; want one such as 200ms, 1.5s or 2m", text)
	}
	*d = Duration(v)
	return nil
}

// JSONSchema describes the text form.
func (Duration) JSONSchema() *derive.Schema {
	return &derive.Schema{
		Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$`,
		Description: "A duration, such as 200ms, 1.5s or 2m.",
	}
}
