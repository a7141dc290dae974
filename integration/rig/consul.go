package rig

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

// Consul is a real agent, alone.
type Consul struct {
	Address string // host:port of its HTTP API
	API     *api.Client

	t    TB
	dir  string
	args []string
	cmd  *exec.Cmd
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
	return startConsul(t, func(string) []string { return []string{"-dev"} })
}

// StartConsulOnDisk is StartConsul of one that keeps what it knows, as a real server does.
func StartConsulOnDisk(t TB) *Consul {
	t.Helper()
	return startConsul(t, func(dir string) []string {
		return []string{"-server", "-bootstrap-expect", "1", "-data-dir", filepath.Join(dir, "data"), "-hcl", "performance { raft_multiplier = 1 }"}
	})
}

func startConsul(t TB, mode func(dir string) []string) *Consul {
	t.Helper()
	port := strconv.Itoa(FreePort(t))
	c := &Consul{Address: "127.0.0.1:" + port, t: t, dir: tempDir(t)}
	c.args = append([]string{"agent", "-bind", "127.0.0.1", "-http-port", port,
		"-server-port", strconv.Itoa(FreePort(t)), "-serf-lan-port", strconv.Itoa(FreePort(t)),
		"-serf-wan-port", "-1", "-dns-port", "-1", "-grpc-port", "-1", "-grpc-tls-port", "-1"}, mode(c.dir)...)
	c.API = must(api.NewClient(&api.Config{Address: c.Address}))(t, "make a Consul client")
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
	c.cmd = exec.Command(ConsulBinary(), c.args...)
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
