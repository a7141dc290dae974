package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go collects garbage when the heap has doubled. A scheduler of a large fleet makes hundreds of megabytes of garbage a second while it
// launches, and has the memory to collect it less often: half of what the collector costs, for a heap that stays as large as the
// doubled one is in the end. One of a few machines collects for 10 ms many times a second while much waits, and hosts wait with it; it has
// some megabytes to spare, too.
const (
	// roomyHeap is what the heap may grow to before Go's own rule holds again; a fleet of 10,000 hosts is to fit into 2 GiB, with the
	// pages of the state file and what is made while the collector looks.
	roomyHeap = 1300 << 20
	// mostGarbage is in percent of what lives.
	mostGarbage = 300
)

// garbageFor is how much garbage may gather, in percent of what lives.
func garbageFor(live uint64) int {
	if live >= roomyHeap/2 {
		return 100
	}
	return min(mostGarbage, int((roomyHeap-live)*100/max(1, live)))
}

// paceCollector sets the collector to what lives until ctx ends. An operator who has set GOGC knows better.
func paceCollector(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	look := time.NewTicker(time.Second)
	defer look.Stop()
	live, last := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, 100
	defer func() { debug.SetGCPercent(100) }()
	for {
		metrics.Read(live)
		if next := garbageFor(live[0].Value.Uint64()); next < last-10 || next > last+10 { // each change stops the world for a moment
			debug.SetGCPercent(next)
			last = next
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}
