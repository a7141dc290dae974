// Package place decides where tasks run. In: offers, the intents that want a host, the running tasks, and which hosts are
// ready for which pool. Out: placements, and for every refused offer the stage that refused it, with numbers.
package place

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/berth-project/berth/spec"
)

// Intent is one task that wants a host.
type Intent struct {
	Seat     spec.SeatID
	App      *spec.App
	Pool     string
	LastHost string // preferred, when it fits
	// HostPorts are the host ports it needs: 0 for any, otherwise that one.
	HostPorts []int
	// Pinned is the only host that it may run on, as its persistent volumes are there; "" for any.
	Pinned string
	// Disks are the disks that its volumes need beside the host's own, for people. No host offers such disks.
	Disks []string
}

// Host is what the scheduler knows of a host beside its offers.
type Host struct {
	// Pools says per pool "" when the host can attach containers to it, otherwise why not. A pool that is missing is not
	// ready: the host's agent has not spoken of it yet.
	Pools map[string]string
	// Starting are the tasks that the host is starting at this moment, MaxStarting how many it should have at most (0: no
	// bound), by what it was seen to start.
	Starting, MaxStarting int
}

// Running is a task that counts for constraints.
type Running struct {
	App        spec.AppID
	Attributes map[string]string // the Fields of its agent
}

// Input is everything the decision depends on.
type Input struct {
	Offers  []spec.Offer
	Intents []Intent
	Hosts   map[string]Host
	Running []Running
}

// Placement is a decision to run an intent on an offer.
type Placement struct {
	Intent    int // index in Input.Intents
	Offer     int // index in Input.Offers
	HostPorts []int
}

// Result holds the placements in the order of the intents, and for each app with unplaced intents the funnel and the
// reasons for people.
type Result struct {
	Placements []Placement
	Refused    map[spec.AppID]Refusals
}

// Refusals are why offers were not used for an app.
type Refusals struct {
	Processed int
	Declined  map[Reason]int
	Why       []string  // one a host, for people
	Offers    []Refused // the first MaxRefused of them
}

// Refused is an offer that an app could not use.
type Refused struct {
	Offer  spec.Offer // as it was offered
	Reason Reason
	Why    string
}

// MaxRefused bounds Refusals.Offers and Refusals.Why: people want to know why, not a list of thousands of hosts.
const MaxRefused = 10

// Reason is Marathon's name of a refusal.
type Reason string

// The reasons in Marathon's fixed order. NetworkNotReady and HostBusy are Berth's own and not shown in Marathon's funnel.
const (
	UnfulfilledRole       Reason = "UnfulfilledRole"
	UnfulfilledConstraint Reason = "UnfulfilledConstraint"
	NoReservation         Reason = "NoCorrespondingReservationFound"
	AgentMaintenance      Reason = "AgentMaintenance"
	InsufficientCpus      Reason = "InsufficientCpus"
	InsufficientMemory    Reason = "InsufficientMemory"
	InsufficientDisk      Reason = "InsufficientDisk"
	InsufficientGpus      Reason = "InsufficientGpus"
	InsufficientPorts     Reason = "InsufficientPorts"
	DeclinedScarce        Reason = "DeclinedScarceResources"
	NetworkNotReady       Reason = "NetworkNotReady"
	HostBusy              Reason = "HostBusy"
)

// Order is Marathon's order of the funnel's stages.
func Order() []Reason {
	return []Reason{UnfulfilledRole, UnfulfilledConstraint, NoReservation, AgentMaintenance, InsufficientCpus,
		InsufficientMemory, InsufficientDisk, InsufficientGpus, InsufficientPorts, DeclinedScarce}
}

