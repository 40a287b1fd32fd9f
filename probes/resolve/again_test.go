package resolve

import (
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"vpcprobe/probes"
)

// Only what may be explained by answers that rotate is asked again, and every
// reply is counted.
func TestAskedAgainOnlyInDoubt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  func(*probes.Target)
		zone    zone
		lookups int64
	}{
		{"nothing in doubt", unknownAddresses, healthy(), 3},
		{"an answer shows less", unknownAddresses, healthy().with(api, "10.0.1.17"), 3},
		{"the name leads to the internet, which no rotation explains", unknownAddresses, internet(), 3},
		{"the addresses are configured", nil, healthy().with(api, "10.0.9.9"), 3},
		{"a custom domain may lead anywhere", anywhere, zone{domain: {"10.0.9.9"}}, 1},
		{"two regions", all(otherRegion, unknownAddresses), zone{endpoint: {"10.0.1.17"}, "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com": {"10.7.7.7"}}, 2},
		{"in doubt", unknownAddresses, healthy().with(api, "10.0.9.9"), 3 + maxAgain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			counting := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
				asked.Add(1)
				tt.zone.ServeDNS(w, q)
			})
			w := world{target: orders(), resolvers: one(counting)}
			if tt.change != nil {
				tt.change(&w.target)
			}
			var counted float64
			for _, o := range w.walk(t).Of(name) {
				for _, v := range o.Values {
					if v.Metric == responses {
						counted += v.V
					}
				}
			}
			if n := asked.Load(); n != 2*tt.lookups || counted != float64(n) { // A and AAAA each
				t.Errorf("%d questions and %v replies counted, want %d", n, counted, 2*tt.lookups)
			}
		})
	}
}
