package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/integration/rig"
	"github.com/berth-project/berth/spec"
)

const (
	hostAddress, routerAddress = "192.0.2.1", "192.0.2.9"
	manyRoutes                 = 10_000
)

// lan is a host with a Docker Engine and `berth net` of its own, and a router beside it that runs bird.
type lan struct {
	t            *bench
	host, router space
	engine       *rig.Engine
	pool         string
	net          *exec.Cmd
	control      string // bird's socket
	containers   []string
}

// measureNetwork measures what Berth's network costs and how fast it follows, in the form of `go test -bench`.
func measureNetwork(t *bench, binary, image string, rounds, connects int) {
	l := newLAN(t, binary, image)
	ways := slices.Concat(bareWays(t, l.pool), l.plainWays(), l.ways(image))
	showWays(t, ways, rounds)
	l.showReach(image, connects)
	l.showMany()
}

// bareWays are what the machine does without Berth and Docker: a veth pair, and two with a host between them that does nothing but
// forward.
func bareWays(t *bench, name string) []way {
	a, b := named(t, name+"a"), named(t, name+"b")
	pair(t, a, "v0", "10.199.1.1/24", b, "v0", "10.199.1.2/24")
	c, m, d := named(t, name+"c"), named(t, name+"m"), named(t, name+"d")
	pair(t, c, "v0", "10.199.2.2/24", m, "v2", "10.199.2.1/24")
	pair(t, d, "v0", "10.199.3.2/24", m, "v3", "10.199.3.1/24")
	ip(t, "-n "+c.name()+" route add default via 10.199.2.1")
	ip(t, "-n "+d.name()+" route add default via 10.199.3.1")
	if _, err := inside(m, func() (struct{}, error) {
		return struct{}{}, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	}); err != nil {
		t.Fatalf("turn forwarding on: %v", err)
	}
	return []way{{"veth", a, b, "10.199.1.2"}, {"veth-forwarded", c, d, "10.199.3.2"}}
}

// plainWays are bare veth pairs of the host that Berth and its Docker Engine work on: no container, no Berth, but the host's packet
// filter and its tracking of connections, which are there with every Docker Engine, and at the far ends, too, as Docker's resolver has
// its rules in each container. They are the floor of what any network of Docker's can reach.
func (l *lan) plainWays() []way {
	a, b := named(l.t, l.pool+"e"), named(l.t, l.pool+"f")
	for i, s := range []space{a, b} {
		link, subnet := fmt.Sprintf("plain%d", i), fmt.Sprintf("10.199.%d.", 4+i)
		pair(l.t, l.host, link, subnet+"1/24", s, "v0", subnet+"2/24")
		ip(l.t, "-n "+s.name()+" route add default via "+subnet+"1")
		iptables(l.t, l.host, "-I DOCKER-USER -i "+link+" -j ACCEPT")
		iptables(l.t, s, "-t nat -A OUTPUT -d 127.0.0.11/32 -j RETURN")
	}
	return []way{{"host-veth", l.host, b, "10.199.5.2"}, {"host-veth-forwarded", a, b, "10.199.5.2"}}
}

func iptables(t *bench, in space, line string) {
	args := append([]string{"--net=" + string(in), "iptables"}, strings.Fields(line)...)
	if out, err := exec.CommandContext(t.ctx, "nsenter", args...).CombinedOutput(); err != nil {
		t.Fatalf("iptables %s: %v: %s", line, err, out)
	}
}

func newLAN(t *bench, binary, image string) *lan {
	name := fmt.Sprintf("bn%d", os.Getpid())
	l := &lan{t: t, pool: name}
	l.host, l.router = named(t, name+"h"), named(t, name+"r")
	pair(t, l.host, "up0", hostAddress+"/24", l.router, "up0", routerAddress+"/24")
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		t.Fatalf("make a folder: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l.startBird(dir)
	l.engine = rig.StartEngineIn(t, l.host.name(), image)
	l.startNet(binary, dir)
	t.Cleanup(l.removeContainers)
	rig.Eventually(t, 30*time.Second, "the pool has its network", func() error {
		_, err := l.engine.TryDocker("network", "inspect", l.pool)
		return err
	})
	return l
}

// document is what a scheduler would tell the host.
func (l *lan) document() spec.HostDocument {
	return spec.HostDocument{
		Schema: 1, Pools: []spec.Pool{{Name: l.pool, CIDR: netip.MustParsePrefix("10.213.0.0/16")}}, Blocks: []netip.Prefix{netip.MustParsePrefix("10.213.4.0/26")},
		BGP: &spec.HostBGP{AS: 64512, RouterID: netip.MustParseAddr(hostAddress), ListenPort: spec.DefaultBGPPort, Peers: []spec.HostPeer{
			{Name: "router", Address: netip.MustParseAddr(routerAddress), Port: spec.DefaultBGPPort, AS: 64513, RestartTime: spec.DefaultBGPRestart},
		}},
	}
}

func (l *lan) startNet(binary, dir string) {
	text, err := json.Marshal(l.document())
	file := filepath.Join(dir, "host.json")
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		l.t.Fatalf("write the host document: %v", err)
	}
	l.net = l.daemon(l.host, filepath.Join(dir, "net.log"), binary, "net", "--network", "routed", "--document", file, "--docker-host", l.engine.Host(), "--ipam-name", l.pool,
		"--state-dir", filepath.Join(dir, "state"), "--run-dir", filepath.Join(dir, "run"), "--hostname", "bench", "--mtu", "1500")
	l.t.Cleanup(func() { _ = os.Remove("/run/docker/plugins/" + l.pool + ".sock") })
}

