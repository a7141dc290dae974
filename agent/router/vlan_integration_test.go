//go:build integration

package router

import (
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
)

// TestShimAfterACrash: a shim that a killed process has made, but not yet marked as its own, is made whole; what somebody else has
// made under the name stays.
func TestShimAfterACrash(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with its namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	sh(t, "ip link set lo up; ip link add eth7 type veth peer name wire7; ip link set wire7 up; ip link set eth7 up; ip addr add 192.0.2.1/24 dev eth7")
	s := system{alias: "berth-test"}
	shim := hostnet.Shim{Name: "bl2-eth7", Parent: "eth7", Source: netip.MustParseAddr("192.0.2.1"),
		Neighbours: []hostnet.Neighbour{{Address: netip.MustParseAddr("192.0.2.130"), MAC: "02:42:c0:00:02:82"}}}
	whole := func(when string) {
		t.Helper()
		if err := s.setShims(t.Context(), []hostnet.Shim{shim}); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if out := sh(t, "ip -d link show bl2-eth7"); !strings.Contains(out, "alias berth-test") || !strings.Contains(out, "mode bridge") || !strings.Contains(out, ",UP") {
			t.Errorf("%s: the shim is %s", when, out)
		}
		if out := sh(t, "ip route show dev bl2-eth7; ip neigh show dev bl2-eth7"); !strings.Contains(out, "192.0.2.130 proto 66 scope link src 192.0.2.1") || !strings.Contains(out, "02:42:c0:00:02:82 PERMANENT") {
			t.Errorf("%s: it leads to %s", when, out)
		}
	}
	sh(t, "ip link add link eth7 name bl2-eth7 type macvlan mode bridge") // killed after the first step
	whole("unmarked")
	sh(t, "ip link set bl2-eth7 down")
	whole("down")
	if err := s.setShims(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	sh(t, "ip link add link eth7 name bl2-eth7 type macvlan mode bridge; ip link set bl2-eth7 up")
	if err := s.setShims(t.Context(), []hostnet.Shim{shim}); err == nil || !strings.Contains(err.Error(), "not Berth's") {
		t.Errorf("somebody else's: %v", err)
	}
	sh(t, "ip link show bl2-eth7")
}
