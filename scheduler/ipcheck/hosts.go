package ipcheck

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/berth-project/berth/spec"
)

// addresses looks at everything that is on an address by what the hosts told.
func (c *check) addresses() {
	for a, holders := range c.holders {
		var shown []holder
		for _, h := range holders {
			switch {
			case h.Container == "":
				c.bare(h)
			case h.host.Seen.Engine:
				shown = append(shown, h)
			}
		}
		double := c.double(a, shown)
		for _, h := range shown {
			if h.TaskID != "" {
				c.own(h)
			} else if !double {
				c.foreign(h.Address, h.host.Name, h.Container, h.String())
			}
			c.connected(h)
		}
	}
	for _, h := range c.in.Hosts {
		for _, held := range h.Held {
			if h.Fresh && len(c.holders[held.Address]) == 0 && held.Task == "" {
				c.foreign(held.Address, h.Name, held.By, fmt.Sprintf("%s of %s", held.By, h.Name))
			}
		}
	}
}

// double finds two containers on one address.
func (c *check) double(a netip.Addr, shown []holder) bool {
	f := Finding{Kind: Duplicate, Address: a, Repair: "stop those that are not the seat's own; containers whose tasks are over are found as such, too, and stopped"}
	ids := map[string]bool{}
	var names []string
	for _, h := range shown {
		if !ids[h.Container] {
			ids[h.Container] = true
			f.Hosts, names = append(f.Hosts, h.host.Name), append(names, h.String())
		}
	}
	if len(ids) < 2 {
		return false
	}
	if l, ok := c.leases[a]; ok {
		f.Seat = l.Seat
		f.Text = fmt.Sprintf("%s, leased to %s, is on %d containers: %s", a, l.Seat, len(ids), strings.Join(names, ", "))
	} else {
		f.Text = fmt.Sprintf("%s is on %d containers: %s", a, len(ids), strings.Join(names, ", "))
	}
	c.add(f)
	return true
}

// own looks at a container of Berth's.
func (c *check) own(h holder) {
	f := Finding{Address: h.Address, Hosts: []string{h.host.Name}, Seat: h.Seat, Task: h.TaskID, Container: h.Container}
	l, leased := c.leases[h.Address]
	t := c.tasks[h.TaskID]
	switch {
	case t == nil && leased && l.Seat != h.Seat:
		f.Kind, f.Repair = NoTask, "stop the container; it is not stopped by a repair, as the address is another seat's now"
		f.Text = fmt.Sprintf("%s is on %s, which is leased to %s; the container's task %s is over", h, h.Address, l.Seat, h.TaskID)
	case t == nil:
		f.Kind, f.Action, f.Repair = NoTask, StopOver, "the host stops the container"
		f.Text = fmt.Sprintf("%s runs on %s, but its task %s is over: the container outlived it", h, h.Address, h.TaskID)
	case t.Host != h.host.Name:
		f.Kind, f.Repair = WrongHost, "find out who started it there, and stop it"
		f.Text = fmt.Sprintf("%s is of task %s, which runs on %s", h, t.ID, t.Host)
	case t.Address != h.Address:
		f.Kind, f.Repair = WrongSeat, fmt.Sprintf("kill task %s; its successor gets the seat's address", t.ID)
		f.Text = fmt.Sprintf("%s is on %s, its task's address is %s", h, h.Address, t.Address)
	default:
		return
	}
	c.add(f)
}

// foreign looks at something on an address that is not Berth's.
func (c *check) foreign(a netip.Addr, host, container, name string) {
	l, leased := c.leases[a]
	if !leased {
		return
	}
	state := "which waits for it, or cannot be reached on it"
	if !l.IdleSince.IsZero() {
		state = "which nobody wants just now, but could not have it back"
	}
	c.add(Finding{Kind: Foreign, Address: a, Hosts: []string{host}, Seat: l.Seat, Container: container,
		Text:   fmt.Sprintf("%s is on %s, which is leased to %s, %s", name, a, l.Seat, state),
		Repair: "stop it, or give it another address; an idle lease can be given up with `berth ip release`"})
}

// connected looks at the link, the route and the announcement of a container. One of a task that is on its way up or down
// may have none yet, or none any more.
func (c *check) connected(h holder) {
	if t := c.tasks[h.TaskID]; h.TaskID != "" && (t == nil || !runs(t)) || h.host.Seen.Kernel != "" {
		return
	}
	f := Finding{Address: h.Address, Hosts: []string{h.host.Name}, Seat: h.Seat, Task: h.TaskID, Container: h.Container, Action: SetNetwork, Repair: "the host sets its network anew"}
	switch {
	case h.Fault == "" && h.host.Seen.BGP && !h.Announced:
		f.Kind, f.Text = NotAnnounced, fmt.Sprintf("%s is on %s, but the host does not announce the address to its BGP peers", h, h.Address)
	case h.Fault == "":
		return
	default:
		f.Kind, f.Text = NotConnected, fmt.Sprintf("%s is on %s by Docker, but not by the kernel: %s", h, h.Address, h.Fault)
		f.Repair += "; what is wrong inside the container, a link that is gone, or a route of somebody else's, it cannot mend"
	}
	c.add(f)
}

// bare looks at what only the kernel has.
func (c *check) bare(h holder) {
	if h.host.Seen.Kernel != "" || !h.host.Seen.Engine {
		return
	}
	for _, t := range c.on[h.Address] {
		if t.Host == h.host.Name && !c.steady(t) {
			return // its container is about to come, or has just gone
		}
	}
	at := fmt.Sprintf("link %s", h.Link)
	if h.Route != "" && h.Route != h.Link {
		at = fmt.Sprintf("a route to %s", h.Route)
	}
	c.add(Finding{Kind: StaleRoute, Address: h.Address, Hosts: []string{h.host.Name}, Container: cmp.Or(h.Link, h.Route), Action: SetNetwork, Repair: "the host sets its network anew",
		Text: fmt.Sprintf("host %s has %s for %s, but no container there is on the address", h.host.Name, at, h.Address)})
}

// runs says that a task is neither on its way up nor down, as far as the engine knows.
func runs(t *spec.Task) bool { return t.Rung == spec.Running && t.UnreachableSince.IsZero() }

// steady says that a task's container must be shown.
func (c *check) steady(t *spec.Task) bool {
	return runs(t) && c.in.Now.Sub(t.StartedAt) >= startsWithin
}

// missing finds tasks that run without a container.
func (c *check) missing() {
	seen := map[string]bool{} // hosts whose containers are all known
	for _, h := range c.in.Hosts {
		seen[h.Name] = h.Fresh && h.Seen != nil && h.Seen.Engine && h.Seen.Omitted == 0
	}
	shown := map[string]bool{}
	for _, holders := range c.holders {
		for _, h := range holders {
			shown[h.TaskID] = true
		}
	}
	for _, t := range c.tasks {
		if !t.Address.IsValid() || !c.steady(t) || !seen[t.Host] || shown[t.ID] {
			continue
		}
		c.add(Finding{Kind: NoContainer, Address: t.Address, Hosts: []string{t.Host}, Seat: t.Seat, Task: t.ID, Action: AskEngine, Repair: "the engine is asked what became of the task",
			Text: fmt.Sprintf("task %s of %s runs on %s by what the engine said last, but no container there is on its address %s", t.ID, t.Seat, t.Host, t.Address)})
	}
}
