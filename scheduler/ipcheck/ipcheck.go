// Package ipcheck compares what the store says of addresses with what the hosts' Docker Engines and kernels have. In: pools,
// leases, seats, live tasks, and each host's last report. Out: findings, each with what differs, why that is so as far as can
// be told, and what a repair would do. It never reads a clock and touches nothing.
//
// A finding about a host rests only on facts that are fresh, as the caller judges: of a host that did not answer nothing is
// said but that. Tasks on their way up or down are in transition, and no finding; what else is in transition differs only
// once, so the caller compares twice and keeps what Lasting finds in both.
package ipcheck

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/spec"
)

// Kind says what differs.
type Kind string

// The kinds of findings, the worst first.
const (
	Duplicate    Kind = "duplicate"     // one address on two containers, or given to two tasks
	WrongSeat    Kind = "wrong-seat"    // a container or a task is on an address that is leased to another seat, or is not its own
	WrongHost    Kind = "wrong-host"    // a task's container runs on another host than the task
	Foreign      Kind = "foreign"       // something that is not Berth's is on a leased address
	NoTask       Kind = "no-task"       // a container of Berth's runs although its task is over
	NoContainer  Kind = "no-container"  // a task runs, its host shows no container on its address
	NotConnected Kind = "not-connected" // a container whose link or route is missing or leads elsewhere
	NotAnnounced Kind = "not-announced" // a container that the host's BGP peers are not told of
	StaleRoute   Kind = "stale-route"   // the kernel has a link or route, no container has the address
	NoLease      Kind = "no-lease"      // a task is on an address that is leased to nobody
	Orphan       Kind = "orphan"        // an active lease of a seat that nobody wants
	OutsidePools Kind = "outside-pools" // a lease that no pool contains
	Silent       Kind = "silent"        // a host did not answer: its facts are unknown
	Unread       Kind = "unread"        // a host answered, but its Docker Engine or its kernel did not
)

// Action is what a repair does.
type Action string

// The actions. None of them ends a task that counts.
const (
	Nothing    Action = ""            // it is for people to judge
	DropLease  Action = "drop-lease"  // a lease that nobody wants is given up
	SetNetwork Action = "set-network" // the host compares its whole network with what is wanted, and sets what differs
	StopOver   Action = "stop"        // the host stops a container whose task is over
	AskEngine  Action = "ask-engine"  // the engine is asked what became of the task
)

// Finding is one difference.
type Finding struct {
	Kind      Kind
	Address   netip.Addr // zero where it is about a whole host
	Hosts     []string   // sorted; none where it is about the store alone
	Seat      spec.SeatID
	Task      string
	Container string
	Text      string // what differs, and why
	Action    Action
	Repair    string // what a repair does, or what people may do
}

// Host is what is known of one host.
type Host struct {
	Name string
	Seen *spec.HostEndpoints // nil: it has never told
	At   time.Time           // when it told
	// Fresh: what it told was read after the comparison was asked for.
	Fresh bool
	Held  []spec.Held
}

// Input is everything that is compared. Nothing in it is changed.
type Input struct {
	Pools  []spec.Pool
	Leases []spec.Lease
	Apps   map[spec.AppID]*spec.App
	Tasks  map[spec.AppID][]*spec.Task // live ones
	// Settling are apps whose leases are about to be looked at: an unwanted one may not rest yet.
	Settling map[spec.AppID]bool
	Hosts    []Host
	Now      time.Time
}

// startsWithin is how long after its start a task may be missed by its host: the engine says that it runs before the host
// has read its containers again.
const startsWithin = 5 * time.Second

// Compare finds the differences, sorted by kind, address and text.
func Compare(in Input) []Finding {
	c := &check{in: in, leases: map[netip.Addr]spec.Lease{}, tasks: map[string]*spec.Task{}, on: map[netip.Addr][]*spec.Task{}, seated: map[spec.SeatID]bool{}, holders: map[netip.Addr][]holder{}}
	for _, l := range in.Leases {
		c.leases[l.Address] = l
	}
	for _, tasks := range in.Tasks {
		for _, t := range tasks {
			c.tasks[t.ID], c.seated[t.Seat] = t, true
			if t.Address.IsValid() {
				c.on[t.Address] = append(c.on[t.Address], t)
			}
		}
	}
	for _, tasks := range c.on {
		slices.SortFunc(tasks, func(a, b *spec.Task) int { return cmp.Compare(a.ID, b.ID) })
	}
	for _, h := range in.Hosts {
		if h.Fresh && h.Seen != nil {
			for _, e := range h.Seen.List {
				c.holders[e.Address] = append(c.holders[e.Address], holder{host: h, HostEndpoint: e})
			}
		}
	}
	c.store()
	c.hosts()
	c.addresses()
	c.missing()
	slices.SortFunc(c.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind.rank(), b.Kind.rank()), a.Address.Compare(b.Address), cmp.Compare(a.Text, b.Text))
	})
	return c.found
}

