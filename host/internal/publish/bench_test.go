package publish_test

import "testing"

// BenchmarkPayloads publishes each event of the catalog: payload and envelope, without the
// commit.
func BenchmarkPayloads(b *testing.B) {
	s := newSample(b)
	for _, c := range s.calls() {
		b.Run(c.payload.EventName(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.publish(b, c)
			}
		})
	}
}
