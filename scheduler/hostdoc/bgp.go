package hostdoc

import (
	"cmp"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/calico"
	"github.com/berth-project/berth/spec"
)

// Routing makes each host's part of what the operators want of BGP. It is made anew only when a host's address changes, as it asks
// all selectors about all hosts; a host's part costs what is in it.
type Routing struct {
	fleet spec.BGP
	hosts []spec.BGPHost        // by name, each with its AS
	named map[string]int        // where a host is among them
	at    map[netip.Addr]string // whose an address is
	peers []peering
}

// peering is a BGPPeer with its selectors read.
type peering struct {
	spec.BGPPeer
	near, far calico.Selector
	// nears and fars are the hosts at its two ends, for a peering between hosts.
	nears, fars []spec.BGPHost
}

// NewRouting reads what the operators want; nil: there is no BGP. told is where hosts say that others reach them.
func NewRouting(fleet *spec.BGP, told map[string]spec.HostAddress) *Routing {
	if fleet == nil {
		return nil
	}
	r := &Routing{fleet: *fleet, hosts: located(fleet.Hosts, told), named: map[string]int{}, at: map[netip.Addr]string{}}
	for i, h := range r.hosts {
		r.hosts[i].AS = cmp.Or(h.AS, fleet.AS)
		r.hosts[i].Labels = calico.Labels([]spec.BGPHost{h}, h.Name)
	}
	slices.SortFunc(r.hosts, func(a, b spec.BGPHost) int { return strings.Compare(a.Name, b.Name) })
	for i, h := range r.hosts {
		r.named[h.Name] = i
		for _, a := range addresses(h) {
			r.at[a] = h.Name
		}
	}
	for _, p := range fleet.Peers {
		// The decoder has refused selectors that cannot be read; one that comes all the same selects nothing.
		near, _ := calico.ParseSelector(p.NodeSelector)
		far, _ := calico.ParseSelector(p.PeerSelector)
		x := peering{BGPPeer: p, near: near, far: far}
		for _, h := range r.hosts {
			if p.PeerSelector != "" && x.selects(h) {
				x.nears = append(x.nears, h)
			}
			if p.PeerSelector != "" && far.Matches(h.Labels) {
				x.fars = append(x.fars, h)
			}
		}
		r.peers = append(r.peers, x)
	}
	return r
}

// located are the operators' hosts and those that only told of themselves. What an operator says of a host's addresses counts alone;
// of two hosts that tell of one address the first counts, by name, as the other cannot be told from it.
func located(hosts []spec.BGPHost, told map[string]spec.HostAddress) []spec.BGPHost {
	out := slices.Clone(hosts)
	taken, named := map[netip.Addr]bool{}, map[string]int{}
	for i, h := range hosts {
		taken[h.IPv4], taken[h.IPv6], named[h.Name] = true, true, i
	}
	taken[netip.Addr{}] = false
	for _, name := range slices.Sorted(maps.Keys(told)) {
		at, there := named[name]
		if there && (out[at].IPv4.IsValid() || out[at].IPv6.IsValid()) {
			continue
		}
		t := told[name]
		if taken[t.IPv4] || taken[t.IPv6] {
			continue
		}
		if !there {
			at, out = len(out), append(out, spec.BGPHost{Name: name})
		}
		out[at].IPv4, out[at].IPv6 = t.IPv4, t.IPv6
		for _, a := range addresses(out[at]) {
			taken[a] = true
		}
	}
	return out
}

// selects says whether the peering is one of the host's.
func (p peering) selects(h spec.BGPHost) bool {
	if p.Host != "" {
		return h.Name == p.Host
	}
	return p.near.Matches(h.Labels)
}

// Of is the part of one host; nil: it exchanges no routes. A host of which the operators say nothing peers with what is there for all
// hosts.
func (r *Routing) Of(name string) *spec.HostBGP {
	if r == nil {
		return nil
	}
	self := spec.BGPHost{Name: name, AS: r.fleet.AS, Labels: calico.Labels(nil, name)}
	if i, ok := r.named[name]; ok {
		self = r.hosts[i]
	}
	port, own := r.listen(name)
	b := &spec.HostBGP{AS: self.AS, RouterID: routerID(self), ListenPort: port, ClusterID: self.ClusterID}
	if own {
		b.Listen = addresses(self)
	}
	// The first word counts: what an operator says of a peer by name comes before the mesh.
	peers := map[netip.Addr]spec.HostPeer{}
	add := func(p spec.HostPeer) {
		if _, there := peers[p.Address]; !there && p.Address != self.IPv4 && p.Address != self.IPv6 {
			peers[p.Address] = p
		}
	}
	for _, p := range r.peers {
		r.explicit(self, p, add)
	}
	r.mesh(self, add)
	b.Peers = slices.SortedFunc(maps.Values(peers), func(a, b spec.HostPeer) int { return a.Address.Compare(b.Address) })
	return b
}

