package rig

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

// Consul is a real agent, alone.
type Consul struct {
	Address string // host:port of its HTTP API
	API     *api.Client

	t       TB
	dir     string
	program []string // with its arguments
	cmd     *exec.Cmd
}

// ConsulBinary is where a Consul server is kept once it has been built (`make test` does), or "" when there is none.
func ConsulBinary() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	if found, err := filepath.Glob(filepath.Join(cache, "berth", "consul-[0-9]*")); err == nil && len(found) > 0 {
		return found[len(found)-1]
	}
	if found, err := exec.LookPath("consul"); err == nil {
		return found
	}
	return ""
}

// StartConsul runs an agent in memory, on ports of its own, and waits until it has a leader.
func StartConsul(t TB) *Consul {
	t.Helper()
	return startConsul(t, place{}, func(string) []string { return []string{"-dev"} })
}

// StartConsulOnDisk is StartConsul of one that keeps what it knows, as a real server does.
func StartConsulOnDisk(t TB) *Consul {
	t.Helper()
	return startConsul(t, place{}, func(dir string) []string {
		return []string{"-server", "-bootstrap-expect", "1", "-data-dir", filepath.Join(dir, "data"), "-hcl", "performance { raft_multiplier = 1 }"}
	})
}

// StartConsulIn is StartConsul in a network namespace, at an address (host:port) that it has. dial connects from inside.
func StartConsulIn(t TB, space, address string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Consul {
	t.Helper()
	return startConsul(t, place{space, address, dial}, func(string) []string { return []string{"-dev"} })
}

// place is where a Consul listens; nothing: on a loopback port of the machine.
type place struct {
	space, address string
	dial           func(ctx context.Context, network, address string) (net.Conn, error)
}

func startConsul(t TB, in place, mode func(dir string) []string) *Consul {
	t.Helper()
	c := &Consul{Address: in.address, t: t, dir: tempDir(t)}
	if in.space != "" {
		c.program = []string{"nsenter", "--net=/run/netns/" + in.space}
	} else {
		c.Address = "127.0.0.1:" + strconv.Itoa(FreePort(t))
	}
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		t.Fatalf("read Consul's address: %v", err)
	}
	c.program = slices.Concat(c.program, []string{ConsulBinary(), "agent", "-bind", "127.0.0.1", "-client", host, "-http-port", port,
		"-server-port", strconv.Itoa(FreePort(t)), "-serf-lan-port", strconv.Itoa(FreePort(t)),
		"-serf-wan-port", "-1", "-dns-port", "-1", "-grpc-port", "-1", "-grpc-tls-port", "-1"}, mode(c.dir))
	c.API = must(api.NewClient(&api.Config{Address: c.Address, Transport: &http.Transport{DialContext: in.dial}}))(t, "make a Consul client")
	t.Cleanup(func() {
		c.Kill9()
		if t.Failed() {
			t.Logf("log of Consul:\n%s", tail(c.log(), 40))
		}
	})
	c.Start()
	return c
}

func (c *Consul) log() string { return filepath.Join(c.dir, "consul.log") }

// Start runs the agent, for the first time or after Kill9, and waits until it has a leader.
func (c *Consul) Start() {
	c.t.Helper()
	log := must(os.OpenFile(c.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))(c.t, "make Consul's log")
	defer log.Close()
	c.cmd = exec.Command(c.program[0], c.program[1:]...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.Dir = c.dir
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatalf("start Consul: %v", err)
	}
	Eventually(c.t, 30*time.Second, "Consul has a leader", func() error {
		_, err := c.API.Agent().Self()
		if err == nil {
			_, _, err = c.API.Catalog().Nodes(nil)
		}
		return err
	})
}

// Kill9 ends the agent as a power cut does.
func (c *Consul) Kill9() {
	if c.cmd.Process != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// Wipe removes what a killed agent has kept.
func (c *Consul) Wipe() {
	c.t.Helper()
	if err := os.RemoveAll(filepath.Join(c.dir, "data")); err != nil {
		c.t.Fatalf("wipe Consul: %v", err)
	}
}

// Services are the entries of one service name in the catalog, by id, with the index to wait for the next change.
func (c *Consul) Services(name string, after uint64) (map[string]*api.CatalogService, uint64, error) {
	list, meta, err := c.API.Catalog().Service(name, "", &api.QueryOptions{WaitIndex: after, WaitTime: 10 * time.Second})
	if err != nil {
		return nil, after, err
	}
	found := map[string]*api.CatalogService{}
	for _, s := range list {
		found[s.ServiceID] = s
	}
	return found, meta.LastIndex, nil
}
