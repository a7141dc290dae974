//go:build integration

package router

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/agent/hostnet"
)

// TestRealBridged makes a bridge with one container as Docker does, breaks it in each way, and looks what is found; what Carry
// is for, it mends.
func TestRealBridged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ownNamespace(t)
	r := &Router{}
	container := exec.Command("unshare", "--net", "sleep", "60")
	if err := container.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = container.Process.Kill()
		_ = container.Wait()
	}()
	pid := container.Process.Pid
	own, _ := os.Readlink("/proc/self/ns/net")
	for end := time.Now().Add(10 * time.Second); ; { // until unshare has done its work
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && ns != own {
			if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && strings.HasSuffix(exe, "sleep") {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("no network namespace")
		}
	}
	inside := fmt.Sprintf("nsenter --net=/proc/%d/ns/net ", pid)
	gateway, a := netip.MustParsePrefix("10.213.9.1/24"), netip.MustParseAddr("10.213.9.2")
	sh(t, fmt.Sprintf("ip link set lo up; ip link add br-x type bridge; ip link add v0 type veth peer name p0; ip link set v0 master br-x up; ip link set p0 netns %d", pid))
	sh(t, inside+"ip addr add 10.213.9.2/24 dev p0; "+inside+"ip link set p0 up")

	want := func(when, fault string) {
		t.Helper()
		got, err := r.Bridged([]hostnet.Spot{{Address: a, Pid: pid, Bridge: "br-x"}})
		if err != nil {
			t.Fatal(err)
		}
		if got[a].Fault != fault {
			t.Errorf("%s: %q, want %q", when, got[a].Fault, fault)
		}
	}
	carry := func() {
		t.Helper()
		if err := r.Carry("br-x", gateway); err != nil {
			t.Fatal(err)
		}
	}
	want("a bridge without anything", "the host has no route to it; it should lead to br-x")
	carry()
	want("carried", "")
	sh(t, "ip route del 10.213.9.0/24")
	want("without its route", "the host has no route to it; it should lead to br-x")
	before := sh(t, "ip -4 -o addr show br-x")
	carry()
	want("with its route again", "")
	if after := sh(t, "ip -4 -o addr show br-x"); after != before {
		t.Errorf("the address was touched:\n%s\n%s", before, after)
	}
	sh(t, "ip addr flush dev br-x; ip link set br-x down")
	carry()
	want("up again", "")
	if got := strings.TrimSpace(sh(t, "ip route show 10.213.9.0/24")); got != "10.213.9.0/24 dev br-x proto kernel scope link src 10.213.9.1" {
		t.Errorf("route %q", got)
	}
	sh(t, "ip route add 10.213.9.2/32 dev lo")
	want("a narrower route", "the host's route to it leads to lo, not to br-x")
	sh(t, "ip route del 10.213.9.2/32; ip link set v0 nomaster")
	want("off the bridge", "it has no link to br-x that is up")
	sh(t, "ip link set v0 master br-x; ip link set v0 down")
	want("down", "it has no link to br-x that is up")
	sh(t, "ip link set v0 up; "+inside+"ip addr flush dev p0")
	want("without its address", "the container's own end does not have it")
	if err := r.Carry("br-none", gateway); err != nil {
		t.Errorf("a bridge that is not there: %v", err)
	}
	got, err := r.Bridged([]hostnet.Spot{{Address: a, Pid: 1 << 30, Bridge: "br-x"}})
	if err != nil || got[a].Fault != "it has no link to br-x that is up" {
		t.Errorf("a process that is gone: %+v, %v", got, err)
	}
}
