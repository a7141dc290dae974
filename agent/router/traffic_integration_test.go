//go:build integration

package router

import (
	"fmt"
	"net"
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

// listenIn listens on port 7 inside a named network namespace. A socket stays in the namespace it was made in, so only the
// making needs a thread there.
func listenIn(t *testing.T, netns string) net.Listener {
	t.Helper()
	type made struct {
		l   net.Listener
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		f, err := os.Open("/run/netns/" + netns)
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			done <- made{err: err}
			return
		}
		l, err := net.Listen("tcp4", "0.0.0.0:7")
		done <- made{l, err}
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.l.Close() })
	return m.l
}

// Packets between four neighbours of a host whose FORWARD policy is DROP: an instance of a pool with natOutgoing, one of a
// pool without, a container on a Docker network that is none of ours, and a machine outside. Docker's rules are those that
// 20.10 makes for three bridge networks.
func TestTraffic(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ownNamespace(t)
	sh(t, "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -P FORWARD DROP;"+
		"iptables -N ISOLATE1; iptables -N ISOLATE2; iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j ISOLATE1")
	for _, bridge := range []string{"br-blue", "br-red", "other"} {
		sh(t, strings.ReplaceAll("iptables -A ISOLATE1 -i BR ! -o BR -j ISOLATE2; iptables -A ISOLATE2 -o BR -j DROP;"+
			"iptables -A FORWARD -o BR -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A FORWARD -i BR ! -o BR -j ACCEPT", "BR", bridge))
	}
	neighbours := []struct{ name, link, host, own string }{
		{"agt-blue", "br-blue", "10.213.1.1/24", "10.213.1.2"}, {"agt-red", "br-red", "10.213.2.1/24", "10.213.2.2"}, {"agt-out", "out", "192.0.2.1/24", "192.0.2.2"},
		{"agt-other", "other", "10.213.3.1/24", "10.213.3.2"},
	}
	listeners := map[string]net.Listener{}
	for _, n := range neighbours {
		sh(t, "ip netns add "+n.name)
		t.Cleanup(func() { sh(t, "ip netns del "+n.name) })
		gateway := netip.MustParsePrefix(n.host).Addr()
		sh(t, fmt.Sprintf("ip link add %[2]s type veth peer name eth0 netns %[1]s && ip addr add %[3]s dev %[2]s && ip link set %[2]s up &&"+
			"ip -n %[1]s addr add %[4]s/24 dev eth0 && ip -n %[1]s link set eth0 up && ip -n %[1]s route add default via %[5]v", n.name, n.link, n.host, n.own, gateway))
		listeners[n.own] = listenIn(t, n.name)
	}
	r, err := New(Default)
	if err != nil {
		t.Fatal(err)
	}
	pools := []spec.Pool{{Name: "blue", CIDR: netip.MustParsePrefix("10.213.1.0/24"), NATOutgoing: true}, {Name: "red", CIDR: netip.MustParsePrefix("10.213.2.0/24")}}
	if err := r.Set(t.Context(), hostnet.Compile(pools, hostnet.Options{IPAMDriver: "x"}).Rules); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, seen string }{
		{"agt-blue", "192.0.2.2", "192.0.2.1"},   // natOutgoing
		{"agt-red", "192.0.2.2", "10.213.2.2"},   // not
		{"agt-blue", "10.213.2.2", "10.213.1.2"}, // between pools
		{"agt-red", "10.213.1.2", "10.213.2.2"},
		{"agt-out", "10.213.1.2", "192.0.2.2"}, // from outside, although nothing is published
		{"agt-other", "10.213.1.2", "10.213.3.2"},
		{"agt-blue", "10.213.3.2", ""}, // Docker's networks stay closed
		{"agt-red", "10.213.3.2", ""},
	} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			out, err := exec.Command("ip", "netns", "exec", c.from, "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/"+c.to+"/7").CombinedOutput()
			if c.seen == "" {
				if err == nil {
					t.Error("it is reached")
				}
				return
			}
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			conn, err := listeners[c.to].Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr().String(); got != c.seen {
				t.Errorf("seen as %s, want %s", got, c.seen)
			}
		})
	}
}
