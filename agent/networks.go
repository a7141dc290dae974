package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/docker"
)

// networksJob is the network that is wanted.
type networksJob struct {
	known    bool // the containers are known; otherwise nothing is removed
	desired  hostnet.Desired
	clashes  map[string][]clash // pool -> the host's networks in its way
	attached map[string]int     // Docker network -> containers on it
	policies bool               // there are network policies, which bridges do not enforce
	again    int                // differs when the same must be checked once more
}

// networksDone is what came of it.
type networksDone struct {
	desired hostnet.Desired
	status  map[string]string // pool -> "" when ready, otherwise why not
	left    map[string]string // network of a former pool -> why it is still there
}

// ready says whether all pools are.
func (d networksDone) ready() bool {
	for _, reason := range d.status {
		if reason != "" {
			return false
		}
	}
	return true
}

// networkTimeout bounds one round: an engine that starts holds calls back instead of refusing them.
const networkTimeout = 30 * time.Second

// applyNetworks makes the packet filter and the Docker networks so, and says which pools are ready.
func applyNetworks(ctx context.Context, o Options, j networksJob) networksDone {
	ctx, cancel := context.WithTimeout(ctx, networkTimeout)
	defer cancel()
	done := networksDone{desired: j.desired, status: map[string]string{}, left: map[string]string{}}
	if o.ExternalNetwork {
		return checkNetworks(ctx, o, j)
	}
	filter := ""
	// Rules come first, so that a network works from its first packet.
	if err := o.Router.Set(ctx, j.desired.Rules); err != nil {
		filter = "the packet filter is not set: " + oneLine(err)
	}
	have, err := o.Engine.Networks(ctx)
	if err != nil {
		for _, n := range j.desired.Networks {
			done.status[n.Name] = "the Docker Engine does not answer: " + oneLine(err)
		}
		return done
	}
	removed := removeNetworks(ctx, o, j, have, done.left)
	bridges := ownBridges(o, have)
	for _, n := range j.desired.Networks {
		// A pool in the way of the host's own networks gets no network; one that is there already stays, as instances use it.
		reason := inTheWay(n, j.clashes[n.Name], bridges)
		if reason == "" {
			reason = ensureNetwork(ctx, o, n, have, removed)
		}
		if reason == "" {
			reason = filter
		}
		if reason == "" && j.policies {
			reason = unpoliced(n.Driver, o.IPAMName)
		}
		done.status[n.Name] = reason
	}
	return done
}

// checkNetworks says which pools have their network already; another process makes them.
func checkNetworks(ctx context.Context, o Options, j networksJob) networksDone {
	done := networksDone{desired: j.desired, status: map[string]string{}, left: map[string]string{}}
	have, err := o.Engine.Networks(ctx)
	for _, n := range j.desired.Networks {
		switch at := slices.IndexFunc(have, func(h docker.Network) bool { return h.Name == n.Name }); {
		case err != nil:
			done.status[n.Name] = "the Docker Engine does not answer: " + oneLine(err)
		case at < 0:
			done.status[n.Name] = "its Docker network is not there; this host's `berth net` makes it"
		case have[at].IPAMDriver != o.IPAMName || !carries(have[at], n.Subnet):
			done.status[n.Name] = fmt.Sprintf("Docker's network %q is on %v with IPAM driver %s, not on %v with %s", n.Name, have[at].Subnet, have[at].IPAMDriver, n.Subnet, o.IPAMName)
		case j.policies:
			done.status[n.Name] = unpoliced(have[at].Driver, o.IPAMName)
		default:
			done.status[n.Name] = ""
		}
	}
	return done
}

// carries says whether the network is the pool's; in L2 mode the pool may be a part of the VLAN's network.
func carries(n docker.Network, pool netip.Prefix) bool {
	return n.Subnet.Masked() == pool || n.Driver == hostnet.DriverVLAN && n.Subnet.Contains(pool.Addr()) && n.Subnet.Bits() <= pool.Bits()
}

// unpoliced says why network policies are not enforced on a network with the driver; "" when they are. What does not pass through
// the host's own routing does not meet its rules: a host where nobody would enforce a policy must get no instance.
func unpoliced(driver, routed string) string {
	if driver == routed {
		return ""
	}
	return fmt.Sprintf("there are network policies, and Docker's driver %q does not enforce them: keep this host's network with `berth net --network routed`", driver)
}

