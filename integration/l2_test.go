//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// vlanDocument's pool is a part of the VLAN's network, 10.214.0.0/16.
const vlanDocument = `{"Schema":1,"Pools":[{"Name":"%[1]s","CIDR":"10.214.64.0/18","Router":"10.214.0.1/16"}],"Blocks":["10.214.64.0/26"]}`

// newVLAN makes a namespace with a switch, which is also the VLAN's router, and a client's namespace behind it. Ports are named as
// the namespaces.
func newVLAN(t *testing.T) (vlan, client string) {
	t.Helper()
	vlan, client = fmt.Sprintf("itvl%ds", os.Getpid()), fmt.Sprintf("itvl%dc", os.Getpid())
	for _, space := range []string{vlan, client} {
		command(t, "ip", "netns", "add", space)
		t.Cleanup(func() { command(t, "ip", "netns", "del", space) })
		command(t, "ip", "-n", space, "link", "set", "lo", "up")
	}
	command(t, "ip", "-n", vlan, "link", "add", "br0", "type", "bridge")
	command(t, "ip", "-n", vlan, "addr", "add", "10.214.0.1/16", "dev", "br0")
	command(t, "ip", "-n", vlan, "link", "set", "br0", "up")
	plug(t, vlan, client, "10.214.0.50/16")
	return vlan, client
}

// plug connects a namespace's new interface up0 with the switch.
func plug(t *testing.T, vlan, space, address string) {
	t.Helper()
	for _, line := range []string{
		"link add up0 netns " + space + " type veth peer name " + space + " netns " + vlan, "-n " + vlan + " link set " + space + " master br0 up",
		"-n " + space + " addr add " + address + " dev up0", "-n " + space + " link set up0 up",
	} {
		command(t, "ip", strings.Fields(line)...)
	}
}

// Two hosts in a VLAN: an address moves from one to the other and back, and who talked to it before reaches it at once.
func TestL2(t *testing.T) {
	vlan, client := newVLAN(t)
	one, two := newNetHostOf(t, fmt.Sprintf("itvl%d1", os.Getpid()), "l2=up0"), newNetHostOf(t, fmt.Sprintf("itvl%d2", os.Getpid()), "l2=up0")
	for i, h := range []*netHost{one, two} {
		plug(t, vlan, h.space, fmt.Sprintf("10.214.0.1%d/16", i+1))
		h.document(vlanDocument)
		h.work()
	}
	const address = "10.214.64.9"
	run := func(h *netHost, name string, args ...string) error {
		_, err := h.engine.TryDocker(append(append([]string{"run", "-d", "--name", name, "--net", h.space}, args...), "--entrypoint", "sleep", baseImage, "1d")...)
		return err
	}
	learned := func() string { return command(t, "bridge", "-n", vlan, "fdb", "show", "br", "br0") }
	known := func() string { return command(t, "ip", "-n", client, "neigh", "show", address) }
	reach := func(when string) {
		t.Helper()
		for _, space := range []string{client, one.space, two.space, vlan} {
			rig.Eventually(t, 10*time.Second, when+", "+space+" reaches the address", func() error { return reaches(space, address) })
		}
	}
	// The command line asks for a hardware address in a way that old engines do not know.
	create := fmt.Sprintf(`{"Image":%q,"Entrypoint":["sleep","1d"],"MacAddress":"02:00:00:00:00:01","HostConfig":{"NetworkMode":%q},`+
		`"NetworkingConfig":{"EndpointsConfig":{%[2]q:{"IPAMConfig":{"IPv4Address":%q}}}}}`, baseImage, one.space, address)
	command(t, "curl", "-sf", "--unix-socket", strings.TrimPrefix(one.engine.Host(), "unix://"), "-H", "Content-Type: application/json", "-d", create,
		"http://d/v1.41/containers/create?name=first")
	one.engine.Docker("start", "first")
	reach("at first")
	if got := known(); !strings.Contains(got, "02:00:00:00:00:01") {
		t.Errorf("the client knows %s", got)
	}
	if out, err := one.engine.TryDocker("exec", "first", "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/10.214.0.1/7"); err == nil || !strings.Contains(out+err.Error(), "refused") {
		t.Errorf("the container does not reach the router: %s %v", out, err)
	}
	if err := reaches(client, "10.214.0.11"); err != nil {
		t.Error(err)
	}
	if got := command(t, "ip", "-n", client, "neigh", "show", "10.214.0.11"); !strings.Contains(got, strings.Fields(one.inside("ip", "-br", "link", "show", "up0"))[2]) || strings.Count(got, "lladdr") != 1 {
		t.Errorf("the host has several hardware addresses: %s", got)
	}

	for _, args := range [][]string{{"--ip", address}, {"--ip", "10.214.0.50"}} {
		if err := run(two, "thief", args...); err == nil {
			t.Errorf("an address that somebody has was given: %v", args)
		} else if args[1] == address && !strings.Contains(err.Error(), "is held by something in the VLAN of up0 with hardware address 02:00:00:00:00:01") {
			t.Errorf("refused as %v", err)
		}
		_, _ = two.engine.TryDocker("rm", "-f", "thief")
	}

	// The first move gives the address another hardware address, too; the second changes only the port.
	at, mac := one, "02:00:00:00:00:01"
	for i, to := range []*netHost{two, one} {
		when := fmt.Sprintf("move %d", i+1)
		at.engine.Docker("rm", "-f", "first")
		if got := learned(); !strings.Contains(got, mac+" dev "+at.space) {
			t.Errorf("%s: the switch has forgotten %s at %s already:\n%s", when, mac, at.space, got)
		}
		if err := run(to, "first", "--ip", address); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		rig.Eventually(t, 5*time.Second, "the client reaches the address", func() error {
			out, err := exec.Command("nsenter", "--net=/run/netns/"+client, "timeout", "0.2", "bash", "-c", "exec 3<>/dev/tcp/"+address+"/7").CombinedOutput()
			if err != nil && strings.Contains(string(out), "refused") {
				return nil
			}
			return errors.Join(fmt.Errorf("it says %q", out), err)
		})
		took := time.Since(began)
		t.Logf("%s: the client reached the address %v after the start", when, took.Round(time.Millisecond))
		if took > time.Second {
			t.Errorf("%s took %v", when, took)
		}
		mac = "02:42:0a:d6:40:09"
		if got := learned(); !strings.Contains(got, mac+" dev "+to.space) || !strings.Contains(known(), mac) {
			t.Errorf("%s: the switch knows\n%s, the client %s", when, got, known())
		}
		reach(when)
		at = to
	}

	// Both hosts have the same block: whoever names no address gets one that nobody in the VLAN has.
	for i, h := range []*netHost{one, two} {
		if err := run(h, "any"); err != nil {
			t.Error(err)
		} else if got := strings.TrimSpace(h.engine.Docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "any")); got != []string{"10.214.64.2", "10.214.64.3"}[i] {
			t.Errorf("host %d gave %s", i+1, got)
		}
	}

	for _, h := range []*netHost{one, two} {
		for _, name := range []string{"first", "any"} {
			_, _ = h.engine.TryDocker("rm", "-f", name)
		}
		h.kill()
		h.tidy()
		if out := h.inside("sh", "-c", "ip -o link show type macvlan; ip route show proto 66"); out != "" {
			t.Errorf("after a cleanup there is %s", out)
		}
	}
}
