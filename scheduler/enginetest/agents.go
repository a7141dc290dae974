package enginetest

import (
	"context"
	"sync"
	"time"

	"github.com/berth-project/berth/spec"
)

// Scheduler is what an agent asks and tells.
type Scheduler interface {
	HostDocument(ctx context.Context, host string, version uint64) (*spec.HostDocument, error)
	Report(ctx context.Context, r spec.HostReport) error
}

// Agents plays the agents of all the world's hosts until ctx ends.
func (w *World) Agents(ctx context.Context, s Scheduler) {
	var names []string
	for _, h := range w.hosts {
		names = append(names, h.name)
	}
	Agents(ctx, s, names, w.opts.Pools)
}

// Agents plays the agents of hosts until ctx ends: each is ready for the pools, follows its document, and reports that every
// check passes and every drain is done.
func Agents(ctx context.Context, s Scheduler, hosts, pools []string) {
	var all sync.WaitGroup
	for _, name := range hosts {
		all.Go(func() {
			a := agent{host: name, pools: pools, told: map[string]bool{}}
			a.run(ctx, s)
		})
	}
	all.Wait()
}

type agent struct {
	host  string
	pools []string
	told  map[string]bool // task ids whose checks were reported
}

func (a *agent) run(ctx context.Context, s Scheduler) {
	var version uint64
	if s.Report(ctx, a.report()) != nil {
		return
	}
	for {
		doc, err := s.HostDocument(ctx, a.host, version)
		if err != nil || doc == nil {
			return
		}
		version = doc.Version
		if r, news := a.look(doc); news && s.Report(ctx, r) != nil {
			return
		}
	}
}

func (a *agent) report() spec.HostReport {
	r := spec.HostReport{Host: a.host, Networks: map[string]string{}, Health: map[string][]spec.CheckHealth{}, Usage: map[string]spec.Usage{}}
	for _, p := range a.pools {
		r.Networks[p] = ""
	}
	return r
}

// look is what the document asks for and was not reported yet.
func (a *agent) look(doc *spec.HostDocument) (spec.HostReport, bool) {
	r, news := a.report(), false
	seen := map[string]bool{}
	for _, seat := range doc.Seats {
		seen[seat.TaskID] = true
		if seat.Drain {
			r.Drained, news = append(r.Drained, seat.TaskID), true
		} else if !a.told[seat.TaskID] {
			a.told[seat.TaskID], news = true, true
			now := time.Now()
			for range seat.Probes {
				r.Health[seat.TaskID] = append(r.Health[seat.TaskID], spec.CheckHealth{Known: true, Alive: true, FirstSuccess: now, LastSuccess: now})
			}
			r.Usage[seat.TaskID] = spec.Usage{CPUQuota: seat.CPUs, CPU: seat.CPUs / 2, MemBytes: int64(seat.Mem) << 19}
		}
	}
	for id := range a.told {
		if !seen[id] {
			delete(a.told, id)
		}
	}
	return r, news
}
