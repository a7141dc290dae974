//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// netHost is a network namespace that plays a host, with a Docker Engine and a `berth net` of its own.
type netHost struct {
	t      *testing.T
	space  string
	mode   string // --network
	dir    string
	engine *rig.Engine
	cmd    *exec.Cmd
}

// The pool of the tests is in namespaces only; its block is 10.213.4.0/29.
const netDocument = `{"Schema":1,"Pools":[{"Name":"%[1]s","CIDR":"10.213.0.0/16","NATOutgoing":true}],"Blocks":["10.213.4.0/29"]}`

func newNetHost(t *testing.T) *netHost {
	t.Helper()
	return newNetHostOf(t, fmt.Sprintf("itnet%d", os.Getpid()), "routed")
}

// newNetHostOf makes one of several; the name is also that of its pool.
func newNetHostOf(t *testing.T, space, mode string) *netHost {
	t.Helper()
	requireReal(t, "docker", baseImage)
	h := &netHost{t: t, space: space, mode: mode, dir: t.TempDir()}
	command(t, "ip", "netns", "add", h.space)
	t.Cleanup(func() { command(t, "ip", "netns", "del", h.space) })
	command(t, "ip", "-n", h.space, "link", "set", "lo", "up")
	h.document(netDocument)
	h.inside("iptables", "-P", "FORWARD", "DROP") // as Docker does when it is the one that turns forwarding on
	t.Cleanup(h.kill)
	return h
}

// document writes the host document, in which %[1]s stands for the pool's name.
func (h *netHost) document(text string) {
	h.t.Helper()
	if err := os.WriteFile(h.file("host.json"), fmt.Appendf(nil, text, h.space), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *netHost) file(name string) string { return filepath.Join(h.dir, name) }

// command runs a command of the host's operating system.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (h *netHost) inside(args ...string) string {
	h.t.Helper()
	return command(h.t, "nsenter", append([]string{"--net=/run/netns/" + h.space}, args...)...)
}