// ownBridges are the interfaces of this agent's networks. That of a former pool may still be in the way of its successor:
// removeNetworks knows of it.
func ownBridges(o Options, have []docker.Network) map[string]bool {
	bridges := map[string]bool{}
	for _, h := range have {
		if ours(h, o.IPAMName) {
			bridges[h.Options[hostnet.OptionBridge]] = true
		}
	}
	return bridges
}

// inTheWay names the first interface of the host, other than our own bridges, that is on a part of the pool's network.
func inTheWay(n hostnet.Network, clashes []clash, bridges map[string]bool) string {
	for _, c := range clashes {
		if !bridges[c.link] {
			return fmt.Sprintf("%v overlaps %v of this host's interface %s: choose another network for the pool", n.Subnet, c.network, c.link)
		}
	}
	return ""
}

// ensureNetwork creates the network or checks the existing one; the result is why it cannot be used.
func ensureNetwork(ctx context.Context, o Options, want hostnet.Network, have []docker.Network, removed map[string]bool) string {
	for _, h := range have {
		if h.Name == want.Name && !removed[h.ID] {
			if d := difference(h, want); d != "" {
				return fmt.Sprintf("a Docker network %q exists and %s; remove it (docker network rm %s) or rename the pool", h.Name, d, h.Name)
			}
			if bridge := want.Options[hostnet.OptionBridge]; bridge != "" {
				if err := o.Router.Carry(bridge, netip.PrefixFrom(want.Gateway, want.Subnet.Bits())); err != nil {
					return "its bridge does not carry it: " + oneLine(err)
				}
			}
			return ""
		}
	}
	err := o.Engine.CreateNetwork(ctx, docker.NetworkSpec{
		Name: want.Name, Driver: want.Driver, IPAMDriver: want.IPAMDriver, Subnet: want.Subnet, Gateway: want.Gateway,
		Options: want.Options, Labels: want.Labels,
	})
	if err != nil {
		return "its Docker network is not created: " + oneLine(err)
	}
	o.Log.WithFields(logrus.Fields{"pool": want.Name, "subnet": want.Subnet}).Info("network of a pool created")
	return ""
}

// removeNetworks removes the networks of this agent that are wanted no more (or no more like that) and have no container.
// Networks of others, also of a Berth with another driver name, are never touched. It says which ids are gone. It runs
// before networks are created because a pool that was renamed needs its subnet back; what cannot go yet is put in left.
func removeNetworks(ctx context.Context, o Options, j networksJob, have []docker.Network, left map[string]string) map[string]bool {
	removed := map[string]bool{}
	if !j.known {
		return removed
	}
	wanted := map[string]hostnet.Network{}
	for _, n := range j.desired.Networks {
		wanted[n.Name] = n
	}
	for _, h := range have {
		w, ok := wanted[h.Name]
		if !ours(h, o.IPAMName) || (ok && difference(h, w) == "") {
			continue
		}
		if n := j.attached[h.Name]; n > 0 {
			left[h.Name] = fmt.Sprintf("%d containers are on it", n)
			continue
		}
		// Without force: a container that joined this instant makes it fail, and the next round sees that container.
		if err := o.Engine.RemoveNetwork(ctx, h.Name); err != nil && !docker.IsNotFound(err) {
			left[h.Name] = oneLine(err)
			continue
		}
		o.Log.WithField("pool", h.Name).Info("network of a former pool removed")
		removed[h.ID] = true
	}
	return removed
}

func ours(n docker.Network, ipamName string) bool {
	return n.IPAMDriver == ipamName && n.Labels[hostnet.LabelPool] != ""
}

// difference says in what a network is not the wanted one; "" when it will do.
func difference(have docker.Network, want hostnet.Network) string {
	switch {
	case have.Driver != want.Driver:
		return fmt.Sprintf("has driver %s, not %s", have.Driver, want.Driver)
	case have.IPAMDriver != want.IPAMDriver:
		return fmt.Sprintf("has IPAM driver %s, not %s", have.IPAMDriver, want.IPAMDriver)
	case have.Subnet.Masked() != want.Subnet:
		return fmt.Sprintf("has subnet %v, not %v", have.Subnet, want.Subnet)
	case have.Gateway != want.Gateway:
		return fmt.Sprintf("has gateway %v, not %v", have.Gateway, want.Gateway)
	case have.Internal:
		return "is internal"
	}
	for _, key := range []string{hostnet.OptionBridge, hostnet.OptionMasquerade, hostnet.OptionParent} {
		if have.Options[key] != want.Options[key] {
			return fmt.Sprintf("has %s %q, not %q", key, have.Options[key], want.Options[key])
		}
	}
	return ""
}

// oneLine is an error as part of a sentence.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
