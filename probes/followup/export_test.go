package followup

import (
	"time"

	"vpcprobe/probes"
)

// Later lets time pass for a probe.
func Later(p probes.Probe, d time.Duration) {
	if p := p.(*probe); !p.again.IsZero() {
		p.again = p.again.Add(-d)
	}
}
