package bgptest

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/berth-project/berth/agent/bgp"
)

func TestFabric(t *testing.T) {
	ctx := t.Context()
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	var f Fabric
	a, b := f.Speaker(addr("192.0.2.1")), f.Speaker(addr("192.0.2.2"))
	toB := bgp.Config{AS: 1, Peers: []bgp.Peer{{Name: "b", Address: addr("192.0.2.2"), AS: 2, Password: "p"}}}
	toA := bgp.Config{AS: 2, Peers: []bgp.Peer{{Name: "a", Address: addr("192.0.2.1"), AS: 1, Password: "p"}}}
	learned := func(want string) {
		t.Helper()
		l, _ := b.Learned()
		if got := fmt.Sprint(l.Routes, l.Complete, l.Up); got != want {
			t.Errorf("learned %s, want %s", got, want)
		}
	}
	if err := errors.Join(a.Set(ctx, toB, []netip.Prefix{prefix("10.88.0.0/26")}), b.Set(ctx, toA, nil)); err != nil {
		t.Fatal(err)
	}
	learned("[{10.88.0.0/26 [192.0.2.1]}] true true")
	_, changed := b.Learned()
	a.Die()
	<-changed
	learned("[] true false")
	if err := a.Set(ctx, toB, []netip.Prefix{prefix("10.88.0.64/26")}); err != nil {
		t.Fatal(err)
	}
	learned("[{10.88.0.64/26 [192.0.2.1]}] true true")
	if err := errors.Join(a.Set(ctx, toB, []netip.Prefix{prefix("10.88.0.9/32")}), b.Set(ctx, toA, []netip.Prefix{prefix("10.88.0.9/32")})); err != nil {
		t.Fatal(err)
	}
	if l, _ := b.Learned(); fmt.Sprint(l.Contested) != "[10.88.0.9/32]" {
		t.Errorf("both announce one address: %v", l)
	}
	b.Cut(true)
	learned("[] true false")
	b.Cut(false)
	toA.Peers[0].Password = "q"
	if err := b.Set(ctx, toA, nil); err != nil {
		t.Fatal(err)
	}
	learned("[] true false")
	if s, err := b.Sessions(ctx); err != nil || s[0].State != "active" {
		t.Error(s, err)
	}
	failure := errors.New("no")
	if a.Fail(failure); !errors.Is(a.Set(ctx, toB, nil), failure) || len(a.Announced()) != 1 {
		t.Error("a Set that fails changes nothing")
	}
}
