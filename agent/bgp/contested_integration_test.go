//go:build integration

package bgp

import (
	"fmt"
	"testing"
	"time"
)

// TestContested: a host that announces an address hears at once that another one announces it, too, and when it no longer does, or is
// silent. With peers it is up.
func TestContested(t *testing.T) {
	w := newWorld(t)
	ma, mb := w.machine(), w.machine()
	a, b := ma.speaker(), mb.speaker()
	ca, cb := Config{AS: hostAS, Peers: []Peer{to(mb, false)}}, Config{AS: hostAS, Peers: []Peer{to(ma, false)}}
	is := func(s *speaker, within time.Duration, want string) {
		t.Helper()
		took := w.until(within, "contested "+want, func() bool {
			l := s.last()
			return fmt.Sprint(l.Contested, l.Up) == want
		})
		t.Logf("contested %s after %s", want, took.Round(time.Millisecond))
	}
	a.set(ca, "10.88.1.0/26", "10.88.9.9/32")
	b.set(cb, "10.88.1.0/26")
	is(a, 20*time.Second, "[] true")
	a.learns(5*time.Second, "")
	b.learns(5*time.Second, "10.88.9.9/32[192.0.2.1]")
	b.set(cb, "10.88.1.0/26", "10.88.9.9/32") // a block that two announce is no matter of this
	is(a, 2*time.Second, "[10.88.9.9/32] true")
	is(b, 2*time.Second, "[10.88.9.9/32] true")
	a.set(ca, "10.88.1.0/26") // the older owner yields
	is(a, 2*time.Second, "[] true")
	is(b, 2*time.Second, "[] true")
	a.learns(2*time.Second, "10.88.9.9/32[192.0.2.2]")
	a.set(ca, "10.88.1.0/26", "10.88.9.9/32")
	is(b, 2*time.Second, "[10.88.9.9/32] true")
	ma.cut()
	is(b, 13*time.Second, "[] false")
	is(a, 13*time.Second, "[] false")
}
