//go:build integration

package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// The routed path is tested in a namespace that plays the host, with Docker's packet filter as 20.10 makes it, and
// namespaces that play containers. What Docker does with the answer to Join, container does here.
var routedPools = []spec.Pool{{Name: "blue", CIDR: netip.MustParsePrefix("10.213.0.0/16"), NATOutgoing: true}}

type container struct{ ns, id, address string }

func endpointOf(c container) hostnet.Endpoint {
	a := netip.MustParseAddr(c.address)
	return hostnet.Endpoint{ID: c.id, MAC: hostnet.MAC(a), Addresses: []netip.Addr{a}, Create: true}
}

// adopt is what Docker does after Join.
func adopt(t *testing.T, c container) {
	t.Helper()
	_, peer, err := hostnet.LinkNames(c.id)
	if err != nil {
		t.Fatal(err)
	}
	sh(t, "ip netns add "+c.ns)
	t.Cleanup(func() { sh(t, "ip netns del "+c.ns) })
	if !strings.Contains(c.address, ":") { // as Docker does
		sh(t, "ip netns exec "+c.ns+" sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'")
	}
	sh(t, "ip netns exec "+c.ns+" sh -c 'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad'") // its link-local address can be used at once
	gw := "169.254.1.1"
	family := ""
	if strings.Contains(c.address, ":") {
		gw, family = "fe80::1", "-6"
	}
	sh(t, fmt.Sprintf("ip link set %[1]s netns %[2]s && ip -n %[2]s link set %[1]s name eth0 && ip -n %[2]s link set lo up && ip -n %[2]s addr add %[3]s dev eth0 nodad && "+
		"ip -n %[2]s link set eth0 up && ip -n %[2]s %[5]s route add %[4]s dev eth0 scope link && ip -n %[2]s %[5]s route add default via %[4]s dev eth0", peer, c.ns, c.address, gw, family))
}

func dockers(t *testing.T) {
	t.Helper()
	sh(t, "ip link set lo up; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -P FORWARD DROP; iptables -A FORWARD -j DOCKER-USER;"+
		"iptables -N DOCKER; iptables -A FORWARD -o other -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A FORWARD -o other -j DOCKER; iptables -A FORWARD -i other ! -o other -j ACCEPT")
}

// part is a part of a test that stays in the test's own thread and so in its namespace, which t.Run would not.
func part(t *testing.T, name string, do func(t *testing.T)) {
	t.Helper()
	failed := t.Failed()
	do(t)
	if t.Failed() && !failed {
		t.Logf("that was: %s", name)
	}
}

// inside runs do in a named network namespace, on a thread that ends with it.
func inside[T any](ns string, do func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		var r result
		f, err := os.Open("/run/netns/" + ns)
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if r.err = err; err == nil {
			r.v, r.err = do()
		}
		done <- r
	}()
	r := <-done
	return r.v, r.err
}

// checksum is the internet's.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// ping sends an echo request of the given size from the calling thread's namespace and waits for the answer.
func ping(to netip.Addr, size int, wait time.Duration) error {
	family, proto, kind, answer := unix.AF_INET, unix.IPPROTO_ICMP, byte(8), byte(0)
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(to.AsSlice()[:4])}
	if to.Is6() {
		family, proto, kind, answer = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128, 129
		sa = &unix.SockaddrInet6{Addr: to.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW, proto)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := make([]byte, 8+size, 9+size)
	b[0], b[7] = kind, 1
	if to.Is4() {
		binary.BigEndian.PutUint16(b[2:], checksum(b[:len(b)+len(b)%2]))
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO); err != nil {
			return err
		}
	}
	limit := unix.NsecToTimeval(wait.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	if err := unix.Sendto(fd, b, 0, sa); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	got := make([]byte, 65536)
	for {
		n, from, err := unix.Recvfrom(fd, got, 0)
		if err != nil {
			return fmt.Errorf("no answer: %w", err)
		}
		head := 0
		if s, ok := from.(*unix.SockaddrInet4); ok {
			if head = 20; s.Addr != [4]byte(to.AsSlice()[:4]) {
				continue
			}
		}
		if n > head && got[head] == answer {
			return nil
		}
	}
}

// pings from a namespace.
func pings(from, to string, size int) error {
	_, err := inside(from, func() (struct{}, error) { return struct{}{}, ping(netip.MustParseAddr(to), size, time.Second) })
	return err
}

