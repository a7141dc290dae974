package mesostest

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// offerAll offers what is free of every agent that has no offer out and is not refused. Needs the lock.
func (m *Master) offerAll() {
	if m.stream == nil || m.suppress {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(m.agents)) {
		a := m.agents[id]
		if !a.auto || a.away || time.Now().Before(a.refusedUntil) || m.opts.Split == nil && m.offerOut(id) {
			continue
		}
		free := a.total
		free.Ports = slices.Clone(free.Ports)
		for _, t := range m.tasks {
			if t.launch.AgentID == id && !spec.TerminalState(t.real) {
				subtract(&free, t.launch)
			}
		}
		for _, o := range m.offers {
			if o.AgentID == id && m.opts.Split != nil {
				subtract(&free, spec.Launch{CPUs: o.CPUs, Mem: o.Mem, Disk: o.Disk, HostPorts: o.Ports})
			}
		}
		if free.CPUs <= 0 || free.Mem <= 0 {
			continue
		}
		if m.opts.Split != nil && m.opts.Split() {
			half := free
			half.CPUs, half.Mem, half.Disk, half.Ports = round(free.CPUs/2), round(free.Mem/2), round(free.Disk/2), nil
			m.makeOffer(half, true)
			subtract(&free, spec.Launch{CPUs: half.CPUs, Mem: half.Mem, Disk: half.Disk})
		}
		m.makeOffer(free, true)
	}
}

func (m *Master) offerOut(agentID string) bool {
	for _, o := range m.offers {
		if o.AgentID == agentID {
			return true
		}
	}
	return false
}

// clearOffers voids all offers: they belong to one subscription.
func clearOffers(m *Master) {
	clear(m.offers)
	for _, a := range m.agents {
		a.refusedUntil = time.Time{}
	}
}

func add(to *spec.Offer, o spec.Offer) {
	to.CPUs, to.Mem, to.Disk = round(to.CPUs+o.CPUs), round(to.Mem+o.Mem), round(to.Disk+o.Disk)
	to.Ports = append(to.Ports, o.Ports...)
}

func subtract(from *spec.Offer, l spec.Launch) {
	from.CPUs, from.Mem, from.Disk = round(from.CPUs-l.CPUs), round(from.Mem-l.Mem), round(from.Disk-l.Disk)
	for _, used := range l.HostPorts {
		var left []spec.PortRange
		for _, p := range from.Ports {
			if p.Begin < used.Begin {
				left = append(left, spec.PortRange{Begin: p.Begin, End: min(p.End, used.Begin-1)})
			}
			if p.End > used.End {
				left = append(left, spec.PortRange{Begin: max(p.Begin, used.End+1), End: p.End})
			}
		}
		from.Ports = left
	}
}

func fits(l spec.Launch, o spec.Offer) bool {
	if l.CPUs+l.Mem+l.Disk <= 0 || l.CPUs > o.CPUs || l.Mem > o.Mem || l.Disk > o.Disk {
		return false
	}
	for _, p := range l.HostPorts {
		if !slices.ContainsFunc(o.Ports, func(r spec.PortRange) bool { return r.Begin <= p.Begin && p.End <= r.End }) {
			return false
		}
	}
	return true
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
