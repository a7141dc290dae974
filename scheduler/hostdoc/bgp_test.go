package hostdoc

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// show is a host's part as text.
func show(b *spec.HostBGP) string {
	var out strings.Builder
	fmt.Fprintf(&out, "as %d id %s port %d listen %v", b.AS, b.RouterID, b.ListenPort, b.Listen)
	if b.ClusterID.IsValid() {
		fmt.Fprintf(&out, " cluster %s", b.ClusterID)
	}
	for _, p := range b.Peers {
		fmt.Fprintf(&out, "\n%s: %s as %d from %s", p.Name, netip.AddrPortFrom(p.Address, p.Port), p.AS, p.Source)
		if p.Client {
			out.WriteString(" client")
		}
		if p.Router {
			out.WriteString(" router")
		}
	}
	return out.String()
}

func TestRouting(t *testing.T) {
	addr := netip.MustParseAddr
	hosts := []spec.BGPHost{
		{Name: "a", Labels: map[string]string{"rack": "1"}, IPv4: addr("192.0.2.1"), IPv6: addr("2001:db8::1")},
		{Name: "b", Labels: map[string]string{"rack": "2"}, IPv4: addr("192.0.2.2"), IPv6: addr("2001:db8::2")},
		{Name: "c", IPv4: addr("192.0.2.3")},
	}
	own := true
	mesh := spec.BGP{AS: 64512, ListenPort: 179, Mesh: true}
	reflected := spec.BGP{AS: 64512, ListenPort: 179, Peers: []spec.BGPPeer{{Name: "rr", NodeSelector: "!has(reflector)", PeerSelector: "has(reflector)"}},
		Hosts: []spec.BGPHost{{Name: "c", Labels: map[string]string{"reflector": ""}, IPv4: addr("192.0.2.3"), ClusterID: addr("224.0.0.1")}}}
	for _, c := range []struct {
		name, host string
		fleet      spec.BGP
		want       string
	}{
		{"mesh", "a", mesh, "as 64512 id 192.0.2.1 port 179 listen []\nmesh b: 192.0.2.2:179 as 64512 from 192.0.2.1\nmesh c: 192.0.2.3:179 as 64512 from 192.0.2.1\nmesh b: [2001:db8::2]:179 as 64512 from 2001:db8::1"},
		{"ports and AS of others", "a", spec.BGP{AS: 64512, ListenPort: 1179, Mesh: true, PerHost: map[string]spec.BGPListen{"b": {Port: 2179}, "a": {NodeIP: &own}}, Hosts: []spec.BGPHost{{Name: "c", IPv4: addr("192.0.2.3"), AS: 64513}}},
			"as 64512 id 192.0.2.1 port 1179 listen [192.0.2.1 2001:db8::1]\nmesh b: 192.0.2.2:2179 as 64512 from 192.0.2.1\nmesh c: 192.0.2.3:1179 as 64513 from 192.0.2.1\nmesh b: [2001:db8::2]:2179 as 64512 from 2001:db8::1"},
		{"by name, by label, for all", "b", spec.BGP{AS: 64512, ListenPort: 179, Peers: []spec.BGPPeer{
			{Name: "all", Address: addr("198.51.100.1"), AS: 65000, NoSource: true}, {Name: "rack1", NodeSelector: "rack == '1'", Address: addr("198.51.100.2"), AS: 65000},
			{Name: "rack2", NodeSelector: "rack == '2'", Address: addr("2001:db8:ffff::1"), Port: 1179, AS: 65000}, {Name: "c-only", Host: "c", Address: addr("198.51.100.3"), AS: 65000}, {Name: "b-only", Host: "b", Address: addr("198.51.100.3"), AS: 65001},
			{Name: "later", Address: addr("198.51.100.1"), AS: 65009},
		}}, "as 64512 id 192.0.2.2 port 179 listen []\nall: 198.51.100.1:179 as 65000 from invalid IP router\nb-only: 198.51.100.3:179 as 65001 from 192.0.2.2 router\nrack2: [2001:db8:ffff::1]:1179 as 65000 from 2001:db8::2 router"},
		{"a host by address", "b", spec.BGP{AS: 64512, ListenPort: 179, PerHost: map[string]spec.BGPListen{"a": {Port: 1179}}, Peers: []spec.BGPPeer{{Name: "x", Address: addr("192.0.2.1"), AS: 64512}, {Name: "self", Address: addr("192.0.2.2"), AS: 64512}}},
			"as 64512 id 192.0.2.2 port 179 listen []\nx: 192.0.2.1:1179 as 64512 from 192.0.2.2"},
		{"client of a reflector", "a", reflected, "as 64512 id 192.0.2.1 port 179 listen []\nrr c: 192.0.2.3:179 as 64512 from 192.0.2.1"},
		{"reflector", "c", reflected, "as 64512 id 192.0.2.3 port 179 listen [] cluster 224.0.0.1\nrr a: 192.0.2.1:179 as 64512 from 192.0.2.3 client\nrr b: 192.0.2.2:179 as 64512 from 192.0.2.3 client"},
		{"unknown host", "z", mesh, "as 64512 id " + routerID(spec.BGPHost{Name: "z"}).String() + " port 179 listen []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, h := range hosts { // what a case says of a host comes in its place
				if !slices.ContainsFunc(c.fleet.Hosts, func(o spec.BGPHost) bool { return o.Name == h.Name }) {
					c.fleet.Hosts = append(c.fleet.Hosts, h)
				}
			}
			docs := Compile(Input{Hosts: []string{c.host}, Routing: NewRouting(&c.fleet, nil)})
			if diff := cmp.Diff(c.want, show(docs[c.host].BGP)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if doc := Compile(Input{Hosts: []string{"a"}, Routing: NewRouting(nil, nil)})["a"]; doc.BGP != nil {
		t.Error("BGP that nobody asked for")
	}
}

// TestRoutingHasTwoEnds: sessions between hosts are known to both, with the same secret, and each believes the other's AS and port.
func TestRoutingHasTwoEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fleet := spec.BGP{AS: 64512, ListenPort: 179, Mesh: rapid.Bool().Draw(t, "mesh"), MeshPassword: "mesh", PerHost: map[string]spec.BGPListen{}}
		var hosts []spec.BGPHost
		var names []string
		for i := range rapid.IntRange(1, 6).Draw(t, "hosts") {
			h := spec.BGPHost{Name: fmt.Sprint("h", i), IPv4: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), AS: rapid.SampledFrom([]uint32{0, 64513}).Draw(t, "as")}
			h.Labels = map[string]string{"l": rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "label")}
			if rapid.IntRange(0, 3).Draw(t, "reflector") == 0 {
				h.ClusterID = netip.AddrFrom4([4]byte{224, 0, 0, byte(rapid.IntRange(1, 2).Draw(t, "cluster"))})
			}
			if rapid.Bool().Draw(t, "port") {
				fleet.PerHost[h.Name] = spec.BGPListen{Port: uint16(1000 + i)}
			}
			hosts, names = append(hosts, h), append(names, h.Name)
		}
		selector := rapid.SampledFrom([]string{"l == 'a'", "l != 'b'", "all()", "l in {'b','c'}"})
		for i := range rapid.IntRange(0, 3).Draw(t, "peers") {
			fleet.Peers = append(fleet.Peers, spec.BGPPeer{Name: fmt.Sprint("p", i), PasswordFile: fmt.Sprint("p", i), RestartTime: time.Minute,
				NodeSelector: selector.Draw(t, "near"), PeerSelector: selector.Draw(t, "far")})
		}
		fleet.Hosts = hosts
		docs := Compile(Input{Hosts: names, Routing: NewRouting(&fleet, nil)})
		for i, h := range hosts {
			me := docs[h.Name].BGP
			for _, p := range me.Peers {
				j := slices.IndexFunc(hosts, func(o spec.BGPHost) bool { return o.IPv4 == p.Address })
				other := docs[hosts[j].Name].BGP
				back := slices.IndexFunc(other.Peers, func(q spec.HostPeer) bool { return q.Address == h.IPv4 })
				if i == j || back < 0 {
					t.Fatalf("%s peers with %s, which does not peer back", h.Name, hosts[j].Name)
				}
				if q := other.Peers[back]; q.PasswordFile != p.PasswordFile || q.AS != me.AS || q.Port != me.ListenPort || q.Source != p.Address {
					t.Fatalf("%s: %+v, the other end: %+v", h.Name, p, q)
				}
			}
		}
	})
}

