//go:build integration

package router

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// ownNamespace moves the test into a network namespace of its own: commands it runs inherit it, and it ends with the
// test's thread, which is never given back.
func ownNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
}

func sh(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

func TestRealIptables(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ownNamespace(t)
	sh(t, "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I FORWARD -j DOCKER-USER; iptables -P FORWARD DROP")
	before := sh(t, "iptables -S; iptables -t nat -S")
	r, err := New(Default)
	if err != nil {
		t.Fatal(err)
	}
	pools := []spec.Pool{
		{Name: "blue", CIDR: netip.MustParsePrefix("10.213.1.0/24"), NATOutgoing: true},
		{Name: "red", CIDR: netip.MustParsePrefix("10.213.2.0/25")},
	}
	rules := hostnet.Compile(pools, hostnet.Options{IPAMDriver: "x"}).Rules
	if err := r.Set(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"-A DOCKER-USER -m comment --comment berth -j BERTH-FORWARD\n-A DOCKER-USER -j RETURN",
		"-A POSTROUTING -m comment --comment berth -j BERTH-NAT",
		"-A BERTH-NAT -s 10.213.1.0/24 ! -o br-blue -m comment --comment berth -j MASQUERADE",
	} {
		if have := sh(t, "iptables -S; iptables -t nat -S"); !strings.Contains(have, want) {
			t.Errorf("%q is not in\n%s", want, have)
		}
	}
	// What iptables prints is what was set, so that a second Set finds nothing to do.
	for _, c := range []struct {
		table, chain string
		want         []hostnet.Rule
	}{{"filter", forwardChain, rules.Filter}, {"nat", natChain, rules.NAT}} {
		have, err := r.list(c.table, c.chain)
		if err != nil {
			t.Fatal(err)
		}
		if steps := Difference(have, texts(c.want)); len(steps) > 0 {
			t.Errorf("%s: a second time it would do %v", c.chain, steps)
		}
	}
	sh(t, "iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -t nat -F POSTROUTING")
	if err := r.Set(t.Context(), hostnet.Compile(pools[1:], hostnet.Options{IPAMDriver: "x"}).Rules); err != nil {
		t.Fatal(err)
	}
	if have := sh(t, "iptables -S; iptables -t nat -S"); strings.Contains(have, "blue") || !strings.Contains(have, "-j BERTH-NAT") {
		t.Errorf("after blue left:\n%s", have)
	}
	if err := r.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := sh(t, "iptables -S; iptables -t nat -S"); after != before {
		t.Errorf("cleanup left\n%s\nit was\n%s", after, before)
	}
}
