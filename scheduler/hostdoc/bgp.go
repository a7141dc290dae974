package hostdoc

import (
	"cmp"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/berth-project/berth/scheduler/calico"
	"github.com/berth-project/berth/spec"
)

// routing makes each host's part of the fleet's BGP. known are the hosts as they are known without the operators' Node resources; what
// those say comes first.
type routing struct {
	fleet spec.BGP
	hosts []spec.BGPHost // by name
}

func newRouting(fleet spec.BGP, known []spec.BGPHost) routing {
	byName := map[string]spec.BGPHost{}
	for _, h := range known {
		byName[h.Name] = h
	}
	for _, said := range fleet.Hosts {
		h := byName[said.Name]
		labels := maps.Clone(h.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, said.Labels)
		byName[said.Name] = spec.BGPHost{
			Name: said.Name, Labels: labels, IPv4: first(said.IPv4, h.IPv4), IPv6: first(said.IPv6, h.IPv6),
			AS: cmp.Or(said.AS, h.AS), ClusterID: first(said.ClusterID, h.ClusterID),
		}
	}
	r := routing{fleet: fleet}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		h := byName[name]
		h.AS = cmp.Or(h.AS, fleet.AS)
		r.hosts = append(r.hosts, h)
	}
	return r
}

// first is a, or b where a is not set.
func first(a, b netip.Addr) netip.Addr {
	if a.IsValid() {
		return a
	}
	return b
}

// of is the part of one host.
func (r routing) of(name string) *spec.HostBGP {
	self := spec.BGPHost{Name: name, AS: r.fleet.AS}
	if i := slices.IndexFunc(r.hosts, func(h spec.BGPHost) bool { return h.Name == name }); i >= 0 {
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
	for _, p := range r.fleet.Peers {
		r.explicit(self, p, add)
	}
	r.mesh(self, add)
	b.Peers = slices.SortedFunc(maps.Values(peers), func(a, b spec.HostPeer) int { return a.Address.Compare(b.Address) })
	return b
}

// listen is the port of a host, and whether it listens on its own address only.
func (r routing) listen(host string) (uint16, bool) {
	port, own, l := r.fleet.ListenPort, r.fleet.ListenNodeIP, r.fleet.PerHost[host]
	if l.NodeIP != nil {
		own = *l.NodeIP
	}
	return cmp.Or(l.Port, port), own
}

// explicit adds what one BGPPeer means for the host. A peering between hosts needs both ends, so it is there for the hosts that
// peerSelector selects, too.
func (r routing) explicit(self spec.BGPHost, p spec.BGPPeer, add func(spec.HostPeer)) {
	if p.PeerSelector == "" {
		if selected(self, p.Host, p.NodeSelector) {
			add(r.router(self, p))
		}
		return
	}
	near, far := selected(self, p.Host, p.NodeSelector), selected(self, "", p.PeerSelector)
	for _, other := range r.hosts {
		if other.Name != self.Name && (near && selected(other, "", p.PeerSelector) || far && selected(other, p.Host, p.NodeSelector)) {
			r.between(self, other, p, add)
		}
	}
}

// router is a session with an address that an operator gave. When it is a host's own, its port is known.
func (r routing) router(self spec.BGPHost, p spec.BGPPeer) spec.HostPeer {
	out := session(self, p, p.Name, p.Address, p.AS)
	out.Port = cmp.Or(p.Port, spec.DefaultBGPPort)
	var other spec.BGPHost
	for _, h := range r.hosts {
		if h.IPv4 == p.Address || h.IPv6 == p.Address {
			other = h
			if p.Port == 0 {
				out.Port, _ = r.listen(h.Name)
			}
		}
	}
	out.Client = reflects(self, other, p.AS)
	return out
}

// mesh is every host with every other. Route reflectors are not in it, as in Calico.
func (r routing) mesh(self spec.BGPHost, add func(spec.HostPeer)) {
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
func (r routing) between(self, other spec.BGPHost, p spec.BGPPeer, add func(spec.HostPeer)) {
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

// selected says whether a host is meant, by its name or by its labels. The decoder has refused selectors that cannot be read; one that
// comes all the same selects nothing.
func selected(h spec.BGPHost, name, selector string) bool {
	if name != "" {
		return h.Name == name
	}
	s, err := calico.ParseSelector(selector)
	return err == nil && s.Matches(h.Labels)
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