// startBird begins with what the router does not tell yet: routes to addresses that other hosts would have.
func (l *lan) startBird(dir string) {
	program, err := exec.LookPath("bird")
	if err != nil {
		l.t.Fatalf("bird is missing: %v; scripts/install-deps test installs it", err)
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "router id %s;\nprotocol device {}\nprotocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n", routerAddress)
	conf.WriteString("protocol static many {\n\tdisabled;\n\tipv4;\n")
	for i := range manyRoutes {
		fmt.Fprintf(&conf, "\troute 10.213.%d.%d/32 blackhole;\n", 128+i>>8, i&255)
	}
	fmt.Fprintf(&conf, "}\nprotocol bgp host {\n\tlocal %s as 64513;\n\tneighbor %s as 64512;\n\tconnect retry time 1;\n\tconnect delay time 1;\n\terror wait time 1, 2;\n\tgraceful restart on;\n"+
		"\tipv4 { import all; export where proto = \"many\"; };\n}\n", routerAddress, hostAddress)
	file := filepath.Join(dir, "bird.conf")
	l.control = filepath.Join(dir, "bird.ctl")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		l.t.Fatalf("write %s: %v", file, err)
	}
	l.daemon(l.router, filepath.Join(dir, "bird.log"), program, "-f", "-c", file, "-s", l.control)
}

// daemon runs a program in a namespace until the end. nsenter becomes the program.
func (l *lan) daemon(in space, file string, words ...string) *exec.Cmd {
	log, err := os.Create(file)
	if err != nil {
		l.t.Fatalf("make a log: %v", err)
	}
	defer log.Close()
	cmd := exec.Command("nsenter", append([]string{"--net=" + string(in)}, words...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		l.t.Fatalf("start %s: %v", words[0], err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if text, err := os.ReadFile(file); err == nil && l.t.Failed() {
			l.t.Logf("log of %s:\n%s", words[0], text[max(0, len(text)-4000):])
		}
	})
	return cmd
}

// removeContainers goes before the end of `berth net`, whom Docker asks to take their addresses back.
func (l *lan) removeContainers() {
	if len(l.containers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.ctx), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", append([]string{"--host", l.engine.Host(), "rm", "-f"}, l.containers...)...).CombinedOutput(); err != nil {
		l.t.Errorf("remove the containers: %v: %s", err, out)
	}
}

func (l *lan) birdc(words ...string) string {
	out, err := exec.CommandContext(l.t.ctx, "birdc", append([]string{"-s", l.control}, words...)...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("birdc %v: %v: %s", words, err, out)
	}
	return string(out)
}

// container starts one that sleeps and returns its namespace.
func (l *lan) container(name, image string, args ...string) space {
	l.containers = append(l.containers, name)
	l.engine.Docker(append(append([]string{"run", "-d", "--name", name, "--entrypoint", "sleep"}, args...), image, "1d")...)
	return space("/proc/" + l.engine.Docker("inspect", "-f", "{{.State.Pid}}", name) + "/ns/net")
}

// ways are Berth's, and Docker's bridge on the same host.
func (l *lan) ways(image string) []way {
	a, b := l.container("routed1", image, "--net", l.pool, "--ip", "10.213.4.5"), l.container("routed2", image, "--net", l.pool, "--ip", "10.213.77.6")
	l.engine.Docker("network", "create", "--subnet", "10.198.0.0/24", "bridged")
	c, d := l.container("bridged1", image, "--net", "bridged", "--ip", "10.198.0.5"), l.container("bridged2", image, "--net", "bridged", "--ip", "10.198.0.6")
	ip(l.t, "-n "+l.router.name()+" route add 10.198.0.0/24 via "+hostAddress)
	return []way{
		{"routed/host-to-container", l.host, b, "10.213.77.6"}, {"routed/container-to-container", a, b, "10.213.77.6"}, {"routed/router-to-container", l.router, b, "10.213.77.6"},
		{"bridge/host-to-container", l.host, d, "10.198.0.6"}, {"bridge/container-to-container", c, d, "10.198.0.6"},
	}
}

