//go:build integration

package bgp

import (
	"net/netip"
	"testing"
	"time"
)

// to is a peering inside the AS.
func to(m *machine, client bool) Peer {
	return Peer{Name: "mesh " + m.ns, Address: m.v4, AS: hostAS, Password: secret, RestartTime: 20 * time.Second, Client: client}
}

// TestMesh: two speakers keep each other's routes as bird and a speaker do. The second is the test of our own helper: gobgp's would keep
// the routes of a silent host for the whole restart time.
func TestMesh(t *testing.T) {
	w := newWorld(t)
	ma, mb := w.machine(), w.machine()
	a, b := ma.speaker(), mb.speaker()
	a.set(Config{})
	a.learns(5*time.Second, "")
	ca, cb := Config{AS: hostAS, Peers: []Peer{to(mb, false)}}, Config{AS: hostAS, Peers: []Peer{to(ma, false)}}
	a.set(ca, "10.88.1.0/26")
	a.learns(5*time.Second, "incomplete")
	b.set(cb, "10.88.2.0/26", "10.88.1.7/32")
	a.learns(20*time.Second, "10.88.1.7/32[192.0.2.2] 10.88.2.0/26[192.0.2.2]")
	b.learns(5*time.Second, "10.88.1.0/26[192.0.2.1]")

	b.kill()
	w.always(3*time.Second, "the routes of a speaker that was killed stay", func() bool { return len(a.last().Routes) == 2 })
	b = mb.speaker()
	b.set(cb, "10.88.2.0/26")
	a.learns(20*time.Second, "10.88.2.0/26[192.0.2.2]")
	b.learns(20*time.Second, "10.88.1.0/26[192.0.2.1]")

	mb.cut()
	start := time.Now()
	a.learns(12*time.Second, "")
	b.learns(3*time.Second, "")
	took := time.Since(start)
	t.Logf("hold time %s: a silent host's routes were gone after %s", HoldTime, took.Round(100*time.Millisecond))
	if took < HoldTime-HoldTime/3-time.Second || took > HoldTime+time.Second {
		t.Error("not the hold time")
	}
	w.run("ip", "-n", w.name+"sw", "link", "set", mb.port, "master", "br0")
	a.learns(30*time.Second, "10.88.2.0/26[192.0.2.2]")
}

// TestReflector: clients learn from each other through the reflector, with each other as next hops. Equal paths to different hosts are
// learned as such.
func TestReflector(t *testing.T) {
	w := newWorld(t)
	m1, m2, m3, mr := w.machine(), w.machine(), w.machine(), w.machine()
	r := mr.speaker()
	r.set(Config{AS: hostAS, ClusterID: netip.MustParseAddr("224.0.0.1"), Peers: []Peer{to(m1, true), to(m2, true), to(m3, true)}}, "10.88.4.0/26")
	one, two, three := m1.speaker(), m2.speaker(), m3.speaker()
	client := Config{AS: hostAS, Peers: []Peer{to(mr, false)}}
	one.set(client, "10.88.1.0/26")
	two.set(client, "10.88.2.0/26", "198.51.100.1/32")
	three.set(client, "198.51.100.1/32")
	one.learns(40*time.Second, "10.88.2.0/26[192.0.2.2] 10.88.4.0/26[192.0.2.4] 198.51.100.1/32[192.0.2.2]")
	r.learns(10*time.Second, "10.88.1.0/26[192.0.2.1] 10.88.2.0/26[192.0.2.2] 198.51.100.1/32[192.0.2.2 192.0.2.3]")
	two.learns(10*time.Second, "10.88.1.0/26[192.0.2.1] 10.88.4.0/26[192.0.2.4]")

	r.kill()
	w.always(3*time.Second, "routes stay without the reflector", func() bool { return len(one.last().Routes) == 3 })
}