// forge sends an echo request of which nobody expects an answer with another source address.
func forge(ns, source, to string) error {
	_, err := inside(ns, func() (struct{}, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return struct{}{}, err
		}
		defer unix.Close(fd)
		b := make([]byte, 28)
		b[0], b[8], b[9], b[20] = 0x45, 64, unix.IPPROTO_ICMP, 8
		copy(b[12:], netip.MustParseAddr(source).AsSlice())
		copy(b[16:], netip.MustParseAddr(to).AsSlice())
		binary.BigEndian.PutUint16(b[22:], checksum(b[20:]))
		return struct{}{}, unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: [4]byte(netip.MustParseAddr(to).AsSlice())})
	})
	return err
}

// arp broadcasts an ARP request for the gateway by which the container claims an address.
func arp(ns, mac, claimed string) error {
	_, err := inside(ns, func() (struct{}, error) {
		l, err := net.InterfaceByName("eth0")
		if err != nil {
			return struct{}{}, err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return struct{}{}, err
		}
		defer unix.Close(fd)
		hw, err := net.ParseMAC(mac)
		if err != nil {
			return struct{}{}, err
		}
		b := append([]byte{255, 255, 255, 255, 255, 255}, l.HardwareAddr...)
		b = append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		b = append(append(b, hw...), netip.MustParseAddr(claimed).AsSlice()...)
		b = append(append(b, 0, 0, 0, 0, 0, 0), hostnet.Gateway4.AsSlice()...)
		return struct{}{}, unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{Ifindex: l.Index, Protocol: 0x0608})
	})
	return err
}

// uplink makes a namespace behind the host that is no container.
func uplink(t *testing.T, ns, link, host, own string) {
	t.Helper()
	sh(t, "ip netns add "+ns)
	t.Cleanup(func() { sh(t, "ip netns del "+ns) })
	gateway := netip.MustParsePrefix(host).Addr()
	sh(t, fmt.Sprintf("ip link add %[2]s type veth peer name eth0 netns %[1]s && ip addr add %[3]s dev %[2]s && ip link set %[2]s up &&"+
		"ip -n %[1]s addr add %[4]s/24 dev eth0 && ip -n %[1]s link set eth0 up && ip -n %[1]s route add 10.213.0.0/16 via %[5]v", ns, link, host, own, gateway))
}

// bed is a host with two containers on the routed path.
type bed struct {
	r    *Router
	o    hostnet.Options
	a, b container
	in   hostnet.PathInput
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ownNamespace(t)
	dockers(t)
	r, err := New(Default)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{
		r: r, a: container{"rtd-a", "aaaaaaaaaaaa0000", "10.213.0.5"}, b: container{"rtd-b", "bbbbbbbbbbbb0000", "10.213.7.9"},
		o: hostnet.Options{IPAMDriver: Default, Mode: hostnet.Routed, MTU: 1400, Closed: []string{"other"}},
	}
	b.in = hostnet.PathInput{Pools: routedPools, Endpoints: []hostnet.Endpoint{endpointOf(b.a), endpointOf(b.b)}, Blocks: []netip.Prefix{netip.MustParsePrefix("10.213.0.0/26")}}
	if err := r.Set(t.Context(), hostnet.Compile(routedPools, b.o).Rules); err != nil {
		t.Fatal(err)
	}
	b.set(t)
	adopt(t, b.a)
	adopt(t, b.b)
	for i := range b.in.Endpoints {
		b.in.Endpoints[i].Create = false
	}
	return b
}

func (b *bed) set(t *testing.T) {
	t.Helper()
	if out, err := b.r.SetPath(t.Context(), hostnet.CompilePath(b.in, b.o)); err != nil || len(out.Missing) > 0 {
		t.Fatal(out, err)
	}
	b.settled(t)
}