// Lasting keeps the findings of now that an earlier comparison had, too: same kind, address, hosts, task and container.
func Lasting(before, now []Finding) []Finding {
	had := NewSet(before)
	var out []Finding
	for _, f := range now {
		if had.Has(f) {
			out = append(out, f)
		}
	}
	return out
}

// Set are findings, found by what they are about: a fleet that lost its network has one for each container.
type Set map[difference]bool

// difference is what a finding is about, whatever its words.
type difference struct {
	kind            Kind
	address         netip.Addr
	hosts           string
	seat            spec.SeatID
	task, container string
}

func (f Finding) difference() difference {
	return difference{f.Kind, f.Address, strings.Join(f.Hosts, "\n"), f.Seat, f.Task, f.Container}
}

// NewSet is a set of these findings.
func NewSet(found []Finding) Set {
	s := make(Set, len(found))
	for _, f := range found {
		s[f.difference()] = true
	}
	return s
}

// Has says whether one of them is about the same difference.
func (s Set) Has(f Finding) bool { return s[f.difference()] }

func (k Kind) rank() int {
	return slices.Index([]Kind{Duplicate, WrongSeat, WrongHost, Foreign, NoTask, NoContainer, NotConnected, NotAnnounced, StaleRoute, NoLease, Orphan, OutsidePools, Silent, Unread}, k)
}

// holder is something on a host that is on an address, by fresh facts.
type holder struct {
	host Host
	spec.HostEndpoint
}

// String names it for people.
func (h holder) String() string {
	if h.TaskID != "" {
		return fmt.Sprintf("container %q of %s on %s", h.Name, h.Seat, h.host.Name)
	}
	return fmt.Sprintf("container %q on %s", h.Name, h.host.Name)
}

type check struct {
	in      Input
	leases  map[netip.Addr]spec.Lease
	tasks   map[string]*spec.Task
	on      map[netip.Addr][]*spec.Task
	seated  map[spec.SeatID]bool // that have a task
	holders map[netip.Addr][]holder
	found   []Finding
}

func (c *check) add(f Finding) {
	slices.Sort(f.Hosts)
	f.Hosts = slices.Compact(f.Hosts)
	c.found = append(c.found, f)
}

// store finds what is wrong inside the store.
func (c *check) store() {
	for _, l := range c.in.Leases {
		if !slices.ContainsFunc(c.in.Pools, func(p spec.Pool) bool { return p.Name == l.Pool && p.CIDR.Contains(l.Address) }) {
			f := Finding{Kind: OutsidePools, Address: l.Address, Seat: l.Seat,
				Text:   fmt.Sprintf("%s is leased to %s from pool %q, but %s", l.Address, l.Seat, l.Pool, c.poolFault(l)),
				Repair: fmt.Sprintf("%s is still wanted: bring the pool back, or give the app another pool (%s), and restart it", l.Seat, spec.AppLabelPool)}
			if c.unused(l) {
				f.Action, f.Repair = DropLease, "the lease is given up: nobody wants the seat"
			}
			c.add(f)
		} else if c.unused(l) && l.IdleSince.IsZero() && !c.in.Settling[l.Seat.App] {
			c.add(Finding{Kind: Orphan, Address: l.Address, Seat: l.Seat, Action: DropLease, Repair: "the lease is given up",
				Text: fmt.Sprintf("%s is leased to %s as if it were wanted, but %s, and the seat has no task; nobody else is given the address", l.Address, l.Seat, c.unwanted(l.Seat))})
		}
	}
	for a, tasks := range c.on {
		for _, t := range tasks {
			switch l, ok := c.leases[a]; {
			case !ok:
				c.add(Finding{Kind: NoLease, Address: a, Hosts: []string{t.Host}, Seat: t.Seat, Task: t.ID, Repair: fmt.Sprintf("`berth restart` of %s gives it a leased address", t.Seat.App),
					Text: fmt.Sprintf("task %s of %s is on %s, which is leased to nobody, so that somebody else may get it", t.ID, t.Seat, a)})
			case l.Seat != t.Seat:
				c.add(Finding{Kind: WrongSeat, Address: a, Hosts: []string{t.Host}, Seat: t.Seat, Task: t.ID, Repair: fmt.Sprintf("`berth restart` of %s gives it its own address", t.Seat.App),
					Text: fmt.Sprintf("task %s of %s is on %s, which is leased to %s", t.ID, t.Seat, a, l.Seat)})
			}
		}
		if len(tasks) > 1 {
			f := Finding{Kind: Duplicate, Address: a, Seat: tasks[0].Seat, Task: tasks[0].ID, Repair: "kill all but one of them"}
			var names []string
			for _, t := range tasks {
				f.Hosts, names = append(f.Hosts, t.Host), append(names, fmt.Sprintf("%s of %s on %s", t.ID, t.Seat, t.Host))
			}
			f.Text = fmt.Sprintf("%s was given to %d live tasks: %s", a, len(tasks), strings.Join(names, ", "))
			c.add(f)
		}
	}
}