// showReach has Docker give a container an address that no block of the host has, again and again, and takes the time from the request
// to Docker's answer, and to the moment when a packet of the router comes back from the address.
func (l *lan) showReach(image string, n int) {
	l.engine.Docker("network", "create", "--internal", "--subnet", "10.197.0.0/24", "aside")
	l.container("mover", image, "--net", "aside")
	l.settled()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(l.engine.Host(), "unix://"))
	}}}
	var answered, reached []time.Duration
	for i := range n {
		address := fmt.Sprintf("10.213.%d.%d", 100+i>>7, 10+i&127)
		began := time.Now()
		told := make(chan error, 1)
		took := time.Duration(0)
		go func() {
			err := post(client, "/networks/"+l.pool+"/connect", map[string]any{"Container": "mover", "EndpointConfig": map[string]any{"IPAMConfig": map[string]string{"IPv4Address": address}}})
			took = time.Since(began)
			told <- err
		}()
		_, err := inside(l.router, func() (struct{}, error) { return struct{}{}, answers(address, 20*time.Second) })
		reached = append(reached, time.Since(began))
		if err := errors.Join(err, <-told); err != nil {
			l.t.Fatalf("%s: %v", address, err)
		}
		answered = append(answered, took)
		if err := post(client, "/networks/"+l.pool+"/disconnect", map[string]any{"Container": "mover", "Force": true}); err != nil {
			l.t.Fatalf("take %s away: %v", address, err)
		}
	}
	fmt.Printf("BenchmarkReach/router %d %.1f docker-p50-ms %.1f p50-ms %.1f p99-ms\n", n, millis(quantile(answered, 0.5)), millis(quantile(reached, 0.5)), millis(quantile(reached, 0.99)))
}

func post(client *http.Client, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := client.Post("http://docker/v1.40"+path, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		return fmt.Errorf("POST %s: %s: %s", path, resp.Status, out)
	}
	return nil
}

// answers asks the address from the calling thread until it refuses a connection to a port where nobody listens.
func answers(address string, limit time.Duration) error {
	to := &unix.SockaddrInet4{Port: 7, Addr: netip.MustParseAddr(address).As4()}
	for began := time.Now(); ; {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		// Linux takes the time to send for that to connect, too: an attempt that was too early must not wait for its repetition.
		wait := unix.NsecToTimeval((2 * time.Millisecond).Nanoseconds())
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait)
		if err == nil {
			err = unix.Connect(fd, to)
		}
		unix.Close(fd)
		switch {
		case errors.Is(err, unix.ECONNREFUSED):
			return nil
		case time.Since(began) > limit:
			return fmt.Errorf("no answer within %s: %w", limit, err)
		}
		time.Sleep(time.Millisecond) // while there is no route the attempt fails at once
	}
}

// settled waits until the router knows the host's block.
func (l *lan) settled() {
	until(l.t, 30*time.Second, "the router learns the host's block", func() bool {
		return strings.Contains(ip(l.t, "-n "+l.router.name()+" route show proto bird"), "10.213.4.0/26")
	})
}

// showMany has the router tell of ten thousand addresses at once, and takes the time until the host's kernel has a route to each.
func (l *lan) showMany() {
	l.settled()
	before := memory(l.net.Process.Pid, "VmRSS:")
	began := time.Now()
	l.birdc("enable", "many")
	until(l.t, time.Minute, "the kernel has the routes", func() bool { return l.learned() >= manyRoutes })
	took := time.Since(began)
	after := memory(l.net.Process.Pid, "VmRSS:")
	began = time.Now()
	l.birdc("disable", "many")
	until(l.t, time.Minute, "the kernel has them no more", func() bool { return l.learned() < 100 })
	fmt.Printf("BenchmarkRoutes/%d 1 %.2f learned-s %.2f withdrawn-s %.1f MiB-before %.1f MiB-with %.1f MiB-peak\n", manyRoutes, took.Seconds(), time.Since(began).Seconds(), before, after,
		memory(l.net.Process.Pid, "VmHWM:"))
}

func (l *lan) learned() int {
	return strings.Count(ip(l.t, "-n "+l.host.name()+" route show via "+routerAddress), "\n")
}

// memory is what a process has, in MiB.
func memory(pid int, key string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

func quantile(d []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
