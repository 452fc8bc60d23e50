package trace

import (
	"fmt"
	"strconv"
	"strings"
)

// Sampler decides which traces are recorded. The zero value records none; everybody who is
// given the same sampler decides the same of a task.
type Sampler struct {
	share       float64
	parentBased bool
}

// The names of samplers, as OTEL_TRACES_SAMPLER has them; each of the first three may have
// parentbased_ before it: then a caller's decision goes before.
const (
	samplerOn     = "always_on"
	samplerOff    = "always_off"
	samplerRatio  = "traceidratio"
	parentBasedBy = "parentbased_"
)

// ParseSampler reads the values of OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. An
// empty name means parentbased_always_on. With an error, which tells what is wrong, comes
// the sampler that the standard prescribes instead.
func ParseSampler(name, arg string) (Sampler, error) {
	if name == "" {
		name = parentBasedBy + samplerOn
	}
	kind, parentBased := strings.CutPrefix(name, parentBasedBy)
	s := Sampler{share: 1, parentBased: parentBased}
	switch kind {
	case samplerOn:
	case samplerOff:
		s.share = 0
	case samplerRatio:
		if arg == "" {
			return s, nil
		}
		share, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(share >= 0 && share <= 1) { // not a number is not within
			return s, fmt.Errorf("sampler argument %q: want a number from 0 to 1", arg)
		}
		s.share = share
	default:
		return Sampler{share: 1, parentBased: true}, fmt.Errorf(
			"sampler %q: want %s, %s, %s, or one of them after %s", name, samplerOn, samplerOff, samplerRatio, parentBasedBy)
	}
	return s, nil
}

// Sampled reports whether the trace of a task is recorded.
func (s Sampler) Sampled(t Task) bool {
	if s.parentBased && t.Caller != (SpanID{}) {
		return t.Sampled
	}
	return t.Trace.Within(s.share)
}

// Share returns the share of traces without a caller that are recorded, 0 to 1.
func (s Sampler) Share() float64 { return s.share }