// start starts `berth net` and waits for its socket.
func (h *netHost) start(host string) {
	h.t.Helper()
	log, err := os.OpenFile(h.file("net.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	h.cmd = exec.Command("nsenter", "--net=/run/netns/"+h.space, binary, "net", "--network", h.mode, "--document", h.file("host.json"),
		"--docker-host", host, "--ipam-name", h.space, "--state-dir", h.file("state"), "--run-dir", h.file("run"), "--hostname", "h1")
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	rig.Eventually(h.t, 10*time.Second, "berth net answers", func() error {
		return exec.Command("curl", "-sf", "--unix-socket", "/run/docker/plugins/"+h.space+".sock", "-d", "{}", "http://d/IpamDriver.GetCapabilities").Run()
	})
}

// work starts Docker and `berth net`, and waits for the pool.
func (h *netHost) work() {
	h.t.Helper()
	h.engine = rig.StartEngineIn(h.t, h.space, baseImage)
	h.start(h.engine.Host())
	rig.Eventually(h.t, 20*time.Second, "the pool has its network", func() error {
		_, err := h.engine.TryDocker("network", "inspect", h.space)
		return err
	})
}

// kill is kill -9; it may be gone already.
func (h *netHost) kill() {
	if h.cmd != nil {
		_ = h.cmd.Process.Signal(syscall.SIGKILL)
		_ = h.cmd.Wait()
		h.cmd = nil
	}
	if h.t.Failed() {
		b, _ := os.ReadFile(h.file("net.log"))
		h.t.Logf("log of berth net:\n%s", b)
	}
	_ = os.Remove("/run/docker/plugins/" + h.space + ".sock")
}

// tidy is --cleanup.
func (h *netHost) tidy() {
	h.t.Helper()
	h.inside(binary, "net", "--cleanup", "--docker-host", h.engine.Host(), "--ipam-name", h.space, "--state-dir", h.file("state"), "--run-dir", h.file("run"))
}

// reaches says whether the address answers on port 7 from the host.
func (h *netHost) reaches(address string) error { return reaches(h.space, address) }

// reaches says whether the address answers on port 7 from the namespace.
func reaches(space, address string) error { return answers(address, "--net=/run/netns/"+space) }

// answers says it from where nsenter with these arguments is.
func answers(address string, where ...string) error {
	out, err := exec.Command("nsenter", append(where, "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/"+address+"/7")...).CombinedOutput()
	if err != nil && strings.Contains(string(out), "refused") {
		return nil // by the container itself
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", address, err, out)
	}
	return nil
}

// The whole way of plain `docker run` on a routed host, with a real Docker Engine and everything that is killed meanwhile.
func TestRoutedHost(t *testing.T) {
	h := newNetHost(t)
	socket := "unix://" + h.file("no-docker-yet.sock")
	h.start(socket) // before Docker, which is how it should be
	h.kill()
	h.engine = rig.StartEngineIn(t, h.space, baseImage)
	h.start(h.engine.Host())
	rig.Eventually(t, 20*time.Second, "the pool has its network", func() error {
		_, err := h.engine.TryDocker("network", "inspect", h.space)
		return err
	})
	sleep := []string{"--entrypoint", "sleep", baseImage, "1d"}
	run := func(name string, args ...string) string {
		t.Helper()
		h.engine.Docker(append(append([]string{"run", "-d", "--name", name}, args...), sleep...)...)
		return strings.TrimSpace(h.engine.Docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.MacAddress}}{{end}}", name))
	}
	reach := func(when string, addresses ...string) {
		t.Helper()
		for _, a := range addresses {
			if err := h.reaches(a); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	if got := run("chosen", "--net", h.space, "--ip", "10.213.9.9"); got != "10.213.9.9 02:42:0a:d5:09:09" {
		t.Errorf("a chosen address: %s", got)
	}
	if got := run("given", "--network", "name="+h.space+",driver-opt=berth.ingress=50Mbit"); got != "10.213.4.0 02:42:0a:d5:04:00" {
		t.Errorf("an address of the block: %s", got)
	}
	if out, err := h.engine.TryDocker("run", "--rm", "--net", h.space, "--ip", "10.213.9.9", "--entrypoint", "true", baseImage); err == nil || !strings.Contains(err.Error(), `container "chosen"`) {
		t.Errorf("an address was given twice: %s %v", out, err)
	}
	reach("at first", "10.213.9.9", "10.213.4.0")
	// From one container to the other, past a FORWARD policy of DROP.
	between := func(when string) {
		t.Helper()
		if out, err := h.engine.TryDocker("exec", "chosen", "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/10.213.4.0/7"); err == nil || !strings.Contains(out+err.Error(), "refused") {
			t.Errorf("%s, between containers: %s %v", when, out, err)
		}
	}
	between("at first")
	h.engine.Docker("restart", "-t", "0", "chosen")
	reach("after docker restart", "10.213.9.9")

	h.kill()
	reach("berth net is away", "10.213.9.9", "10.213.4.0")
	between("berth net is away")
	h.start(h.engine.Host())
	h.engine.Docker("rm", "-f", "given")
	if out := h.inside("ip", "route", "show", "10.213.4.0/32"); out != "" {
		t.Errorf("after its end: %s", out)
	}

	h.engine.Kill9()
	reach("dockerd is away", "10.213.9.9")
	began := time.Now()
	h.engine.Start()
	beside := time.Since(began)
	t.Logf("dockerd started in %v beside berth net", beside.Round(10*time.Millisecond))
	if beside > 12*time.Second { // 0.5 s on an idle machine
		t.Errorf("dockerd took %v to start beside berth net", beside)
	}
	if out, err := h.engine.TryDocker("run", "--rm", "--net", h.space, "--ip", "10.213.9.9", "--entrypoint", "true", baseImage); err == nil {
		t.Errorf("after a restart of dockerd an address was given twice: %s", out)
	}
	if out, err := h.engine.TryDocker("run", "--rm", "--net", h.space, "--ip", "10.213.9.10", "--entrypoint", "true", baseImage); err != nil {
		t.Errorf("after a restart of dockerd: %s %v", out, err)
	}

	h.engine.Kill9()
	h.kill()
	began = time.Now()
	h.engine.Start()
	alone := time.Since(began)
	t.Logf("dockerd started in %v without berth net", alone.Round(10*time.Millisecond))
	if alone > 25*time.Second { // 15 s is Docker's own patience
		t.Errorf("dockerd took %v to start without berth net", alone)
	}
	reach("without berth net", "10.213.9.9")
	h.start(h.engine.Host())
	h.engine.Docker("rm", "-f", "chosen")
	rig.Eventually(t, 10*time.Second, "no route of a container is left", func() error {
		if out := h.inside("ip", "route", "show", "proto", "66"); strings.Contains(out, "brt") {
			return fmt.Errorf("there is %s", out)
		}
		return nil
	})

	h.kill()
	h.tidy()
	if _, err := h.engine.TryDocker("network", "inspect", h.space); err == nil {
		t.Error("after a cleanup the network is there")
	}
	if out := h.inside("sh", "-c", "ip route show proto 66; iptables -S | grep BERTH; iptables -t nat -S | grep BERTH; true"); out != "" {
		t.Errorf("after a cleanup there is\n%s", out)
	}
}

// A pool with IPv6: a container has both addresses and is reached by both from outside, and sends as neither's neighbour.
func TestRoutedHostIPv6(t *testing.T) {
	h := newNetHost(t)
	outside := h.space + "o"
	command(t, "ip", "netns", "add", outside)
	t.Cleanup(func() { command(t, "ip", "netns", "del", outside) })
	for _, line := range []string{
		"link add up0 netns " + h.space + " type veth peer name up0 netns " + outside,
		"-n " + h.space + " addr add 192.0.2.1/24 dev up0", "-n " + h.space + " addr add 2001:db8::1/64 dev up0 nodad", "-n " + h.space + " link set up0 up",
		"-n " + outside + " addr add 192.0.2.9/24 dev up0", "-n " + outside + " addr add 2001:db8::9/64 dev up0 nodad", "-n " + outside + " link set up0 up",
		"-n " + outside + " route add 10.213.0.0/16 via 192.0.2.1", "-n " + outside + " route add fd00:213::/64 via 2001:db8::1",
	} {
		command(t, "ip", strings.Fields(line)...)
	}
	h.document(strings.Replace(netDocument, `0/16",`, `0/16","CIDR6":"fd00:213::/64",`, 1))
	h.work()
	h.engine.Docker("run", "-d", "--name", "six", "--net", h.space, "--ip", "10.213.4.3", "--entrypoint", "sleep", baseImage, "1d")
	const both = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}"
	if got := strings.TrimSpace(h.engine.Docker("inspect", "-f", both, "six")); got != "10.213.4.3 fd00:213::403" {
		t.Errorf("addresses %q", got)
	}
	for _, when := range []string{"at first", "after docker restart"} {
		for _, a := range []string{"10.213.4.3", "fd00:213::403"} {
			if err := reaches(outside, a); err != nil {
				t.Errorf("%s, from outside: %v", when, err)
			}
		}
		if when == "at first" {
			h.engine.Docker("restart", "-t", "0", "six")
		}
	}
	// As its neighbour it is not heard outside, and the host counts that.
	pid := strings.TrimSpace(h.engine.Docker("inspect", "-f", "{{.State.Pid}}", "six"))
	command(t, "nsenter", "-t", pid, "-n", "ip", "addr", "add", "fd00:213::404/128", "dev", "eth0", "nodad")
	for from, want := range map[string]bool{"fd00:213::403": true, "fd00:213::404": false} {
		command(t, "nsenter", "-t", pid, "-n", "ip", "-6", "route", "replace", "default", "via", "fe80::1", "dev", "eth0", "src", from)
		if err := answers("2001:db8::9", "-t", pid, "-n"); (err == nil) != want {
			t.Errorf("sent as %s: %v", from, err)
		}
	}
	out := h.inside(binary, "net", "status", "-o", "json", "--run-dir", h.file("run"))
	var status struct {
		Endpoints []struct {
			Container string
			Addresses []string
			Spoofed   int
		}
		Errors []string
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Endpoints) != 1 || len(status.Errors) > 0 {
		t.Fatalf("status %s: %v", out, err)
	}
	if e := status.Endpoints[0]; e.Container != "six" || e.Spoofed == 0 || fmt.Sprint(e.Addresses) != "[10.213.4.3 fd00:213::403]" {
		t.Errorf("status %+v", e)
	}
	if info, err := os.Stat(h.file("run/net.sock")); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("its socket: %v, %v", info, err)
	}
	h.engine.Docker("rm", "-f", "six")
	if out := h.inside("ip", "-6", "route", "show", "proto", "66"); strings.Contains(out, "brt") {
		t.Errorf("after its end: %s", out)
	}
}
