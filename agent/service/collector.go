package service

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Garbage is meant to be collected every pause, whatever the load: then memory
// holds the garbage of that time beside what lives, and collecting takes the
// same small share of a CPU for each byte that lives. Go's own rule, as much garbage
// as what lives, would take memory for nothing where there are many targets and
// few probes, and CPU time where there are few targets and many probes.
const (
	pause        = 1500 * time.Millisecond
	leastPercent = 25 // below that a burst would be collected over and over
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

// percent is what GOGC must be for the garbage of one pause to be collected at
// its end.
func percent(garbage, live uint64) int {
	return int(min(max(100*garbage/max(live, 1), leastPercent), mostPercent))
}