// settled fails when a further Set would change something.
func (b *bed) settled(t *testing.T) {
	t.Helper()
	want := hostnet.CompilePath(b.in, b.o)
	have, err := b.r.kernel.look(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes(have, want) {
		t.Errorf("a further Set would %s", c.what)
	}
}

// dropped is how often a container's packets were dropped as forged.
func (b *bed) dropped(t *testing.T, c container) uint64 {
	t.Helper()
	n, err := b.r.Spoofed()
	if err != nil {
		t.Fatal(err)
	}
	link, _, _ := hostnet.LinkNames(c.id)
	return n[link]
}

func TestRoutedPath(t *testing.T) {
	b := newBed(t)
	sh(t, "ip link add brtower type veth peer name brpeer; ip link add bright type ifb") // somebody else's
	b.settled(t)
	part(t, "without a default route, and with nothing but containers", func(t *testing.T) {
		if strings.Contains(sh(t, "ip route"), "default") {
			t.Fatal("there is one")
		}
		for _, way := range [][2]string{{b.a.ns, b.b.address}, {b.b.ns, b.a.address}} {
			if err := pings(way[0], way[1], 0); err != nil {
				t.Errorf("%s to %s: %v", way[0], way[1], err)
			}
		}
	})
	uplink(t, "rtd-out", "out", "192.0.2.1/24", "192.0.2.2")
	uplink(t, "rtd-other", "other", "10.99.0.1/24", "10.99.0.2")
	sh(t, "ip route add default via 192.0.2.2")
	for _, c := range []struct {
		name, from, to string
		closed         bool
	}{
		{"between containers", b.a.ns, b.b.address, false}, {"to a container from outside", "rtd-out", b.b.address, false},
		{"to the outside, masqueraded", b.a.ns, "192.0.2.2", false}, {"to the host", b.a.ns, "192.0.2.1", false},
		{"to a network of Docker's that is none of ours", b.a.ns, "10.99.0.2", true},
		{"to an address of the block that nobody has", "rtd-out", "10.213.0.44", true},
	} {
		part(t, c.name, func(t *testing.T) {
			if err := pings(c.from, c.to, 0); (err != nil) != c.closed {
				t.Errorf("%v", err)
			}
		})
	}
	part(t, "from the host, which goes on to send as itself", func(t *testing.T) {
		if err := ping(netip.MustParseAddr(b.a.address), 0, time.Second); err != nil {
			t.Error(err)
		}
		if out := sh(t, "ip route get "+b.a.address); !strings.Contains(out, "src 192.0.2.1") {
			t.Error(out)
		}
	})
	part(t, "the MTU holds", func(t *testing.T) {
		if err := pings(b.a.ns, b.b.address, 1400-28); err != nil {
			t.Error(err)
		}
		if err := pings(b.a.ns, b.b.address, 1400-27); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("a larger one: %v", err)
		}
	})
	b.settled(t)
	b.in.Endpoints = nil
	b.set(t)
	sh(t, "ip link show brtower && ip link show bright")
}

