package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
)

// territory is where the rig's pools come from; CONTRIBUTING.md names it, so that people keep their own networks out.
var territory = netip.MustParsePrefix("10.201.0.0/16")

// freeRange finds a range of the wanted size in the territory that no interface of this machine has. Tests of several
// processes may look at the same time, so the start is random.
func freeRange(t TB, bits int) netip.Prefix {
	t.Helper()
	taken := takenRanges(t)
	base := territory.Addr().As4()
	first := rand.IntN(256)
	for i := range 256 {
		base[2] = byte(first + i)
		p := netip.PrefixFrom(netip.AddrFrom4(base), bits)
		free := true
		for _, other := range taken {
			free = free && !other.Overlaps(p)
		}
		if free {
			return p
		}
	}
	t.Fatalf("no free range is left in %s", territory)
	return netip.Prefix{}
}

func takenRanges(t TB) []netip.Prefix {
	t.Helper()
	var taken []netip.Prefix
	for _, a := range must(net.InterfaceAddrs())(t, "list the machine's addresses") {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			taken = append(taken, p.Masked())
		}
	}
	return taken
}

// freshName is a name that nothing else has: at most 12 bytes, so that "br-" and it make an interface's name.
func freshName() string { return fmt.Sprintf("it%08x", rand.Uint32()) }

// FreePort asks the kernel for a TCP port on loopback.
func FreePort(t TB) int {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t, "find a free port")
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// PoolYAML is a Calico IPPool as an operator would write it.
func PoolYAML(name, cidr string) string {
	return strings.Join([]string{
		"apiVersion: projectcalico.org/v3", "kind: IPPool", "metadata:", "  name: " + name, "spec:", "  cidr: " + cidr, "  natOutgoing: true", "",
	}, "\n")
}
