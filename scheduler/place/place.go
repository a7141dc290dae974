// Package place decides where tasks run. In: offers, the intents that want a host, the running tasks, and which hosts are
// ready for which pool. Out: placements, and for every refused offer the stage that refused it, with numbers.
package place

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/berth-project/berth/spec"
)

// Intent is one task that wants a host.
type Intent struct {
	Seat     spec.SeatID
	App      *spec.App
	Pool     string
	LastHost string // preferred, when it fits
	// HostPorts are the host ports it needs: 0 for any, otherwise that one. They are the same for all intents of an app.
	HostPorts []int
	// Share is how many instances of a large app each host gets in any case, as far as it can take them: those that have fewer are alike. It is
	// the same for all intents of an app. 0: they never are.
	Share int
	// Pinned is the only host that it may run on, as its persistent volumes are there; "" for any.
	Pinned string
	// Disks are the disks that its volumes need beside the host's own, for people. No host offers such disks.
	Disks []string
}

// Input is everything the decision depends on beside the fleet.
type Input struct {
	Intents []Intent
	// Tallies count the tasks that run, by app; an app without one has none.
	Tallies map[spec.AppID]*Tally
	// Pace says how many tasks a host is starting at this moment, and how many it should at most (0: no bound). It must answer
	// the same while Match runs. nil: no host has a bound.
	Pace func(host string) (starting, most int)
	// Roles are those of the framework, the first for apps whose own is none of them. Without any,
	// neither roles nor reservations are looked at.
	Roles []string
	Now   time.Time
}

// Placement is a decision to run an intent on an offer.
type Placement struct {
	Intent    int         // index in Input.Intents
	Offer     *spec.Offer // all that the agent offered, merged; the same pointer for all placements there
	HostPorts []int
}

// Result holds the placements in the order of the intents, and for each app with unplaced intents the funnel and the
// reasons for people.
type Result struct {
	Placements []Placement
	// Taken are the ids of the offers behind each placement's offer. They are no longer in the fleet: an ACCEPT uses them up.
	Taken   map[*spec.Offer][]string
	Refused map[spec.AppID]Refusals
}

// Refusals are why offers were not used for an app: those that are new since the last time that it found no place.
type Refusals struct {
	Processed int
	Declined  map[Reason]int
	Why       []string  // one a host, for people
	Offers    []Refused // MaxRefused of them at most, one of each reason among them
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

// The reasons in Marathon's fixed order. HostDraining, PoolElsewhere, NetworkNotReady and HostBusy are Berth's own and not shown in Marathon's funnel.
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
	HostDraining          Reason = "HostDraining"
	PoolElsewhere         Reason = "PoolElsewhere"
	NetworkNotReady       Reason = "NetworkNotReady"
	HostBusy              Reason = "HostBusy"
)

// Order is Marathon's order of the funnel's stages.
func Order() []Reason {
	return []Reason{UnfulfilledRole, UnfulfilledConstraint, NoReservation, AgentMaintenance, InsufficientCpus,
		InsufficientMemory, InsufficientDisk, InsufficientGpus, InsufficientPorts, DeclinedScarce}
}

// slack absorbs the rounding of Mesos's three decimals.
const slack = 1e-6

// number writes a figure with at most three decimals (Mesos's precision) and without an exponent.
func number(x float64) string { return strconv.FormatFloat(math.Round(x*1000)/1000, 'f', -1, 64) }

// takePorts chooses the wanted host ports (0: the lowest free) from the ranges; missing says what could not be had.
func takePorts(ranges []spec.PortRange, want []int) (got []int, missing string) {
	rest := ranges
	got = make([]int, len(want))
	for i, p := range want { // fixed ones first, so that no random choice takes them
		if p == 0 {
			continue
		}
		if rest, missing = take(rest, p); missing != "" {
			return nil, missing
		}
		got[i] = p
	}
	for i, p := range want {
		if p != 0 {
			continue
		}
		if len(rest) == 0 {
			return nil, "no free host port left"
		}
		got[i] = rest[0].Begin
		rest, _ = take(rest, got[i])
	}
	return got, ""
}

// take is the ranges without a port; the argument stays as it is.
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

// without is what is in a and not in b.
func without(a, b []spec.PortRange) []spec.PortRange {
	for _, r := range b {
		var rest []spec.PortRange
		for _, x := range a {
			if r.End < x.Begin || r.Begin > x.End {
				rest = append(rest, x)
				continue
			}
			if x.Begin < r.Begin {
				rest = append(rest, spec.PortRange{Begin: x.Begin, End: r.Begin - 1})
			}
			if x.End > r.End {
				rest = append(rest, spec.PortRange{Begin: r.End + 1, End: x.End})
			}
		}
		a = rest
	}
	return a
}