func TestSpoofing(t *testing.T) {
	b := newBed(t)
	uplink(t, "rtd-out", "out", "192.0.2.1/24", "192.0.2.2")
	// Who receives a forged packet would answer to the forged sender; the counters of the receivers are what counts.
	echoes := func(ns string) string {
		out := sh(t, "ip netns exec "+ns+" cat /proc/net/snmp")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 9 && f[0] == "Icmp:" && f[1] != "InMsgs" {
				return f[9] // InEchos
			}
		}
		return ""
	}
	// arrived waits until what was sent before has been dealt with.
	arrived := func() {
		t.Helper()
		if err := pings(b.a.ns, hostnet.Gateway4.String(), 0); err != nil {
			t.Error(err)
		}
	}
	if err := forge(b.a.ns, b.a.address, b.b.address); err != nil {
		t.Fatal(err)
	}
	arrived()
	if n := echoes(b.b.ns); n != "1" || b.dropped(t, b.a) != 0 {
		t.Fatalf("an honest packet: %s received, %d dropped", n, b.dropped(t, b.a))
	}
	for _, c := range []struct{ name, source, to, ns string }{
		{"another container's address", b.b.address, b.b.address, b.b.ns}, {"an address of nobody", "10.213.0.44", b.b.address, b.b.ns},
		{"the outside's address", "192.0.2.2", b.b.address, b.b.ns}, {"another address towards the outside", "10.213.0.6", "192.0.2.2", "rtd-out"},
		{"the gateway's address", "169.254.1.1", "192.0.2.2", "rtd-out"},
	} {
		part(t, c.name, func(t *testing.T) {
			before, was := echoes(c.ns), b.dropped(t, b.a)
			if err := forge(b.a.ns, c.source, c.to); err != nil {
				t.Fatal(err)
			}
			arrived()
			if n := b.dropped(t, b.a); n != was+1 {
				t.Errorf("%d dropped, %d before", n, was)
			}
			if after := echoes(c.ns); after != before {
				t.Errorf("it arrived: %s echo requests, %s before", after, before)
			}
		})
	}
	part(t, "another container's address in ARP", func(t *testing.T) {
		was := b.dropped(t, b.a)
		if err := arp(b.a.ns, hostnet.MAC(netip.MustParseAddr(b.a.address)), b.a.address); err != nil {
			t.Fatal(err)
		}
		arrived()
		if n := b.dropped(t, b.a); n != was {
			t.Errorf("an honest one: %d dropped, %d before", n, was)
		}
		for _, claim := range [][2]string{{hostnet.MAC(netip.MustParseAddr(b.a.address)), b.b.address}, {hostnet.MAC(netip.MustParseAddr(b.b.address)), b.a.address}} {
			was = b.dropped(t, b.a)
			if err := arp(b.a.ns, claim[0], claim[1]); err != nil {
				t.Fatal(err)
			}
			arrived()
			if n := b.dropped(t, b.a); n != was+1 {
				t.Errorf("%v: %d dropped, %d before", claim, n, was)
			}
		}
	})
	part(t, "another MAC", func(t *testing.T) {
		was := b.dropped(t, b.a)
		own := hostnet.MAC(netip.MustParseAddr(b.a.address))
		// Its neighbour entry would go with the change: what is sent is an IP packet, not a question.
		sh(t, "ip -n "+b.a.ns+" link set eth0 address 02:42:00:00:00:01; ip -n "+b.a.ns+" neigh replace 169.254.1.1 lladdr "+hostnet.HostMAC+" dev eth0 nud permanent")
		if err := pings(b.a.ns, b.b.address, 0); err == nil {
			t.Error("it is answered")
		}
		if n := b.dropped(t, b.a); n != was+1 {
			t.Errorf("%d dropped, %d before", n, was)
		}
		sh(t, "ip -n "+b.a.ns+" neigh flush all; ip -n "+b.a.ns+" link set eth0 address "+own)
		if err := pings(b.a.ns, b.b.address, 0); err != nil {
			t.Errorf("with its own again: %v", err)
		}
	})
	part(t, "nobody else was counted", func(t *testing.T) {
		if n := b.dropped(t, b.b); n != 0 {
			t.Errorf("%d", n)
		}
	})
}

// dies is a context that ends after so many steps.
type dies struct {
	context.Context
	after int
}

func (d *dies) Err() error {
	if d.after--; d.after < 0 {
		return context.Canceled
	}
	return nil
}

