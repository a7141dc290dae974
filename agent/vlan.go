package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// A container that starts is announced at once and then some times more: a frame may be lost, and a switch may still be hearing the
// host that the address was on.
const (
	announcements = 6
	announceEvery = 500 * time.Millisecond
)

// vlanJob is what the host has in mode L2 beside Docker's networks, and whom it announces.
type vlanJob struct {
	shims    []hostnet.Shim
	announce []hostnet.Claim
	again    int // differs when the same must be done once more
}

// vlanTimeout bounds one round.
const vlanTimeout = 10 * time.Second

// applyVLAN announces first: somebody may be waiting for an address that has moved here.
func applyVLAN(ctx context.Context, r PathRouter, j vlanJob) error {
	ctx, cancel := context.WithTimeout(ctx, vlanTimeout)
	defer cancel()
	return errors.Join(r.Announce(ctx, j.announce), r.SetShims(ctx, j.shims))
}

// vlans is the part of the loop's state that is mode L2's.
type vlans struct {
	job       vlanJob
	said      map[hostnet.Claim]int // how often each was announced
	repeat    <-chan time.Time      // nil: all were announced often enough
	rounds    int
	complaint string
}

// due are the claims that are to be announced, which all are at first: who was announced before this process began is not known.
func (v *vlans) due(claims []hostnet.Claim) []hostnet.Claim {
	said := make(map[hostnet.Claim]int, len(claims))
	var due []hostnet.Claim
	for _, c := range claims {
		if said[c] = v.said[c]; said[c] < announcements {
			due = append(due, c)
		}
	}
	v.said = said
	switch {
	case len(due) == 0:
		v.repeat = nil
	case v.repeat == nil:
		v.repeat = time.After(announceEvery)
	}
	return due
}

// repeated counts a round.
func (v *vlans) repeated() {
	v.repeat = nil
	v.rounds++
	for c := range v.said {
		v.said[c]++
	}
}

// decideVLAN compiles what mode L2 needs and hands it out when it changes.
func (w *netOwner) decideVLAN() {
	want := hostnet.CompileVLAN(w.doc.Pools, placed(w.snap), w.pools.host, w.pools.options())
	j := vlanJob{shims: want.Shims, announce: w.vlans.due(want.Claims), again: w.again + w.vlans.rounds}
	if !reflect.DeepEqual(j, w.vlans.job) {
		w.vlans.job = j
		w.vlan.give(j)
	}
}

// placed are the containers that run, with their addresses.
func placed(snap docker.Snapshot) []hostnet.Placed {
	var out []hostnet.Placed
	for _, c := range snap.Containers {
		if !c.Running {
			continue
		}
		for network, a := range c.Addresses {
			// One that starts again may have been elsewhere meanwhile, be it in name only: it is announced anew.
			out = append(out, hostnet.Placed{ID: c.ID + " " + c.StartedAt.Format(time.RFC3339Nano), Network: network, Address: a, MAC: c.MACs[network]})
		}
	}
	return out
}

// vlanDone says what became different.
func (w *netOwner) vlanDone(err error) {
	was := w.vlans.complaint
	if w.vlans.complaint = ""; err != nil {
		w.vlans.complaint = oneLine(err)
	}
	if w.vlans.complaint != "" && w.vlans.complaint != was {
		w.o.Log.WithError(err).Error("the network in the VLAN is not whole; trying again")
	} else if w.vlans.complaint == "" && was != "" {
		w.o.Log.Info("the network in the VLAN is whole again")
	}
}

// occupied says who in the pool's VLAN has the address. A router that answers for every address (proxy ARP) has none of them.
func (n *Net) occupied(ctx context.Context, pool string, a netip.Addr) (string, error) {
	parent := hostnet.Options{Parent: n.o.Parent, Parents: n.o.Parents}.ParentOf(pool)
	mac, err := n.o.Path.Occupied(ctx, parent, a)
	if err != nil || mac == "" {
		return "", err
	}
	doc, _ := n.source.Document().Get()
	if doc != nil {
		for _, p := range doc.Pools {
			if p.Name != pool {
				continue
			}
			if router, err := n.o.Path.Occupied(ctx, parent, p.VLAN().Addr()); err == nil && router == mac {
				return "", nil
			}
		}
	}
	return fmt.Sprintf("something in the VLAN of %s with hardware address %s", parent, mac), nil
}

// inVLAN is what the kernel has of containers in a VLAN: Docker has made their interfaces, and the host has no part in them.
func inVLAN(shown []spec.HostEndpoint) map[netip.Addr]hostnet.Found {
	out := make(map[netip.Addr]hostnet.Found, len(shown))
	for _, e := range shown {
		out[e.Address] = hostnet.Found{}
	}
	return out
}
