package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-project/berth/agent/drain"
	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/agent/probe"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// Everything in this file is computed from values, without effects.

// running finds each task's running container.
func running(snap docker.Snapshot) map[string]docker.Container {
	byTask := map[string]docker.Container{}
	for _, c := range snap.Containers {
		if task := c.Labels[spec.LabelTask]; task != "" && c.Running {
			byTask[task] = c
		}
	}
	return byTask
}

// targets are the probes that the document wants of containers that run.
func targets(doc *spec.HostDocument, byTask map[string]docker.Container) []probe.Target {
	var out []probe.Target
	for _, s := range doc.Seats {
		c, ok := byTask[s.TaskID]
		// A draining task is not probed any more: nothing follows from it, and each probe would be a connection more.
		if !ok || len(s.Probes) == 0 || s.Drain {
			continue
		}
		t := probe.Target{TaskID: s.TaskID, Container: c.ID, Address: s.Address, Since: c.StartedAt, Probes: s.Probes}
		for _, m := range s.Containers {
			if c, ok := byTask[m.TaskID]; ok {
				if t.Members == nil {
					t.Members = map[string]string{}
				}
				t.Members[m.Name] = c.ID
			}
		}
		out = append(out, t)
	}
	return out
}

// draining are the tasks that the document wants drained. out is what the registrator did; nil: there is none.
func draining(doc *spec.HostDocument, byTask map[string]docker.Container, out func(task string) (spec.Drain, bool)) []drain.Task {
	var all []drain.Task
	for _, s := range doc.Seats {
		if !s.Drain {
			continue
		}
		c := byTask[s.TaskID]
		t := drain.Task{ID: s.TaskID, Pid: c.Pid, For: s.DrainFor, Shared: c.NetworkMode == "host"}
		if c.Running && c.Pid == 0 { // the engine has not described it yet, or not again
			t.Pid = drain.Unknown
		}
		for _, p := range s.Ports {
			t.Ports = append(t.Ports, p.Port)
		}
		for _, v := range s.Services {
			t.Ports = append(t.Ports, v.Port)
		}
		slices.Sort(t.Ports)
		t.Ports = slices.Compact(t.Ports)
		if d, ok := out(s.TaskID); ok {
			t.Out = &d
		}
		all = append(all, t)
	}
	return all
}

// attached counts the containers on each Docker network.
func attached(snap docker.Snapshot) map[string]int {
	n := map[string]int{}
	for _, c := range snap.Containers {
		if c.Running {
			for network := range c.Addresses {
				n[network]++
			}
		}
	}
	return n
}

// orphanAfter is how long a container of Berth's may run before the document must know it. The document of a launch travels
// beside the launch itself; without this patience every start would be reported as a stranger for a moment.
const orphanAfter = 5 * time.Second

// held lists the addresses inside pools that something other than a task of the document is on: containers started by
// hand, tasks that the scheduler does not know, the host itself.
func held(doc *spec.HostDocument, snap docker.Snapshot, host map[netip.Addr]string, now time.Time) []spec.Held {
	known := map[string]bool{}
	for _, s := range doc.Seats {
		known[s.TaskID] = true
		for _, m := range s.Containers {
			known[m.TaskID] = true
		}
	}
	by := map[netip.Addr]spec.Held{}
	for _, c := range snap.Containers {
		task := c.Labels[spec.LabelTask]
		if !c.Running || (task != "" && (known[task] || now.Sub(c.StartedAt) < orphanAfter)) {
			continue
		}
		for _, a := range c.Addresses {
			if inPools(doc.Pools, a) {
				seat, err := spec.ParseSeatID(c.Labels[spec.LabelApp] + "." + c.Labels[spec.LabelSeat])
				if err != nil || task == "" {
					by[a] = spec.Held{By: netplugin.Holder(c)}
					continue
				}
				by[a] = spec.Held{By: netplugin.Holder(c), Task: task, Seat: seat}
			}
		}
	}
	for a, text := range host {
		by[a] = spec.Held{By: text}
	}
	out := make([]spec.Held, 0, len(by))
	for _, a := range slices.SortedFunc(maps.Keys(by), netip.Addr.Compare) {
		held := by[a]
		held.Address = a
		out = append(out, held)
	}
	return out
}