// Hosts of which no operator says where they are peer where they say themselves.
func TestToldAddresses(t *testing.T) {
	a := netip.MustParseAddr
	fleet := spec.BGP{AS: 64512, ListenPort: 179, Mesh: true, Hosts: []spec.BGPHost{
		{Name: "named", IPv4: a("192.0.2.1")}, {Name: "labelled", Labels: map[string]string{"rack": "r1"}},
	}}
	told := map[string]spec.HostAddress{
		"named": {Host: "named", IPv4: a("203.0.113.1")}, "labelled": {Host: "labelled", IPv4: a("192.0.2.2")}, "other": {Host: "other", IPv4: a("192.0.2.3"), IPv6: a("fd00::3")},
		"thief": {Host: "thief", IPv4: a("192.0.2.1")}, "twin": {Host: "twin", IPv4: a("192.0.2.3")},
	}
	r := NewRouting(&fleet, told)
	for host, want := range map[string]string{
		"named": "[192.0.2.2 192.0.2.3]", "labelled": "[192.0.2.1 192.0.2.3]", "other": "[192.0.2.1 192.0.2.2]", "thief": "[]", "twin": "[]", "silent": "[]",
	} {
		var got []netip.Addr
		for _, p := range r.Of(host).Peers {
			got = append(got, p.Address)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s peers with %v, want %s", host, got, want)
		}
	}
	if b := r.Of("other"); b.RouterID != a("192.0.2.3") || b.Peers[0].Source != a("192.0.2.3") {
		t.Errorf("other is %+v", b)
	}
}