// listen is the port of a host, and whether it listens on its own address only.
func (r *Routing) listen(host string) (uint16, bool) {
	port, own, l := r.fleet.ListenPort, r.fleet.ListenNodeIP, r.fleet.PerHost[host]
	if l.NodeIP != nil {
		own = *l.NodeIP
	}
	return cmp.Or(l.Port, port), own
}

// explicit adds what one BGPPeer means for the host. A peering between hosts needs both ends, so it is there for the hosts that
// peerSelector selects, too.
func (r *Routing) explicit(self spec.BGPHost, p peering, add func(spec.HostPeer)) {
	if p.PeerSelector == "" {
		if p.selects(self) {
			add(r.router(self, p.BGPPeer))
		}
		return
	}
	var others []spec.BGPHost
	if p.selects(self) {
		others = p.fars
	}
	if p.far.Matches(self.Labels) {
		others = slices.Concat(others, p.nears)
	}
	for _, other := range others {
		if other.Name != self.Name {
			r.between(self, other, p.BGPPeer, add)
		}
	}
}

// router is a session with an address that an operator gave. When it is a host's own, its port is known.
func (r *Routing) router(self spec.BGPHost, p spec.BGPPeer) spec.HostPeer {
	out := session(self, p, p.Name, p.Address, p.AS)
	out.Port = cmp.Or(p.Port, spec.DefaultBGPPort)
	var other spec.BGPHost
	name, host := r.at[p.Address]
	out.Router = !host
	if host {
		other = r.hosts[r.named[name]]
		if p.Port == 0 {
			out.Port, _ = r.listen(name)
		}
	}
	out.Client = reflects(self, other, p.AS)
	return out
}

// mesh is every host with every other. Route reflectors are not in it, as in Calico.
func (r *Routing) mesh(self spec.BGPHost, add func(spec.HostPeer)) {
	if !r.fleet.Mesh || self.ClusterID.IsValid() {
		return
	}
	for _, other := range r.hosts {
		if other.Name != self.Name && !other.ClusterID.IsValid() {
			r.between(self, other, spec.BGPPeer{Name: "mesh", PasswordFile: r.fleet.MeshPassword, RestartTime: r.fleet.MeshRestart}, add)
		}
	}
}

// between are the sessions of two hosts, one in each family that both have an address of.
func (r *Routing) between(self, other spec.BGPHost, p spec.BGPPeer, add func(spec.HostPeer)) {
	port, _ := r.listen(other.Name)
	for _, pair := range [][2]netip.Addr{{self.IPv4, other.IPv4}, {self.IPv6, other.IPv6}} {
		if !pair[0].IsValid() || !pair[1].IsValid() {
			continue
		}
		out := session(self, p, p.Name+" "+other.Name, pair[1], other.AS)
		out.Port, out.Client = port, reflects(self, other, other.AS)
		add(out)
	}
}

func session(self spec.BGPHost, p spec.BGPPeer, name string, to netip.Addr, as uint32) spec.HostPeer {
	out := spec.HostPeer{
		Name: name, Address: to, AS: as, PasswordFile: p.PasswordFile, RestartTime: p.RestartTime, TTLHops: p.TTLHops, AllowOwnAS: p.AllowOwnAS,
	}
	if !p.NoSource {
		if out.Source = self.IPv4; to.Is6() {
			out.Source = self.IPv6
		}
	}
	return out
}

// reflects says whether routes are reflected to the other: inside one AS, to all that are not of the same cluster.
func reflects(self, other spec.BGPHost, as uint32) bool {
	return self.ClusterID.IsValid() && as == self.AS && other.ClusterID != self.ClusterID
}

func addresses(h spec.BGPHost) []netip.Addr {
	return slices.DeleteFunc([]netip.Addr{h.IPv4, h.IPv6}, func(a netip.Addr) bool { return !a.IsValid() })
}

// routerID is the host's IPv4 address, or, without one, a number made of its name: it only has to be another one for each host, and
// the same after each restart.
func routerID(h spec.BGPHost) netip.Addr {
	if h.IPv4.IsValid() {
		return h.IPv4
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(h.Name))
	id := sum.Sum32() | 1 // 0.0.0.0 is none
	return netip.AddrFrom4([4]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)})
}
