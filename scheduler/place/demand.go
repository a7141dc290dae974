package place

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// demand is what all instances of one app want of a host, during one match.
type demand struct {
	demandKey
	app   *spec.App
	ports []int
	disks []string
	share int
	want  want
	part  part
	role  string
	rules *rules
	tally *Tally
	hosts map[string]int // the app's instances by host name

	view      *view // the slots to look at: all, or those that changed since nothing fitted
	exhausted bool  // nothing fits any more: offers only shrink while a match runs
	lane      *lane
	spread    *spread

	// What memo has of the slots that were refused.
	busy  []*slot
	until time.Time
}

type demandKey struct {
	app  spec.AppID
	pool string
}

// part is the part of an offer that an app accepts.
type part int

const (
	whole      part = iota // what is reserved for the role first
	unreserved             // acceptedResourceRoles ["*"]
	reserved               // acceptedResourceRoles without "*"
)

func (m *matcher) newDemand(it Intent) *demand {
	app := it.App
	d := &demand{demandKey: demandKey{app.ID, it.Pool}, app: app, ports: it.HostPorts, disks: it.Disks, share: it.Share, view: &m.fleet.view,
		want: want{app.Held(), app.Mem, app.Disk, float64(app.GPUs)}, part: accepted(app.AcceptedResourceRoles), tally: m.in.Tallies[app.ID]}
	switch {
	case len(m.in.Roles) == 0:
		d.part = whole
	case slices.Contains(m.in.Roles, app.Role):
		d.role = app.Role
	default:
		d.role = m.in.Roles[0]
	}
	if d.tally == nil || !d.tally.Serves(app) {
		d.tally = NewTally(app)
	}
	d.hosts = d.tally.of(hostField)
	m.recall(d)
	if d.rules == nil {
		d.rules = newRules(app, d.tally)
	}
	return d
}

func accepted(roles []string) part {
	switch {
	case len(roles) == 0:
		return whole
	case !slices.Contains(roles, "*"):
		return reserved
	case len(roles) == 1:
		return unreserved
	}
	return whole
}

// usable is what a demand can have of a slot.
func (s *slot) usable(p part) (cpus, mem, disk, gpus float64) {
	f, r := &s.free, &s.reserved
	switch p {
	case unreserved:
		return f.CPUs - r.CPUs, f.Mem - r.Mem, f.Disk - r.Disk, f.GPUs - r.GPUs
	case reserved:
		return r.CPUs, r.Mem, r.Disk, r.GPUs
	}
	return f.CPUs, f.Mem, f.Disk, f.GPUs
}

func (s *slot) usablePorts(p part) []spec.PortRange {
	switch p {
	case unreserved:
		return without(s.free.Ports, s.reserved.Ports)
	case reserved:
		return s.reserved.Ports
	}
	return s.free.Ports
}

// take uses up what one instance wants.
func (s *slot) take(d *demand, ports []int) {
	f, r, w := &s.free, &s.reserved, &d.want
	for _, x := range []struct {
		free, reserved *float64
		want           float64
	}{{&f.CPUs, &r.CPUs, w.cpus}, {&f.Mem, &r.Mem, w.mem}, {&f.Disk, &r.Disk, w.disk}, {&f.GPUs, &r.GPUs, w.gpus}} {
		*x.free = thousandths(*x.free - x.want)
		if d.part != unreserved && *x.reserved > 0 {
			*x.reserved = thousandths(max(0, *x.reserved-x.want))
		}
	}
	for _, p := range ports {
		f.Ports, _ = take(f.Ports, p)
		r.Ports, _ = take(r.Ports, p)
	}
	s.host.starting++
}

// thousandths keeps to Mesos's precision, so that nothing drifts.
func thousandths(x float64) float64 { return math.Round(x*1000) / 1000 }

