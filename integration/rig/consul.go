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

// Consul is a real agent, alone, in memory.
type Consul struct {
	Address string // host:port of its HTTP API
	API     *api.Client
}

// ConsulBinary is where a Consul server is kept once it has been built (`make test` does), or "" when there is none.
func ConsulBinary() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	if found, err := filepath.Glob(filepath.Join(cache, "berth", "consul-*")); err == nil && len(found) > 0 {
		return found[len(found)-1]
	}
	if found, err := exec.LookPath("consul"); err == nil {
		return found
	}
	return ""
}

// StartConsul runs an agent on ports of its own and waits until it has a leader.
func StartConsul(t TB) *Consul {
	t.Helper()
	dir := tempDir(t)
	port := strconv.Itoa(FreePort(t))
	log := must(os.Create(filepath.Join(dir, "consul.log")))(t, "make Consul's log")
	cmd := exec.Command(ConsulBinary(), "agent", "-dev", "-bind", "127.0.0.1", "-http-port", port,
		"-server-port", strconv.Itoa(FreePort(t)), "-serf-lan-port", strconv.Itoa(FreePort(t)),
		"-serf-wan-port", "-1", "-dns-port", "-1", "-grpc-port", "-1", "-grpc-tls-port", "-1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Consul: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of Consul:\n%s", tail(log.Name(), 40))
		}
		log.Close()
	})
	c := &Consul{Address: "127.0.0.1:" + port}
	c.API = must(api.NewClient(&api.Config{Address: c.Address}))(t, "make a Consul client")
	Eventually(t, 30*time.Second, "Consul has a leader", func() error {
		_, err := c.API.Agent().Self()
		if err == nil {
			_, _, err = c.API.Catalog().Nodes(nil)
		}
		return err
	})
	return c
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
