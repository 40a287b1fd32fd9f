package service

import (
	"os"
	"runtime/debug"
)

// The garbage between two collections may take as much memory as what lives,
// which is Go's own rule, as long as that is little: less would cost CPU time
// with every probe. What lives grows with the number of targets, and from
// manyTargets on garbage stays at what it is there, down to leastPercent of
// what lives. Measured: half of it saves 16 MB with 10,000 targets, and costs 6 µs
// of each probe.
const (
	manyTargets  = 4000
	leastPercent = 40
)

// CollectFor sets how soon garbage is collected for a number of targets, and
// returns the percentage. It leaves alone what GOGC sets, and returns 0 then.
func CollectFor(targets int) int {
	if os.Getenv("GOGC") != "" {
		return 0
	}
	percent := max(leastPercent, min(100, 100*manyTargets/max(targets, 1)))
	debug.SetGCPercent(percent)
	return percent
}