// reason is why a slot cannot take one more instance, in the order of Marathon's funnel; "" when it can.
func (m *matcher) reason(d *demand, s *slot) Reason {
	o := &s.merged
	cpus, mem, disk, gpus := s.usable(d.part)
	switch w := &d.want; {
	case d.role != "" && o.Role != "" && o.Role != d.role, d.part == reserved && o.Reserved.CPUs <= 0 && w.cpus > 0:
		return UnfulfilledRole
	case len(d.rules.list) > 0 && d.rules.excludes(s.fields):
		return UnfulfilledConstraint
	case unavailable(o, m.in.Now):
		return AgentMaintenance
	case s.host.drained != "" && !m.stays:
		return HostDraining
	case len(d.disks) > 0:
		return InsufficientDisk
	case w.cpus > cpus+slack:
		return InsufficientCpus
	case w.mem > mem+slack:
		return InsufficientMemory
	case w.disk > disk+slack:
		return InsufficientDisk
	case w.gpus > gpus+slack:
		return InsufficientGpus
	}
	if len(d.ports) > 0 {
		if _, missing := takePorts(s.usablePorts(d.part), d.ports); missing != "" {
			return InsufficientPorts
		}
	}
	if d.pool != "" {
		if m.fleet.elsewhere != nil && m.fleet.elsewhere(d.pool, o.Host) != "" {
			return PoolElsewhere
		}
		if why, known := s.host.pools[d.pool]; !known || why != "" {
			return NetworkNotReady
		}
	}
	switch {
	case m.busy(s.host):
		return HostBusy
	case len(d.rules.list) > 0 && d.rules.full(s.fields):
		return UnfulfilledConstraint
	}
	return ""
}

// busy asks for a host's pace once in a match.
func (m *matcher) busy(h *host) bool {
	if m.in.Pace == nil {
		return false
	}
	if h.paced != m {
		h.paced = m
		h.starting, h.most = m.in.Pace(h.name)
	}
	return h.most > 0 && h.starting >= h.most
}

// why is a reason in words, with numbers.
func (m *matcher) why(d *demand, s *slot, reason Reason) string {
	o := &s.merged
	cpus, mem, disk, gpus := s.usable(d.part)
	lacks := func(name, unit string, want, have float64) string {
		text := fmt.Sprintf("%s: %s: %s%s wanted, %s%s free", o.Host, name, number(want), unit, number(max(0, have)), unit)
		switch d.part {
		case unreserved:
			text += " and not reserved"
		case reserved:
			text += " of what is reserved"
		}
		return text
	}
	switch reason {
	case UnfulfilledRole:
		if d.role != "" && o.Role != "" && o.Role != d.role {
			return fmt.Sprintf("%s: offered to role %s, not to %s", o.Host, o.Role, d.role)
		}
		return fmt.Sprintf("%s: nothing is reserved for the role, and the app accepts only %v", o.Host, d.app.AcceptedResourceRoles)
	case UnfulfilledConstraint:
		text := d.rules.never(s.fields)
		if text == "" {
			text = d.rules.violated(s.fields)
		}
		return o.Host + ": " + text
	case AgentMaintenance:
		until := "without a known end"
		if u := o.Unavailable.Until; !u.IsZero() {
			until = "until " + spec.FormatTime(u)
		}
		return fmt.Sprintf("%s: maintenance from %s, %s", o.Host, spec.FormatTime(o.Unavailable.From), until)
	case HostDraining:
		return o.Host + ": " + s.host.drained
	case InsufficientCpus:
		return lacks("cpus", "", d.want.cpus, cpus)
	case InsufficientMemory:
		return lacks("memory", " MiB", d.want.mem, mem)
	case InsufficientDisk:
		if len(d.disks) > 0 {
			return fmt.Sprintf("%s: %s, and the host offers none", o.Host, d.disks[0])
		}
		return lacks("disk", " MiB", d.want.disk, disk)
	case InsufficientGpus:
		return lacks("gpus", "", d.want.gpus, gpus)
	case InsufficientPorts:
		_, missing := takePorts(s.usablePorts(d.part), d.ports)
		return fmt.Sprintf("%s: %s", o.Host, missing)
	case PoolElsewhere:
		return fmt.Sprintf("%s: pool %s is for other hosts: %s", o.Host, d.pool, m.fleet.elsewhere(d.pool, o.Host))
	case NetworkNotReady:
		why, known := s.host.pools[d.pool]
		if !known {
			why = "its agent has not reported the network yet"
		}
		return fmt.Sprintf("%s: network %s is not ready: %s", o.Host, d.pool, why)
	case HostBusy:
		return fmt.Sprintf("%s: the host is starting %d tasks, at most %d at a time", o.Host, s.host.starting, s.host.most)
	}
	return o.Host + ": " + string(reason)
}