// Match places the intents one after the other: on the seat's last host if it fits, otherwise where the constraints spread
// best, otherwise on the fullest offer that fits (best fit: large holes stay usable). No offer is ever overspent.
// Constraints are evaluated among the offers that fit, so that a full host never holds up a spread.
func Match(in Input) Result {
	m := matcher{in: in, free: make([]free, len(in.Offers)), out: Result{Refused: map[spec.AppID]Refusals{}},
		rules: map[spec.AppID]*rules{}, starting: map[string]int{}, exhausted: map[spec.AppID]bool{}}
	for i, o := range in.Offers {
		m.free[i] = free{cpus: o.CPUs, mem: o.Mem, disk: o.Disk, gpus: o.GPUs, ports: slices.Clone(o.Ports), attributes: Fields(o)}
	}
	for name, h := range in.Hosts {
		m.starting[name] = h.Starting
	}
	for _, it := range in.Intents {
		if m.rules[it.App.ID] == nil {
			m.rules[it.App.ID] = newRules(it.App)
		}
	}
	for _, r := range in.Running {
		if rs := m.rules[r.App]; rs != nil {
			rs.count(r.Attributes)
		}
	}
	for i := range in.Intents {
		m.place(i)
	}
	return m.out
}

type free struct {
	cpus, mem, disk, gpus float64
	ports                 []spec.PortRange
	attributes            map[string]string
}

type matcher struct {
	in       Input
	free     []free
	rules    map[spec.AppID]*rules
	starting map[string]int
	// exhausted are the apps of which an instance that may run anywhere found no place.
	exhausted map[spec.AppID]bool
	out       Result
}

func (m *matcher) place(i int) {
	it := m.in.Intents[i]
	if m.exhausted[it.App.ID] && it.Pinned == "" {
		return // offers only shrink while this call runs: what one instance did not get, the next does not get
	}
	rs := m.rules[it.App.ID]
	var fits []int
	ref := Refusals{Declined: map[Reason]int{}}
	refuse := func(o int, reason Reason, why string) {
		ref.Declined[reason]++
		if len(ref.Offers) < MaxRefused {
			ref.Why = append(ref.Why, why)
			ref.Offers = append(ref.Offers, Refused{m.in.Offers[o], reason, why})
		}
	}
	for o := range m.in.Offers {
		ref.Processed++
		if reason, why := m.refuse(it, o, len(ref.Offers) < MaxRefused); reason != "" {
			refuse(o, reason, why)
			continue
		}
		fits = append(fits, o)
	}
	least := rs.least(fits, m.free)
	fits = slices.DeleteFunc(fits, func(o int) bool {
		why := rs.violated(m.free[o].attributes, least)
		if why != "" {
			refuse(o, UnfulfilledConstraint, fmt.Sprintf("%s: %s", m.in.Offers[o].Host, why))
		}
		return why != ""
	})
	if len(fits) == 0 {
		m.out.Refused[it.App.ID] = ref
		m.exhausted[it.App.ID] = m.exhausted[it.App.ID] || it.Pinned == ""
		return
	}
	m.take(i, m.best(it, fits))
}

// best is the offer for an intent among those that it can have.
func (m *matcher) best(it Intent, fits []int) int {
	return slices.MinFunc(fits, func(a, b int) int {
		if x, y := m.in.Offers[a].Host == it.LastHost, m.in.Offers[b].Host == it.LastHost; x != y && it.LastHost != "" {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(m.free[a].cpus, m.free[b].cpus), cmp.Compare(m.free[a].mem, m.free[b].mem), cmp.Compare(m.in.Offers[a].Host, m.in.Offers[b].Host))
	})
}

func (m *matcher) take(i, o int) {
	it, f := m.in.Intents[i], &m.free[o]
	ports, rest, _ := takePorts(f.ports, it.HostPorts)
	f.cpus, f.mem, f.disk, f.gpus, f.ports = f.cpus-it.App.CPUs, f.mem-it.App.Mem, f.disk-it.App.Disk, f.gpus-float64(it.App.GPUs), rest
	m.rules[it.App.ID].count(f.attributes)
	m.starting[m.in.Offers[o].Host]++
	m.out.Placements = append(m.out.Placements, Placement{Intent: i, Offer: o, HostPorts: ports})
}

// slack absorbs the rounding of Mesos's three decimals.
const slack = 1e-6

