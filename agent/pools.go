package agent

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// pools is the part of an owner's loop that has each of the document's pools carried by a Docker network. Only the loop
// touches it.
type pools struct {
	o        Options
	mode     hostnet.Mode
	parent   string            // mode L2's, see hostnet.Options
	parents  map[string]string // by pool
	plugin   *netplugin.Plugin // nil: another process answers Docker
	worker   *worker[networksJob, networksDone]
	host     map[netip.Prefix]string // the host's own addresses with their networks
	closed   []string                // bridges of Docker's other networks
	rechecks int
	job      networksJob  // the last that was given out
	settled  networksDone // the last answer of the worker
	refused  map[string]string
}

// look tells the plugin what it needs, before anything else is done with a new document. old says that it was told already.
func (p *pools) look(doc *spec.HostDocument, old bool) {
	if doc == nil || (old && p.host != nil) {
		return
	}
	if p.host == nil {
		addresses, err := p.o.HostAddresses()
		if err != nil {
			p.o.Log.WithError(err).Warn("host addresses unknown; a clash with one of them would not be seen")
			addresses = map[netip.Prefix]string{}
		}
		p.host = addresses
	}
	p.refused = hostnet.Compile(doc.Pools, p.options()).Refused
	if p.plugin != nil {
		p.plugin.Set(netplugin.State{
			Pools: slices.DeleteFunc(slices.Clone(doc.Pools), func(pool spec.Pool) bool { return p.refused[pool.Name] != "" }),
			Host:  hostHeld(doc.Pools, p.host), Blocks: doc.Blocks, Taken: taken(doc),
		})
	}
}

// taken is what the seats have of the host's blocks. A document without Taken, as people write it, has seats all the same.
func taken(doc *spec.HostDocument) []netip.Prefix {
	out := slices.Clone(doc.Taken)
	for _, s := range doc.Seats {
		inside := func(p netip.Prefix) bool { return p.Contains(s.Address) }
		if slices.ContainsFunc(doc.Blocks, inside) && !slices.ContainsFunc(out, inside) {
			out = append(out, netip.PrefixFrom(s.Address, s.Address.BitLen()))
		}
	}
	return out
}

func (p *pools) options() hostnet.Options {
	return hostnet.Options{IPAMDriver: p.o.IPAMName, Mode: p.mode, Closed: p.closed, Parent: p.parent, Parents: p.parents}
}

// carrier is the host's interface that is on the pool's network for its sake.
func (p *pools) carrier(pool spec.Pool) string {
	if p.mode == hostnet.L2 {
		return p.options().ParentOf(pool.Name)
	}
	return pool.Bridge()
}

// recheck has everything compared with the host once more.
func (p *pools) recheck() {
	p.rechecks++
	p.host = nil
}

// give hands the wanted networks to their worker when they change, and at rechecks.
func (p *pools) give(doc *spec.HostDocument, snap docker.Snapshot) hostnet.Desired {
	desired := hostnet.Compile(doc.Pools, p.options())
	j := networksJob{known: snap.Connected, desired: desired, clashes: clashes(doc.Pools, p.host, p.carrier), policies: doc.Policies != nil, again: p.rechecks}
	last := p.job
	last.attached = nil // containers coming and going change nothing by themselves
	if !reflect.DeepEqual(j, last) {
		j.attached = attached(snap)
		p.job = j
		p.worker.give(j)
	}
	return desired
}

// done says what became different; what stays as bad as it was is not repeated.
func (p *pools) done(d networksDone) {
	for _, pool := range slices.Sorted(maps.Keys(d.status)) {
		before, known := p.settled.status[pool]
		switch reason := d.status[pool]; {
		case known && reason == before:
		case reason == "":
			p.o.Log.WithField("pool", pool).Info("network of a pool is ready")
		default:
			p.o.Log.WithFields(logrus.Fields{"pool": pool, "reason": reason}).Error("network of a pool is not ready")
		}
	}
	for network, reason := range d.left {
		if _, known := p.settled.left[network]; !known {
			p.o.Log.WithFields(logrus.Fields{"pool": network, "reason": reason}).Warn("network of a former pool stays for now")
		}
	}
	p.settled = d
}
