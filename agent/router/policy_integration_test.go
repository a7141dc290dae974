//go:build integration

package router

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// TestRealPoliciesConverge: what the kernel says back is what was set, whatever was there before.
func TestRealPoliciesConverge(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ownNamespace(t)
	r, err := New("berthpolicy")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		want := drawFilter(rt)
		before, err := r.kernel.lookPolicies()
		if err != nil {
			rt.Fatal(err)
		}
		if err := r.SetPolicies(t.Context(), want); err != nil {
			rt.Fatalf("%v, from %+v", err, before)
		}
		have, err := r.kernel.lookPolicies()
		if err != nil {
			rt.Fatal(err)
		}
		if c, any := policyChanges(have, want); any {
			rt.Fatalf("left to do: %+v of %+v, from %+v", c, want, before)
		}
		if counts, err := r.PolicyCounts(want); err != nil || len(counts) != len(want.Counters) {
			rt.Fatal(counts, err)
		}
	})
	if err := r.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if there, err := r.HasPolicies(); err != nil || there {
		t.Error("cleanup left policies", err)
	}
	if f, err := r.kernel.lookPolicies(); err != nil || f.there {
		t.Error("cleanup left the table", err)
	}
}

// TestRealPoliciesLarge: tens of thousands of addresses go in one transaction.
func TestRealPoliciesLarge(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ownNamespace(t)
	r, err := New("berthpolicy")
	if err != nil {
		t.Fatal(err)
	}
	all := spec.AddressSet{Name: "all"}
	for i := range 20_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 14), byte(i >> 6), byte(i<<2 + 1)}) // neighbours would become one range
		all.Ranges = append(all.Ranges, spec.AddressRange{From: a, To: a})
	}
	h := &spec.HostPolicies{Sets: []spec.AddressSet{all}, Policies: []spec.HostPolicy{{
		Name: "p", Addresses: []netip.Addr{netip.MustParseAddr("10.213.0.5")}, Ingress: true, IngressRules: []spec.HostRule{{Action: spec.PolicyAllow, Source: spec.HostEnd{In: []string{"all"}}}},
	}}}
	for _, n := range []int{20_000, 20_000, 19_999, 100} {
		h.Sets[0].Ranges = all.Ranges[:n]
		f, err := hostnet.CompilePolicies(h)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := r.SetPolicies(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d addresses: %v", n, time.Since(began))
		have, err := r.kernel.lookPolicies()
		if err != nil {
			t.Fatal(err)
		}
		if _, any := policyChanges(have, f); any {
			t.Fatal("it is not so")
		}
	}
}

