package service

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Collecting takes CPU time for each byte that lives, however much garbage there
// is, and garbage takes memory until it is collected. Go's own rule, as much
// garbage as what lives, would take memory for nothing where there are many
// targets and few probes, and CPU time where there are few targets and many
// probes. Here garbage is collected when it is as much as is no matter, but not
// sooner than a pause after the last time, and not much later; where a pause
// brings as much as what lives, half as often.
const (
	pause        = time.Second
	longest      = 4       // pauses
	noMatter     = 3 << 20 // bytes
	leastPercent = 15      // below that a burst would be collected over and over
	mostPercent  = 200
)

// Collect sets how soon garbage is collected, anew every pause, until ctx is
// done; then all is as before. It leaves alone what GOGC sets.
func Collect(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	set := 100
	before := debug.SetGCPercent(set)
	defer debug.SetGCPercent(before)
	last, garbage := heap(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := heap()
		garbage = (3*garbage + now.allocated - last.allocated) / 4 // a scrape should not count as if it went on
		if want := percent(garbage, now.live); want*10 < set*9 || want*9 > set*10 {
			set = want
			debug.SetGCPercent(set)
		}
		last = now
	}
}

// usage is of memory, in bytes: what has been allocated ever, and what was
// alive, or may hold what is, at the end of the latest collection.
type usage struct{ allocated, live uint64 }

func heap() usage {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(samples)
	u := usage{allocated: samples[0].Value.Uint64()}
	for _, s := range samples[1:] {
		u.live += s.Value.Uint64()
	}
	return u
}

// percent is what GOGC must be where so much garbage comes with each pause and
// so much lives, both in bytes. The runtime begins to collect when there is seven
// tenths of what may be there at the end (mgcpacer.go, minTriggerRatioNum).
func percent(garbage, live uint64) int {
	live = max(live, 1)
	garbage += garbage * garbage / live
	garbage = garbage * 10 / 7
	garbage = min(max(garbage, noMatter), longest*garbage)
	return int(min(max(100*garbage/live, leastPercent), mostPercent))
}