// poolFault says why the pool does not contain the lease.
func (c *check) poolFault(l spec.Lease) string {
	i := slices.IndexFunc(c.in.Pools, func(p spec.Pool) bool { return p.Name == l.Pool })
	if i < 0 {
		return "there is no such pool any more"
	}
	return fmt.Sprintf("that pool is %s now", c.in.Pools[i].CIDR)
}

// unused says that nobody wants the seat and that it has no task.
func (c *check) unused(l spec.Lease) bool {
	sameApp := func(t *spec.Task) bool { return t.Seat.App == l.Seat.App }
	return c.unwanted(l.Seat) != "" && !c.seated[l.Seat] && !slices.ContainsFunc(c.on[l.Address], sameApp)
}

// unwanted is why nobody wants a seat; "" when its app does. Those of apps whose instances float are wanted by their tasks only.
func (c *check) unwanted(seat spec.SeatID) string {
	switch app := c.in.Apps[seat.App]; {
	case app == nil:
		return fmt.Sprintf("there is no app %s", seat.App)
	case app.Floats():
		return fmt.Sprintf("instances of %s are interchangeable", seat.App)
	case !app.HasSeat(seat.Index):
		return fmt.Sprintf("%s has %d instances", seat.App, app.Instances)
	}
	return ""
}

// hosts finds those of which nothing, or not all, is known.
func (c *check) hosts() {
	tasks := map[string]int{}
	for _, t := range c.tasks {
		tasks[t.Host]++
	}
	for _, h := range c.in.Hosts {
		switch {
		case !h.Fresh:
			live := tasks[h.Name]
			if live == 0 && (h.Seen == nil || len(h.Seen.List) == 0) {
				continue // it has nothing, and is wanted for nothing
			}
			text := fmt.Sprintf("host %s has never told of its addresses", h.Name)
			if h.Seen != nil {
				text = fmt.Sprintf("host %s did not answer; it was heard of last at %s, with containers on %d addresses", h.Name, spec.FormatTime(h.At), containers(h.Seen))
			}
			c.add(Finding{Kind: Silent, Hosts: []string{h.Name}, Text: text + fmt.Sprintf(". Nothing is said of it; %d live tasks are there", live),
				Repair: "see whether the host, its berth net and its berth agent run and reach the scheduler"})
		case h.Seen == nil:
		case !h.Seen.Engine:
			c.add(Finding{Kind: Unread, Hosts: []string{h.Name}, Repair: "see whether dockerd runs there",
				Text: fmt.Sprintf("the Docker Engine of host %s does not answer; its containers are unknown", h.Name)})
		case h.Seen.Kernel != "":
			c.add(Finding{Kind: Unread, Hosts: []string{h.Name}, Action: SetNetwork, Repair: "the host reads its network again",
				Text: fmt.Sprintf("links and routes of host %s could not be read: %s", h.Name, h.Seen.Kernel)})
		}
	}
}

// containers counts those that Docker showed.
func containers(seen *spec.HostEndpoints) int {
	n := 0
	for _, e := range seen.List {
		if e.Container != "" {
			n++
		}
	}
	return n
}