// policies sets them on the bed.
func (b *bed) policies(t *testing.T, h *spec.HostPolicies) hostnet.Filter {
	t.Helper()
	f, err := hostnet.CompilePolicies(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.r.SetPolicies(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if there, err := b.r.HasPolicies(); err != nil || there == f.Empty() {
		t.Errorf("there are policies: %v, %v", there, err)
	}
	have, err := b.r.kernel.lookPolicies()
	if err != nil {
		t.Fatal(err)
	}
	if c, any := policyChanges(have, f); any {
		t.Fatalf("a further Set would change %+v", c)
	}
	return f
}

// counted is how many packets a rule has decided.
func (b *bed) counted(t *testing.T, f hostnet.Filter, policy, direction string, rule int) uint64 {
	t.Helper()
	counts, err := b.r.PolicyCounts(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.Policy == policy && c.Direction == direction && c.Rule == rule {
			return c.Packets
		}
	}
	t.Fatalf("no counter for rule %d of %s in %+v", rule, policy, counts)
	return 0
}

// serve accepts connections in a namespace and echoes what comes.
func serve(t *testing.T, ns, network, address string) {
	t.Helper()
	l, err := inside(ns, func() (net.Listener, error) { return net.Listen(network, address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
}

// refusedAfter is how long a connection is waited for that must not come. A SYN is sent again after a second, which would count twice.
const refusedAfter = 700 * time.Millisecond

// dial connects from a namespace.
func dial(ns, address string) (net.Conn, error) {
	return inside(ns, func() (net.Conn, error) { return net.DialTimeout("tcp", address, refusedAfter) })
}

// echo says something and waits for it to come back.
func echo(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(refusedAfter)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// reaches says whether a connection comes about.
func reaches(t *testing.T, ns, address string, want bool) {
	t.Helper()
	c, err := dial(ns, address)
	if err == nil {
		defer c.Close()
		err = echo(c)
	}
	var timeout net.Error
	if want && err != nil || !want && (err == nil || !errors.As(err, &timeout) || !timeout.Timeout()) {
		t.Errorf("%s to %s: %v, want it to come about: %v", ns, address, err, want)
	}
}

func ranges(texts ...string) []spec.AddressRange {
	var out []spec.AddressRange
	for _, text := range texts {
		var r spec.AddressRange
		if err := r.UnmarshalText([]byte(text)); err != nil {
			panic(err)
		}
		out = append(out, r)
	}
	return out
}

func tcpRule(action string, from []string, ports ...uint16) spec.HostRule {
	r := spec.HostRule{Action: action, PolicyMatch: spec.PolicyMatch{Protocol: unix.IPPROTO_TCP}, Source: spec.HostEnd{In: from}}
	for _, p := range ports {
		r.Destination.Ports = append(r.Destination.Ports, spec.PolicyPorts{From: p, To: p})
	}
	return r
}

func TestRealPolicies(t *testing.T) {
	b := newBed(t)
	uplink(t, "rtd-out", "out", "192.0.2.1/24", "192.0.2.2")
	sh(t, "ip route add default via 192.0.2.2")
	to := func(port int) string { return fmt.Sprintf("%s:%d", b.b.address, port) }
	for _, port := range []int{80, 81} {
		serve(t, b.b.ns, "tcp", to(port))
	}
	serve(t, "rtd-out", "tcp", "192.0.2.2:80")
	host, err := net.Listen("tcp", "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	a, bb := netip.MustParseAddr(b.a.address), netip.MustParseAddr(b.b.address)
	web := spec.AddressSet{Name: "web", Ranges: ranges(b.a.address)}
	db := spec.HostPolicy{Name: "shop/db", Addresses: []netip.Addr{bb}, Ingress: true, IngressRules: []spec.HostRule{tcpRule(spec.PolicyAllow, []string{"web"}, 80)}}
	only := &spec.HostPolicies{Policies: []spec.HostPolicy{db}, Sets: []spec.AddressSet{web}}

	reaches(t, "rtd-out", to(81), true) // nothing is selected yet
	var f hostnet.Filter
	part(t, "allow, and deny by default, counted", func(t *testing.T) {
		f = b.policies(t, only)
		reaches(t, b.a.ns, to(80), true)
		reaches(t, b.a.ns, to(81), false)
		reaches(t, "rtd-out", to(80), false)
		if n := b.counted(t, f, "shop/db", "ingress", 0); n != 1 {
			t.Errorf("allowed: %d packets, want the one that opened the connection", n)
		}
		if n := b.counted(t, f, "shop/db", "ingress", spec.DefaultRule); n != 2 {
			t.Errorf("denied by default: %d, want 2", n)
		}
	})
	part(t, "the host's own probes, answers, and who is not selected", func(t *testing.T) {
		if err := ping(bb, 0, time.Second); err != nil {
			t.Error("from the host:", err)
		}
		c, err := net.DialTimeout("tcp", to(81), time.Second)
		if err != nil {
			t.Error("from the host:", err)
		} else {
			c.Close()
		}
		if err := pings(b.b.ns, b.a.address, 0); err != nil {
			t.Error("what the selected one sends:", err)
		}
		if err := pings("rtd-out", b.a.address, 0); err != nil {
			t.Error("to who is not selected:", err)
		}
	})
	part(t, "a set changes while a connection runs", func(t *testing.T) {
		running, err := dial(b.a.ns, to(80))
		if err != nil {
			t.Fatal(err)
		}
		defer running.Close()
		was := b.counted(t, f, "shop/db", "ingress", 0)
		web.Ranges = ranges("192.0.2.2", "198.51.100.0-255.255.255.255")
		only.Sets[0] = web
		f = b.policies(t, only)
		if err := echo(running); err != nil {
			t.Error("the connection that was allowed:", err)
		}
		reaches(t, b.a.ns, to(80), false)
		reaches(t, "rtd-out", to(80), true)
		if n := b.counted(t, f, "shop/db", "ingress", 0); n != was+1 {
			t.Errorf("the counter did not go on: %d, was %d", n, was)
		}
		// A rule changes: denied from now on, but not what runs.
		only.Policies[0].IngressRules = []spec.HostRule{{Action: spec.PolicyDeny}}
		f = b.policies(t, only)
		if err := echo(running); err != nil {
			t.Error("the connection that was allowed:", err)
		}
		reaches(t, "rtd-out", to(80), false)
		if n := b.counted(t, f, "shop/db", "ingress", 0); n != 1 {
			t.Errorf("another rule counts anew: %d", n)
		}
	})
	part(t, "order: the first that matches decides", func(t *testing.T) {
		first := spec.HostPolicy{Name: "first", Addresses: []netip.Addr{bb}, Ingress: true, IngressRules: []spec.HostRule{tcpRule(spec.PolicyAllow, nil, 81)}}
		f = b.policies(t, &spec.HostPolicies{Policies: []spec.HostPolicy{first, only.Policies[0]}})
		reaches(t, b.a.ns, to(81), true)
		reaches(t, b.a.ns, to(80), false)
		f = b.policies(t, &spec.HostPolicies{Policies: []spec.HostPolicy{only.Policies[0], first}})
		reaches(t, b.a.ns, to(81), false)
	})
	part(t, "egress: to others, to the host, and both ends have a say", func(t *testing.T) {
		out := spec.HostPolicy{Name: "out", Addresses: []netip.Addr{a}, Egress: true, EgressRules: []spec.HostRule{
			{Action: spec.PolicyAllow, PolicyMatch: spec.PolicyMatch{Protocol: unix.IPPROTO_ICMP, ICMP: &spec.PolicyICMP{Type: 8}}}, tcpRule(spec.PolicyAllow, nil, 81),
		}}
		db.IngressRules = []spec.HostRule{tcpRule(spec.PolicyAllow, nil, 80)}
		f = b.policies(t, &spec.HostPolicies{Policies: []spec.HostPolicy{out}})
		reaches(t, b.a.ns, to(81), true)
		reaches(t, b.a.ns, "192.0.2.2:80", false)
		reaches(t, b.a.ns, "192.0.2.1:80", false)
		for _, addr := range []string{"192.0.2.2", "192.0.2.1", b.b.address} {
			if err := pings(b.a.ns, addr, 0); err != nil {
				t.Errorf("ping %s: %v", addr, err)
			}
		}
		if n := b.counted(t, f, "out", "egress", spec.DefaultRule); n != 2 {
			t.Errorf("denied by default: %d, want 2", n)
		}
		f = b.policies(t, &spec.HostPolicies{Policies: []spec.HostPolicy{out, db}})
		reaches(t, b.a.ns, to(80), false) // may come, must not go
		reaches(t, b.a.ns, to(81), false) // may go, must not come
		if b.counted(t, f, "out", "egress", spec.DefaultRule) != 3 || b.counted(t, f, "shop/db", "ingress", spec.DefaultRule) != 1 {
			t.Error("counted elsewhere")
		}
	})
	part(t, "who meddles with the table has it made again, and it goes when nothing is selected", func(t *testing.T) {
		if err := b.r.kernel.changePolicies(policyChange{oldChains: nil, egress: entryChange{fewer: map[netip.Addr]string{a: ""}}}); err != nil {
			t.Fatal(err)
		}
		f = b.policies(t, only)
		reaches(t, b.a.ns, to(80), false)
		b.policies(t, &spec.HostPolicies{})
		reaches(t, b.a.ns, to(80), true)
		b.policies(t, only)
		if err := b.r.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if have, err := b.r.kernel.lookPolicies(); err != nil || have.there {
			t.Error("cleanup left the table", err)
		}
	})
}

// TestRealPolicies6: the same over IPv6, where discovery must go on, and link-local addresses are no way around.
func TestRealPolicies6(t *testing.T) {
	b := newBed(t)
	c, d := container{"rtd-c", "cccccccccccc0000", "2001:db8:1::5"}, container{"rtd-d", "dddddddddddd0000", "2001:db8:1::6"}
	b.in.Pools = append(b.in.Pools, spec.Pool{Name: "six", CIDR: netip.MustParsePrefix("2001:db8:1::/64")})
	b.in.Endpoints = append(b.in.Endpoints, endpointOf(c), endpointOf(d))
	b.set(t)
	adopt(t, c)
	adopt(t, d)
	six := netip.MustParseAddr(c.address)
	f := b.policies(t, &spec.HostPolicies{Policies: []spec.HostPolicy{{Name: "p", Addresses: []netip.Addr{six}, Egress: true, EgressRules: []spec.HostRule{
		{Action: spec.PolicyAllow, PolicyMatch: spec.PolicyMatch{IPVersion: 6, Protocol: unix.IPPROTO_ICMPV6}, Destination: spec.HostEnd{In: []string{"d"}}},
	}}}, Sets: []spec.AddressSet{{Name: "d", Ranges: ranges(d.address)}}})
	if !f.CloseLinkLocal {
		t.Fatal("link-local addresses are open")
	}
	sh(t, "ip -n "+c.ns+" neigh flush all")
	if err := pings(c.ns, d.address, 0); err != nil {
		t.Error("what is allowed:", err)
	}
	// The kernel makes the route to it a little later.
	sh(t, "ip addr add 2001:db8:2::1/128 dev lo nodad; for i in $(seq 1000); do ip -6 route show table local | grep -q 2001:db8:2::1 && exit 0; done; exit 1")
	refused := pings(c.ns, "2001:db8:2::1", 0)
	if refused == nil {
		t.Error("the host answers although nothing allows it")
	}
	if n := b.counted(t, f, "p", "egress", spec.DefaultRule); n != 1 {
		t.Errorf("denied by default: %d, want 1 (%v)", n, refused)
	}
	// Its link-local address, at once and not only when duplicates have been looked for.
	sh(t, "ip netns exec "+c.ns+" sh -c 'a=$(ip -6 -o addr show dev eth0 scope link | awk \"{print \\$4}\"); ip addr del $a dev eth0; ip addr add $a dev eth0 nodad'")
	host := make(chan error, 1)
	go func() {
		_, err := inside(c.ns, func() (struct{}, error) {
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
			if err != nil {
				return struct{}{}, err
			}
			defer unix.Close(fd)
			l, err := net.InterfaceByName("eth0")
			if err != nil {
				return struct{}{}, err
			}
			return struct{}{}, unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet6{Addr: hostnet.Gateway6.As16(), Port: 9, ZoneId: uint32(l.Index)})
		})
		host <- err
	}()
	if err := <-host; err != nil {
		t.Fatal(err)
	}
	closed := func() uint64 {
		t.Helper()
		if err := pings(c.ns, d.address, 0); err != nil { // what was sent before has been dealt with
			t.Error(err)
		}
		counts, err := b.r.kernel.countPolicies()
		if err != nil {
			t.Fatal(err)
		}
		return counts[closedCounter].packets
	}
	before := closed()
	if before == 0 {
		t.Error("from its link-local address it reaches the host")
	}
	if err := fromNobody(c.ns, "2001:db8:2::1"); err != nil {
		t.Fatal(err)
	}
	if after := closed(); after != before+1 {
		t.Errorf("from no address it reaches the host: %d dropped, then %d", before, after)
	}
}

// fromNobody sends a datagram with the unspecified address as its sender, which only discovery has to.
func fromNobody(ns, to string) error {
	_, err := inside(ns, func() (struct{}, error) {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return struct{}{}, err
		}
		defer unix.Close(fd)
		b := make([]byte, 48)
		b[0], b[5], b[6], b[7], b[43], b[45] = 0x60, 8, unix.IPPROTO_UDP, 64, 9, 8
		dest := netip.MustParseAddr(to).As16()
		copy(b[24:], dest[:])
		return struct{}{}, unix.Sendto(fd, b, 0, &unix.SockaddrInet6{Addr: dest})
	})
	return err
}
