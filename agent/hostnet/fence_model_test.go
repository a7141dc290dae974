package hostnet

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The model: a scheduler that leases one address to one of two hosts, both with clocks of their own; messages that take their time or are
// lost; a control network and a data network that are cut apart from each other; a scheduler and processes that start anew. The
// scheduler's rules are those of scheduler/fence.go, the hosts' are Fences.
const (
	modelFence = 60 // seconds; a host's share is four fifths
	modelShare = modelFence * 4 / 5
	modelHold  = 9 // until a session that is cut is down on both ends
	modelSpeed = 1 // until an announcement is heard
)

type modelHost struct {
	offset, rate float64 // of its clock
	contact      float64 // by its clock; <0: never
	version      int     // of the document that it has
	seat         bool    // what that says
	gone         bool    // and whether the address is to be withdrawn
	linked       float64
	withdrawn    bool
	container    bool
	control      bool // reaches the scheduler
	data         bool // reaches the other
	cutAt        int  // when data changed last
	answersSince int
	asked        *modelPoll
}

// modelPoll is a question, and then the answer, on its way.
type modelPoll struct {
	sent     float64 // by the host's clock
	at       int     // when it arrives
	answered bool
	version  int
	seat     bool
	gone     bool
}

type model struct {
	now       int
	hosts     [2]*modelHost
	owner     int // whose seat it is; -1: nobody's
	version   int
	gone      [2]bool // from whom the seat was taken
	contact   [2]int  // when a host was answered; -1: not since began
	began     int
	up        bool
	unreached int // since when the engine does not reach the owner; -1: it does
	trace     []string
}

func (m *model) say(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%4d ", m.now)+fmt.Sprintf(format, args...))
}

func (h *modelHost) clock(now int) float64 { return h.offset + h.rate*float64(now) }

