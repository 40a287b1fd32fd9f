package agent

import (
	"testing"

	"vpcprobe/probes"
)

// BenchmarkWalk reports what the agent itself costs for a walk of one lane
// through all layers, beside what the probes do.
func BenchmarkWalk(b *testing.B) {
	kinds := []probes.Kind{
		opens(ends(probes.OK), lanes(1)),
		kind("connect", probes.PerLane, ends(probes.OK)),
		kind("trace", probes.PerTarget, ends(probes.OK)),
		kind("handshake", probes.PerLane, ends(probes.OK)),
		kind("invoke", probes.PerLane, ends(probes.OK)),
		kind("followup", probes.PerTarget, ends(probes.OK)),
	}
	a, err := New([]*probes.Target{target("orders")}, kinds, probes.System{}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	s := a.stride(b.Context(), nil)
	for b.Loop() {
		r := s.walkAll(a.walks[0].once())
		a.reschedule(s, &r)
	}
}