// refuse says why an intent cannot have an offer; in words only when they are asked for, as there may be a million pairs.
func (m *matcher) refuse(it Intent, o int, inWords bool) (Reason, string) {
	reason, why := m.refusal(it, o)
	if reason == "" || !inWords {
		return reason, ""
	}
	return reason, m.in.Offers[o].Host + ": " + why()
}

func (m *matcher) refusal(it Intent, o int) (Reason, func() string) {
	offer, f, app := &m.in.Offers[o], &m.free[o], it.App
	if why := m.rules[app.ID].never(f.attributes); why != "" {
		return UnfulfilledConstraint, func() string { return why }
	}
	if it.Pinned != "" && it.Pinned != offer.Host {
		return NoReservation, func() string { return fmt.Sprintf("the volumes of %s are on %s", it.Seat, it.Pinned) }
	}
	if len(it.Disks) > 0 {
		return InsufficientDisk, func() string { return it.Disks[0] + ", and the host offers none" }
	}
	for _, r := range [...]struct {
		reason     Reason
		name, unit string
		want, have float64
	}{
		{InsufficientCpus, "cpus", "", app.CPUs, f.cpus},
		{InsufficientMemory, "memory", " MiB", app.Mem, f.mem},
		{InsufficientDisk, "disk", " MiB", app.Disk, f.disk},
		{InsufficientGpus, "gpus", "", float64(app.GPUs), f.gpus},
	} {
		if r.want > r.have+slack {
			return r.reason, func() string {
				return fmt.Sprintf("%s: %s%s wanted, %s%s free", r.name, number(r.want), r.unit, number(max(0, r.have)), r.unit)
			}
		}
	}
	if _, _, missing := takePorts(f.ports, it.HostPorts); missing != "" {
		return InsufficientPorts, func() string { return missing }
	}
	if it.Pool != "" {
		why, known := m.in.Hosts[offer.Host].Pools[it.Pool]
		if !known {
			why = "its agent has not reported the network yet"
		}
		if why != "" {
			return NetworkNotReady, func() string { return fmt.Sprintf("network %s is not ready: %s", it.Pool, why) }
		}
	}
	if h := m.in.Hosts[offer.Host]; h.MaxStarting > 0 && m.starting[offer.Host] >= h.MaxStarting {
		return HostBusy, func() string {
			return fmt.Sprintf("the host is starting %d tasks, at most %d at a time", m.starting[offer.Host], h.MaxStarting)
		}
	}
	return "", nil
}

// number writes a figure with at most three decimals (Mesos's precision) and without an exponent.
func number(x float64) string { return strconv.FormatFloat(math.Round(x*1000)/1000, 'f', -1, 64) }

// takePorts takes the wanted host ports (0: the lowest free) out of the ranges; missing says what could not be had.
func takePorts(ranges []spec.PortRange, want []int) (got []int, rest []spec.PortRange, missing string) {
	rest = slices.Clone(ranges)
	got = make([]int, len(want))
	for i, p := range want { // fixed ones first, so that no random choice takes them
		if p == 0 {
			continue
		}
		if rest, missing = take(rest, p); missing != "" {
			return nil, ranges, missing
		}
		got[i] = p
	}
	for i, p := range want {
		if p != 0 {
			continue
		}
		if len(rest) == 0 {
			return nil, ranges, "no free host port left"
		}
		got[i] = rest[0].Begin
		rest, _ = take(rest, got[i])
	}
	return got, rest, ""
}

func take(ranges []spec.PortRange, p int) ([]spec.PortRange, string) {
	for i, r := range ranges {
		if p < r.Begin || p > r.End {
			continue
		}
		var parts []spec.PortRange
		if r.Begin < p {
			parts = append(parts, spec.PortRange{Begin: r.Begin, End: p - 1})
		}
		if p < r.End {
			parts = append(parts, spec.PortRange{Begin: p + 1, End: r.End})
		}
		return slices.Concat(ranges[:i], parts, ranges[i+1:]), ""
	}
	return ranges, fmt.Sprintf("host port %d is not free", p)
}