func moment(seconds float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

// joined says whether the two hosts' BGP works; down only after the hold time.
func (m *model) joined() bool {
	a, b := m.hosts[0], m.hosts[1]
	if a.data && b.data {
		return m.now-max(a.cutAt, b.cutAt) >= modelSpeed
	}
	last := 0
	for _, h := range m.hosts {
		if !h.data {
			last = max(last, h.cutAt)
		}
	}
	return m.now-last < modelHold
}

// step is one second.
func (m *model) step(t *rapid.T) {
	m.now++
	for i, h := range m.hosts {
		m.messages(t, i, h)
		m.fence(i, h)
	}
	if m.up {
		m.schedule()
	}
}

func (m *model) messages(t *rapid.T, i int, h *modelHost) {
	p := h.asked
	switch {
	case p == nil:
		h.asked = &modelPoll{sent: h.clock(m.now), at: m.now + rapid.IntRange(0, 5).Draw(t, "delay")}
	case m.now < p.at:
	case !h.control || !m.up && !p.answered:
		h.asked = nil // lost
	case !p.answered:
		// Answered with the newest document, and noted, in one step.
		m.contact[i] = m.now
		p.answered, p.version, p.seat, p.gone, p.at = true, m.version, m.owner == i, m.gone[i], m.now+rapid.IntRange(0, 5).Draw(t, "delay")
	default:
		h.asked = nil
		h.version, h.seat, h.gone, h.contact = p.version, p.seat, p.gone, p.sent
	}
}

func (m *model) fence(i int, h *modelHost) {
	joined, other := m.joined(), m.hosts[1-i]
	if joined {
		h.linked = h.clock(m.now)
	}
	a := netip.MustParseAddr("10.1.0.2")
	in := FenceInput{
		Now: moment(h.clock(m.now)), Up: joined, Linked: moment(h.linked), After: modelShare * time.Second,
		Seats: map[netip.Addr]bool{a: h.seat}, Tasks: map[netip.Addr]bool{a: true}, Elsewhere: map[netip.Addr]bool{},
	}
	if h.contact >= 0 {
		in.Contact = moment(h.contact)
	}
	if h.gone {
		in.Withdrawn = []netip.Addr{a}
	}
	if h.withdrawn {
		in.Before = []netip.Addr{a}
	}
	if h.container {
		in.Endpoints = []Endpoint{{Addresses: []netip.Addr{a}}}
	}
	// What is heard was said a moment ago.
	in.Elsewhere[a] = joined && other.answers() && m.now-other.answersSince >= modelSpeed
	was := h.answers()
	out := Fences(in)
	if h.withdrawn = out.Withdrawn[a] != ""; was != h.answers() {
		m.say("host %d answers: %t (%s)", i, h.answers(), out.Withdrawn[a])
		h.answersSince = m.now
	}
}

func (h *modelHost) answers() bool { return h.container && !h.withdrawn }

// schedule moves the address when it may.
func (m *model) schedule() {
	if m.owner >= 0 {
		o := m.owner
		switch reached := m.hosts[o].control; {
		case reached:
			m.unreached = -1
		case m.unreached < 0:
			m.unreached = m.now
		}
		if m.unreached < 0 || m.now < max(m.unreached, m.began, m.contact[o])+modelFence {
			return
		}
		m.say("host %d is given up", o)
		m.gone[o] = true
		m.owner, m.unreached = -1, -1
		m.version++
		return
	}
	for i, h := range m.hosts {
		// The engine reaches a host, so a container of the seat that was there is stopped first.
		if h.control && m.up {
			if h.container {
				h.container, h.withdrawn = false, false
				return
			}
			m.owner, m.gone[i] = i, false
			m.version++
			h.container, h.withdrawn, h.answersSince = true, false, m.now
			m.say("host %d has the seat", i)
			return
		}
	}
}

// TestNoAddressLivesTwice: while the two hosts hear each other, at most one answers, but for the moment that the news takes. A host that
// nobody hears answers, beside the new owner, at most for the time that it takes to notice.
func TestNoAddressLivesTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{up: true, owner: 0, version: 1, contact: [2]int{0, 0}, unreached: -1}
		for i := range m.hosts {
			m.hosts[i] = &modelHost{
				offset: float64(rapid.IntRange(0, 10000).Draw(t, "offset")), rate: rapid.Float64Range(0.95, 1.05).Draw(t, "rate"), contact: -1,
				control: true, data: true, cutAt: -100,
			}
			m.hosts[i].linked = m.hosts[i].offset
		}
		m.hosts[0].container, m.hosts[0].seat = true, true
		m.hosts[0].contact = m.hosts[0].offset
		both := 0
		for range rapid.IntRange(20, 60).Draw(t, "events") {
			h := m.hosts[rapid.IntRange(0, 1).Draw(t, "host")]
			switch rapid.SampledFrom([]string{"control", "control", "data", "both", "heal", "scheduler", "process", "nothing"}).Draw(t, "event") {
			case "control":
				h.control = !h.control
			case "data":
				h.data, h.cutAt = !h.data, m.now
			case "both":
				h.control, h.data, h.cutAt = false, false, m.now
			case "heal":
				for _, x := range m.hosts {
					if x.control = true; !x.data {
						x.data, x.cutAt = true, m.now
					}
				}
			case "scheduler":
				if m.up = !m.up; m.up {
					m.began, m.contact, m.unreached = m.now, [2]int{-1, -1}, -1
				}
			case "process": // it starts anew: the contact is on disk, up to 5 s old, the sessions are not there yet
				h.linked = h.clock(m.now)
				if h.contact >= 0 {
					h.contact -= 5
				}
			}
			m.say("control %t %t, data %t %t, scheduler %t", m.hosts[0].control, m.hosts[1].control, m.hosts[0].data, m.hosts[1].data, m.up)
			for range rapid.IntRange(1, 2*modelFence).Draw(t, "seconds") {
				m.step(t)
				if !m.hosts[0].answers() || !m.hosts[1].answers() {
					both = 0
					continue
				}
				both++
				bound := modelHold + modelShare/4 + 3 // until it is quiet
				if a, b := m.hosts[0], m.hosts[1]; a.data && b.data && m.now-max(a.cutAt, b.cutAt) > modelSpeed+1 {
					bound = modelSpeed + 1
				}
				if both > bound {
					for _, line := range m.trace {
						t.Log(line)
					}
					t.Fatalf("%4d two hosts answer for %d s", m.now, both)
				}
			}
		}
	})
}
