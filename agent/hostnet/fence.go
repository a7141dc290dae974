package hostnet

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// FenceInput is what decides which of its seats' addresses a host may answer on.
type FenceInput struct {
	Now time.Time
	// Contact is when the newest of the requests was sent that the scheduler has answered; zero: never. The document is that
	// answer's, or a newer one. From the sending, as the scheduler counts from the answering: the host's time is always over first.
	Contact time.Time
	// Up: a BGP session is established. Linked is when one was last, or when the process began.
	Up     bool
	Linked time.Time
	// After is the document's FenceAfter.
	After     time.Duration
	Endpoints []Endpoint
	// Seats are the addresses of this host's seats in the document, Tasks those that containers of tasks are on.
	Seats, Tasks map[netip.Addr]bool
	// Blocks are the document's, Taken the parts of them that are for seats.
	Blocks, Taken []netip.Prefix
	// Elsewhere are the single addresses that others announce.
	Elsewhere map[netip.Addr]bool
	Withdrawn []netip.Addr // the document's
	// Before is what was withdrawn until now, also by an earlier process.
	Before []netip.Addr
}

// Fence is what the host does about it.
type Fence struct {
	// Withdrawn are the addresses that are neither announced nor answered, with the reason.
	Withdrawn map[netip.Addr]string
	// CutOff: neither the scheduler nor any BGP peer is heard.
	CutOff bool
	// Again is when to look once more although nothing changes; zero: never.
	Again time.Time
}

// quiet is how long all BGP sessions must be down before a host takes itself for cut off: a router that is restarted is back
// sooner.
const quiet = 30 * time.Second

// Fences decides. A seat's address is leased to the host for After since Contact: within that time nobody else has it, and the document
// is right about whose it is. Beyond it the host goes on, as a scheduler that is dead must take no network down, until one of two things
// shows that somebody else may have the address: no BGP peer is heard either, so that the host is cut off; or somebody
// announces it. What was withdrawn once comes back only when the scheduler says that it is this host's.
//
// What is in the part of the host's own blocks that is not for seats, and is no task's, are containers that people started. Nobody
// else can be given those addresses, so they stay.
func Fences(in FenceInput) Fence {
	f := Fence{Withdrawn: map[netip.Addr]string{}}
	valid := in.After <= 0 || age(in.Now, in.Contact) < in.After
	silence := min(quiet, in.After/4)
	f.CutOff = !valid && !in.Up && age(in.Now, in.Linked) >= silence
	if in.After > 0 && !in.Up && !f.CutOff {
		f.Again = later(in.Contact.Add(in.After), in.Linked.Add(silence))
	}
	for _, e := range in.Endpoints {
		if why := in.withdraw(e.Addresses, valid, f.CutOff); why != "" {
			for _, a := range e.Addresses {
				f.Withdrawn[a] = why
			}
		}
	}
	return f
}

// withdraw says why a container's addresses are withdrawn; "": they are not. What is true of one of them is true of its twin.
func (in FenceInput) withdraw(addresses []netip.Addr, valid, cutOff bool) string {
	any := func(is func(netip.Addr) bool) bool { return slices.ContainsFunc(addresses, is) }
	on := func(set map[netip.Addr]bool) bool { return any(func(a netip.Addr) bool { return set[a] }) }
	among := func(list []netip.Addr) bool { return any(func(a netip.Addr) bool { return slices.Contains(list, a) }) }
	seat, task := on(in.Seats), on(in.Tasks)
	within := func(parts []netip.Prefix) bool {
		return any(func(a netip.Addr) bool {
			return slices.ContainsFunc(parts, func(p netip.Prefix) bool { return p.Contains(a) })
		})
	}
	before := among(in.Before)
	switch {
	case among(in.Withdrawn):
		return "the scheduler gives it to another host"
	case !seat && !task && !before && within(in.Blocks) && !within(in.Taken):
		return ""
	case cutOff:
		return fmt.Sprintf("neither the scheduler nor a BGP peer is heard, and it may have been given to another host %s after the last word", in.After)
	case valid && seat:
		return ""
	case on(in.Elsewhere) && (seat || task):
		return "another host announces it, and the scheduler does not say that it is this one's"
	case before:
		return "it was withdrawn, and the scheduler does not say that it is this host's"
	}
	return ""
}

// age is how long ago a moment was, by the clock that says the longer: the monotonic one stands still while a machine is suspended, and
// the other can be set back. A moment that has not come yet was written by a clock that was wrong: long ago.
func age(now, then time.Time) time.Duration {
	d := max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
	if then.IsZero() || d < 0 {
		return math.MaxInt64
	}
	return d
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