func inPools(pools []spec.Pool, a netip.Addr) bool {
	return slices.ContainsFunc(pools, func(p spec.Pool) bool { return p.Has(a) })
}

// hostHeld picks the host's own addresses that lie in a pool. A gateway on its pool's bridge is there for the pool's sake.
func hostHeld(pools []spec.Pool, host map[netip.Prefix]string) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for p, link := range host {
		a := p.Addr()
		gateway := slices.ContainsFunc(pools, func(p spec.Pool) bool { return p.CIDR.IsValid() && p.Gateway() == a && p.Bridge() == link })
		if inPools(pools, a) && !gateway {
			out[a] = fmt.Sprintf("this host's own interface %s", link)
		}
	}
	return out
}

// clash is a network that an interface of the host is on and a pool overlaps: packets for one could go to the other.
type clash struct {
	link    string
	network netip.Prefix
}

// clashes finds, for each pool, the host's other interfaces that are on a part of its network. A single address (/32) is no
// network: it is only held. A pool inside a wider network, in which the host itself is elsewhere, is a part of the LAN set
// aside for it: the narrower route wins, as its operators want. own is the interface that is meant to be on the pool's network.
func clashes(pools []spec.Pool, host map[netip.Prefix]string, own func(spec.Pool) string) map[string][]clash {
	out := map[string][]clash{}
	for _, p := range pools {
		for have, link := range host {
			setAside := have.Bits() < p.CIDR.Bits() && !p.CIDR.Contains(have.Addr())
			if link != own(p) && !have.IsSingleIP() && p.CIDR.Overlaps(have) && !setAside {
				out[p.Name] = append(out[p.Name], clash{link: link, network: have.Masked()})
			}
		}
		slices.SortFunc(out[p.Name], func(a, b clash) int {
			return cmp.Or(cmp.Compare(a.link, b.link), a.network.Addr().Compare(b.network.Addr()), cmp.Compare(a.network.Bits(), b.network.Bits()))
		})
	}
	return out
}

// found is everything a report is made of.
type found struct {
	doc      *spec.HostDocument
	applied  uint64
	snap     docker.Snapshot
	refused  map[string]string // pools that the host cannot carry
	networks map[string]string // what the networks worker said
	held     []spec.Held
	health   map[string][]spec.CheckHealth
	drained  map[string]spec.Drain
	usage    map[string]spec.Usage
	freed    []string // volumes that are gone
	// endpoints as last surveyed; nil before, and where another process tells them.
	endpoints *spec.HostEndpoints
	pulled    []spec.PullResult
	metrics   string
}

// report assembles the whole report.
func report(f found) spec.HostReport {
	r := spec.HostReport{
		Host: f.doc.Host, DocumentVersion: f.applied, Networks: map[string]string{}, Held: f.held,
		Health: map[string][]spec.CheckHealth{}, Usage: map[string]spec.Usage{}, Endpoints: f.endpoints, Pulls: f.pulled, Metrics: f.metrics,
	}
	for _, p := range f.doc.Pools {
		r.Networks[p.Name] = readiness(f, p.Name)
	}
	for _, s := range f.doc.Seats {
		if h, ok := f.health[s.TaskID]; ok {
			r.Health[s.TaskID] = h
		}
		if u, ok := f.usage[s.TaskID]; ok {
			r.Usage[s.TaskID] = u
		}
		if d, ok := f.drained[s.TaskID]; s.Drain && ok {
			r.Drained = append(r.Drained, s.TaskID)
			if r.Drains == nil {
				r.Drains = map[string]spec.Drain{}
			}
			r.Drains[s.TaskID] = d
		}
	}
	for _, v := range f.doc.FreeVolumes {
		if slices.Contains(f.freed, v) {
			r.FreedVolumes = append(r.FreedVolumes, v)
		}
	}
	slices.SortFunc(r.Drained, cmp.Compare[string])
	return r
}

// readiness is why the pool's network cannot be used now, "" when it can.
func readiness(f found, pool string) string {
	if reason, ok := f.refused[pool]; ok {
		return reason
	}
	if !f.snap.Connected {
		return "the Docker Engine does not answer"
	}
	reason, ok := f.networks[pool]
	if !ok {
		return "its Docker network is not created yet"
	}
	return reason
}
