package trace

import (
	"time"

	"vpcprobe/probes"
)

const name = "trace"

// Kind traces the path to every address of the target.
var Kind = probes.Kind{
	Name:  name,
	Doc:   "traces the path to every address and finds where silence begins (replaces traceroute -n -T -p 443)",
	Per:   probes.PerTarget,
	Every: pace,
	Rules: Rules,
	New: func(sys probes.System) probes.Constructor {
		return func(t *probes.Target) (probes.Probe, error) { return nil, nil }
	},
}

// Rules are the root causes that the path shows.
var Rules = []*probes.Rule{}

const pace = 5 * time.Minute
