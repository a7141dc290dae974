//go:build integration

package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/agent/router/routertest"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// real is an agent on a real Docker Engine, with a pool of its own. The packet filter stays a fake: the machine's own must
// not be touched by a test, and traffic between host and container does not pass it.
type real struct {
	t      *testing.T
	host   string // DOCKER_HOST
	client *docker.Client
	pool   spec.Pool
	sched  *scheduler
	image  string
	o      Options
	stop   func()
}

func newReal(t *testing.T, host, name, cidr string) *real {
	t.Helper()
	client, err := docker.New(host)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Ping(t.Context()); err != nil {
		t.Skipf("no Docker Engine: %v", err)
	}
	log := logrus.New()
	log.SetOutput(&testLog{t})
	inventory := docker.NewInventory(client, log)
	r := &real{t: t, host: host, client: client, pool: spec.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr)}, sched: &scheduler{}, image: name + "/peer"}
	r.o = Options{
		Host: "h1", StateDir: t.TempDir(), API: "http://scheduler", IPAMName: name, Engine: client, Inventory: inventory,
		Router: &routertest.Fake{}, Transport: r.sched, Log: log,
	}
	r.sched.doc.Set(&spec.HostDocument{Schema: 1, Version: 1, Host: "h1", Pools: []spec.Pool{r.pool}})
	r.load()
	ctx, cancel := context.WithCancel(context.Background()) // longer than the test: cleanup needs the inventory
	go func() { _ = inventory.Run(ctx) }()
	t.Cleanup(func() {
		r.docker("rm", "-f", name+"-a", name+"-b", name+"-c")
		r.stop()
		if err := Cleanup(ctx, r.o); err != nil {
			t.Error(err)
		}
		r.docker("rmi", r.image)
		cancel()
		if _, err := os.Stat(filepath.Join(netplugin.Dir, name+".sock")); !os.IsNotExist(err) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	r.start()
	return r
}

// start runs a new agent and waits until the pool is ready.
func (r *real) start() {
	r.t.Helper()
	a, err := New(r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		r.stop = func() {}
	}
	r.sched.mu.Lock()
	r.sched.report = nil
	r.sched.mu.Unlock()
	r.eventually("the pool is ready", func() bool {
		r.sched.mu.Lock()
		defer r.sched.mu.Unlock()
		if r.sched.report == nil {
			return false
		}
		reason, ok := r.sched.report.Networks[r.pool.Name]
		return ok && reason == ""
	})
}

func (r *real) eventually(what string, ok func() bool) {
	r.t.Helper()
	end, tick := time.After(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			r.t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}

// load makes an image of one static binary.
func (r *real) load() {
	r.t.Helper()
	binary := filepath.Join(r.t.TempDir(), "peer")
	build := exec.Command("go", "build", "-o", binary, "./testdata/peer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		r.t.Fatalf("build peer: %v: %s", err, out)
	}
	body, err := os.ReadFile(binary)
	if err != nil {
		r.t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "peer", Mode: 0o755, Size: int64(len(body))}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := w.Write(body); err != nil {
		r.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	load := r.command("import", "--change", `ENTRYPOINT ["/peer"]`, "-", r.image)
	load.Stdin = &archive
	if out, err := load.CombinedOutput(); err != nil {
		r.t.Fatalf("import: %v: %s", err, out)
	}
}

func (r *real) command(args ...string) *exec.Cmd {
	c := exec.Command("docker", args...)
	if r.host != "" {
		c.Env = append(os.Environ(), "DOCKER_HOST="+r.host)
	}
	return c
}

func (r *real) docker(args ...string) (string, error) {
	out, err := r.command(args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (r *real) must(args ...string) string {
	r.t.Helper()
	out, err := r.docker(args...)
	if err != nil {
		r.t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// run starts container NAME-which on the address.
func (r *real) run(which string, a netip.Addr, args ...string) (string, error) {
	line := []string{"run", "-d", "--name", r.pool.Name + "-" + which, "--network", r.pool.Name}
	if a.IsValid() {
		line = append(line, "--ip", a.String())
	}
	return r.docker(append(append(line, r.image), args...)...)
}

func (r *real) address(n int) netip.Addr {
	a := r.pool.CIDR.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

type testLog struct{ t *testing.T }

func (l *testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// ask connects to the peer and returns the address that it saw.
func ask(a netip.Addr) (string, error) {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(a, 7).String(), 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return strings.TrimSpace(string(b)), err
}

func TestRealDocker(t *testing.T) {
	r := newReal(t, "", "agt-one", "10.213.71.0/24")
	ten := r.address(10)
	if out, err := r.run("a", ten); err != nil {
		t.Fatal(out)
	}
	if got := r.must("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "agt-one-a"); got != ten.String() {
		t.Errorf("--ip %v gave %s", ten, got)
	}
	t.Run("host to container without NAT", func(t *testing.T) {
		var saw string
		r.eventually("the peer answers", func() bool {
			var err error
			saw, err = ask(ten)
			return err == nil
		})
		if !strings.HasPrefix(saw, r.pool.Gateway().String()+":") {
			t.Errorf("the container saw %s", saw)
		}
	})
	t.Run("container to host without NAT", func(t *testing.T) {
		l, err := net.Listen("tcp", netip.AddrPortFrom(r.pool.Gateway(), 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if out, err := r.run("c", r.address(12), "dial", l.Addr().String()); err != nil {
			t.Fatal(out)
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr(); got != r.address(12) {
			t.Errorf("the host saw %v", got)
		}
	})
	t.Run("an address has one owner", func(t *testing.T) {
		out, err := r.run("b", ten)
		if err == nil || !strings.Contains(out, `10.213.71.10 of pool agt-one is held by container "agt-one-a"`) {
			t.Errorf("got %v: %s", err, out)
		}
		r.must("rm", "-f", "agt-one-a")
		r.must("start", "agt-one-b") // free in the same moment
	})
	t.Run("another agent keeps it so", func(t *testing.T) {
		r.stop()
		r.start()
		out, err := r.run("a", ten)
		if err == nil || !strings.Contains(out, `held by container "agt-one-b"`) {
			t.Errorf("got %v: %s", err, out)
		}
		r.must("rm", "-f", "agt-one-a")
	})
	t.Run("an address must be named", func(t *testing.T) {
		out, err := r.run("a", netip.Addr{})
		if err == nil || !strings.Contains(out, "name one with --ip") {
			t.Errorf("got %v: %s", err, out)
		}
	})
	t.Run("two agents of one name", func(t *testing.T) {
		second, err := New(r.o)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
			t.Errorf("got %v", err)
		}
	})
}
