//go:build integration

package agent

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/router"
	"github.com/berth-project/berth/spec"
)

// in runs f on a thread that is in the network namespace, for good: the thread ends with f.
func in(t *testing.T, netns string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		n, err := os.Open("/run/netns/" + netns)
		if err == nil {
			defer n.Close()
			err = unix.Setns(int(n.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Who reaches whom beside a real Docker's own rules: instances reach the host, other pools and the outside, and are reached
// by all; other Docker networks stay closed to them.
func TestIsolation(t *testing.T) {
	const name, other, outside = "agt-iso", "10.213.75.0/24", "agt-iso-out"
	d := newPrivateDaemon(t, name)
	d.start()
	r := newReal(t, d.host, name, "10.213.73.0/24")
	second := spec.Pool{Name: name + "2", CIDR: netip.MustParsePrefix("10.213.74.0/24"), NATOutgoing: true}
	pools := []spec.Pool{r.pool, second}
	r.sched.doc.Set(&spec.HostDocument{Schema: 1, Version: 2, Host: "h1", Pools: pools})
	r.eventually("the second pool is ready", func() bool {
		r.sched.mu.Lock()
		defer r.sched.mu.Unlock()
		reason, ok := r.sched.report.Networks[second.Name]
		return ok && reason == ""
	})
	d.sh("ip netns add " + outside)
	defer d.sh("ip netns del " + outside)
	d.sh(strings.NewReplacer("NS", name, "OUT", outside).Replace("ip -n NS link add out type veth peer name eth0 netns OUT && ip -n NS addr add 192.0.2.1/24 dev out && " +
		"ip -n NS link set out up && ip -n OUT addr add 192.0.2.2/24 dev eth0 && ip -n OUT link set eth0 up && ip -n OUT route add default via 192.0.2.1"))
	in(t, name, func() error {
		rt, err := router.New(name)
		if err != nil {
			return err
		}
		return rt.Set(t.Context(), hostnet.Compile(pools, hostnet.Options{IPAMDriver: name}).Rules)
	})
	r.must("network", "create", "--subnet", other, name+"-other")
	defer r.must("network", "rm", name+"-other")
	defer r.docker("rm", "-f", name+"-a", name+"-b", name+"-c")
	netns := map[string]string{"host": "/run/netns/" + name, "outside": "/run/netns/" + outside}
	address := map[string]string{"host": "10.213.73.1", "outside": "192.0.2.2", "instance": "10.213.73.10", "other pool": "10.213.74.10", "other network": "10.213.75.10"}
	for which, place := range map[string][2]string{"a": {"instance", name}, "b": {"other pool", second.Name}, "c": {"other network", name + "-other"}} {
		r.must("run", "-d", "--name", name+"-"+which, "--network", place[1], "--ip", address[place[0]], r.image)
		netns[place[0]] = fmt.Sprintf("/proc/%s/ns/net", r.must("inspect", "-f", "{{.State.Pid}}", name+"-"+which))
	}
	for _, c := range []struct {
		from, to string
		reached  bool
	}{
		{"instance", "host", true}, {"host", "instance", true}, {"instance", "other pool", true}, {"other pool", "instance", true},
		{"instance", "outside", true}, {"other pool", "outside", true}, {"outside", "instance", true}, {"other network", "instance", true},
		{"instance", "other network", false}, {"other pool", "other network", false},
	} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			out, err := exec.Command("nsenter", "--net="+netns[c.from], "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/"+address[c.to]+"/7").CombinedOutput()
			if reached := err == nil || strings.Contains(string(out), "refused"); reached != c.reached {
				t.Errorf("reached: %v (%s)", reached, out)
			}
		})
	}
}