// After a crash between any two steps the next start finds its way, and containers that were there keep their network.
func TestRoutedPathAfterACrash(t *testing.T) {
	b := newBed(t)
	c := container{"rtd-c", "cccccccccccc0000", "10.213.3.3"}
	whole := b.in
	with := b.in
	with.Endpoints = append(slices.Clone(b.in.Endpoints), endpointOf(c))
	with.Learned = []hostnet.Learned{{Prefix: netip.MustParsePrefix("10.213.64.0/26"), Via: netip.MustParseAddr("192.0.2.2")}}
	uplink(t, "rtd-out", "out", "192.0.2.1/24", "192.0.2.2")
	steps := 0
	for n := 0; ; n++ {
		d := &dies{Context: t.Context(), after: n}
		_, err := b.r.SetPath(d, hostnet.CompilePath(with, b.o))
		if err := pings(b.a.ns, b.b.address, 0); err != nil {
			t.Errorf("a crash after step %d: %v", n, err)
		}
		b.in = with
		b.set(t) // the next start
		if err == nil {
			steps = n
			break
		}
		b.in = whole
		b.set(t)
	}
	if steps < 8 {
		t.Errorf("there were only %d steps", steps)
	}
	adopt(t, c)
	if err := pings(b.b.ns, c.address, 0); err != nil {
		t.Error(err)
	}
	for what, line := range map[string]string{
		"flushed packet filter": "iptables -F; iptables -A DOCKER-USER -j RETURN; iptables -A FORWARD -j DOCKER-USER",
		"a link set down":       "ip link set brtaaaaaaaaaaa down",
		"other settings":        "echo 0 > /proc/sys/net/ipv4/conf/brtaaaaaaaaaaa/rp_filter",
		"a removed address":     "ip addr flush dev brtaaaaaaaaaaa",
		"removed routes":        "ip route flush proto 66",
		"removed neighbours":    "ip neigh flush nud permanent dev brtaaaaaaaaaaa",
		"a stray link":          "ip link add brtdeadbeef000 type veth peer name brpdeadbeef000",
	} {
		sh(t, line)
		if err := b.r.Set(t.Context(), hostnet.Compile(routedPools, b.o).Rules); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		b.set(t)
		if err := pings(b.a.ns, b.b.address, 0); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	part(t, "a container that ends takes its route along", func(t *testing.T) {
		sh(t, "ip -n rtd-c link del eth0")
		out, err := b.r.SetPath(t.Context(), hostnet.CompilePath(hostnet.PathInput{Pools: with.Pools, Endpoints: without(with.Endpoints, c.id), Blocks: with.Blocks}, b.o))
		if err != nil || len(out.Missing) > 0 {
			t.Error(out, err)
		}
		with.Endpoints[2].Create = false
		out, err = b.r.SetPath(t.Context(), hostnet.CompilePath(with, b.o))
		if err != nil || !slices.Equal(out.Missing, []string{"brtccccccccccc"}) {
			t.Error(out, err)
		}
	})
	part(t, "routes of others stay, also in the way of ours", func(t *testing.T) {
		sh(t, "ip route add 10.213.99.0/26 via 192.0.2.2 proto static")
		with.Learned = []hostnet.Learned{{Prefix: netip.MustParsePrefix("10.213.99.0/26"), Via: netip.MustParseAddr("192.0.2.2")}}
		if _, err := b.r.SetPath(t.Context(), hostnet.CompilePath(with, b.o)); err == nil || !strings.Contains(err.Error(), "someone else has a route") {
			t.Error(err)
		}
		with.Learned = nil
		if _, err := b.r.SetPath(t.Context(), hostnet.CompilePath(with, b.o)); err != nil {
			t.Error(err)
		}
		if out := sh(t, "ip route"); !strings.Contains(out, "10.213.99.0/26 via 192.0.2.2 dev out proto static") || strings.Contains(out, "10.213.64.0/26") {
			t.Error(out)
		}
	})
}

func without(es []hostnet.Endpoint, id string) []hostnet.Endpoint {
	return slices.DeleteFunc(slices.Clone(es), func(e hostnet.Endpoint) bool { return e.ID == id })
}

func TestRoutedPathIPv6(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ownNamespace(t)
	sh(t, "ip link set lo up")
	r, err := New(Default)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{
		r: r, a: container{"rtd-a", "aaaaaaaaaaaa0000", "fd00:213::5"}, b: container{"rtd-b", "bbbbbbbbbbbb0000", "fd00:213::7:9"},
		o: hostnet.Options{IPAMDriver: Default, Mode: hostnet.Routed},
	}
	b.in = hostnet.PathInput{
		Pools:     []spec.Pool{{Name: "six", CIDR: netip.MustParsePrefix("fd00:213::/64")}},
		Endpoints: []hostnet.Endpoint{endpointOf(b.a), endpointOf(b.b)}, Blocks: []netip.Prefix{netip.MustParsePrefix("fd00:213::/122")},
		Learned: []hostnet.Learned{
			{Prefix: netip.MustParsePrefix("fd00:213::1:0/122"), Via: netip.MustParseAddr("fd00:99::2")},
			{Prefix: netip.MustParsePrefix("fd00:213::1:0/122"), Via: netip.MustParseAddr("fd00:99::3")},
		},
	}
	sh(t, "ip link add out type veth peer name out2 && ip addr add fd00:99::1/64 dev out nodad && ip link set out up && ip link set out2 up")
	b.set(t)
	adopt(t, b.a)
	adopt(t, b.b)
	if err := pings(b.a.ns, b.b.address, 0); err != nil {
		t.Error(err)
	}
	was := b.dropped(t, b.a)
	sh(t, "ip -n rtd-a addr add fd00:213::66/128 dev eth0 nodad && ip -n rtd-a addr del "+b.a.address+"/128 dev eth0")
	if err := pings(b.a.ns, b.b.address, 0); err == nil {
		t.Error("an address that is not its own passes")
	}
	if b.dropped(t, b.a) == was {
		t.Error("not counted")
	}
	b.in.Learned, b.in.Endpoints = b.in.Learned[:1], b.in.Endpoints[1:]
	b.set(t)
	b.in = hostnet.PathInput{}
	b.set(t)
	if out := sh(t, "ip -6 route show proto 66"); out != "" {
		t.Error(out)
	}
}

// What a container receives, and sends, is held to its bound: tbf shapes, so that a flow does not break down.
func TestRate(t *testing.T) {
	b := newBed(t)
	const rate = 40_000_000
	b.in.Endpoints[1].Rate = rate
	b.set(t)
	through(t, b.a, b.b, rate)
	b.in.Endpoints[1].Rate = 0
	b.in.Endpoints[0].Egress = rate
	b.set(t)
	through(t, b.a, b.b, rate)
	b.in.Endpoints[0].Egress = rate / 2 // while it runs
	b.set(t)
	through(t, b.a, b.b, rate/2)

	part(t, "who is bounded is guarded all the same", func(t *testing.T) {
		before := b.dropped(t, b.a)
		if err := forge(b.a.ns, "10.213.9.99", b.b.address); err != nil {
			t.Fatal(err)
		}
		if err := pings(b.a.ns, b.b.address, 0); err != nil {
			t.Error(err)
		}
		if n := b.dropped(t, b.a); n != before+1 {
			t.Errorf("%d forged packets were dropped", n-before)
		}
	})
	link, _, _ := hostnet.LinkNames(b.a.id)
	for what, line := range map[string]string{
		"no shaper": "ip link del " + shaperName(link), "a shaper that is down": "ip link set " + shaperName(link) + " down",
		"no filter": "tc filter del dev " + link + " ingress", "no queue": "tc qdisc del dev " + link + " ingress", "a stray shaper": "ip link add brideadbeef000 type ifb",
	} {
		part(t, what, func(t *testing.T) {
			sh(t, line)
			b.set(t)
			if out := sh(t, "ip -o link show type ifb"); strings.Count(out, "\n") != 1 {
				t.Errorf("there are %s", out)
			}
		})
	}
	through(t, b.a, b.b, rate/2)
	b.in.Endpoints[0].Egress = 0
	b.set(t)
	if out := sh(t, "ip -o link show type ifb; tc qdisc show dev "+link+" ingress"); out != "" {
		t.Errorf("there is still %s", out)
	}
}

// through sends from one container to the other, and fails when that is faster than the rate, or much slower.
func through(t *testing.T, from, to container, rate float64) {
	t.Helper()
	l, err := inside(to.ns, func() (net.Listener, error) { return net.Listen("tcp4", ":9") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 4 << 20
	took := make(chan time.Duration, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			took <- 0
			return
		}
		defer c.Close()
		began := time.Now()
		n, _ := io.Copy(io.Discard, c)
		if n != size {
			took <- 0
			return
		}
		took <- time.Since(began)
	}()
	if _, err := inside(from.ns, func() (int, error) {
		c, err := net.Dial("tcp4", to.address+":9")
		if err != nil {
			return 0, err
		}
		defer c.Close()
		return c.Write(make([]byte, size))
	}); err != nil {
		t.Fatal(err)
	}
	d := <-took
	if got := float64(size*8) / d.Seconds(); d == 0 || got > rate*1.1 || got < rate/2 {
		t.Errorf("%.1f Mbit/s in %v, want at most %.1f", got/1e6, d, rate/1e6)
	} else {
		t.Logf("%.1f Mbit/s of %.1f", got/1e6, rate/1e6)
	}
}

// Ten thousand learned routes, as on a host of a large fleet: set at once, found unchanged, withdrawn.
func TestManyLearnedRoutes(t *testing.T) {
	b := newBed(t)
	uplink(t, "rtd-out", "out", "192.0.2.1/24", "192.0.2.2")
	const n = 10_000
	for i := range n {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, byte(128 + i>>8&63), byte(i)}), 32)
		b.in.Learned = append(b.in.Learned, hostnet.Learned{Prefix: p, Via: netip.MustParseAddr("192.0.2.2")})
	}
	for _, step := range []string{"set", "again"} {
		began := time.Now()
		if _, err := b.r.SetPath(t.Context(), hostnet.CompilePath(b.in, b.o)); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		t.Logf("%s: %v", step, took.Round(time.Millisecond))
		if took > 10*time.Second {
			t.Errorf("%s: %d routes took %v", step, n, took)
		}
	}
	if have, err := b.r.kernel.look(hostnet.Path{}); err != nil || len(have.routes) != n+3 {
		t.Errorf("%d routes, %v", len(have.routes), err)
	}
	b.in.Learned = nil
	b.set(t)
}
