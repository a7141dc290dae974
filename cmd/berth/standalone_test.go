package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

func TestSettleFindsEveryFault(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := &cli{err: new(strings.Builder)}
	var o standaloneOptions
	o.LogLevel, o.TokenFile, o.Listen = "loud", write("token", "\n"), "127.0.0.1:0"
	o.MaxDeployments = -1
	o.PoolsFile = write("pools", "kind: IPPool\napiVersion: projectcalico.org/v3\nmetadata: {name: p}\nspec: {cidr: 10.1.0.1/16}\n")
	o.AuthorizedKeys = write("keys", "# mine\nssh-ed25519 nonsense\n")
	_, err := o.settle(c)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"--log-level", "did you mean 10.1.0.0/16", "line 2: not a public key", "is empty", "--listen needs --token-file", "--max-running-deployments"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
}

func TestSettleHasDefaults(t *testing.T) {
	s, err := standaloneOptions{daemonOptions: daemonOptions{LogLevel: "info"}, schedulerOptions: schedulerOptions{MaxDeployments: 1}}.settle(&cli{err: new(strings.Builder)})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.pools) != 1 || s.pools[0].CIDR.String() != "10.88.0.0/16" || s.Hostname == "" {
		t.Errorf("got %+v, host %q", s.pools, s.Hostname)
	}
}

func TestPoolsFileHasBGP(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pools")
	const peer = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: 192.0.2.1, asNumber: 65000}\n"
	const pool = "---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.1.0.0/16}\n"
	for text, want := range map[string]string{peer + pool: "", peer: "there is no IPPool in it", pool + "---\nkind: BGPFilter\n": "BGPFilter is not supported"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := schedulerOptions{PoolsFile: file}.readPools()
		if want == "" && (err != nil || len(r.Pools) != 1 || r.BGP == nil || len(r.BGP.Peers) != 1) {
			t.Error(r, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// The default of every flag must work on a machine that has nothing but Docker.
func TestZabbixGroupIsOptional(t *testing.T) {
	flag := newStandaloneCommand(&cli{}).Flags().Lookup("zabbix-group")
	if flag.DefValue != "" {
		t.Errorf("a group that must exist is the default: %q", flag.DefValue)
	}
}

func TestCleanupLeavesARunningBerthAlone(t *testing.T) {
	s := settings{standaloneOptions: standaloneOptions{daemonOptions: daemonOptions{RunDir: t.TempDir()}}}
	l, err := net.Listen("unix", filepath.Join(s.RunDir, "api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := cleanup(t.Context(), s, filepath.Join(s.RunDir, "api.sock")); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.RunDir, "api.sock")); err != nil {
		t.Error(err)
	}
}

// TestDefinitionsFollowTheFlags: which roles and credentials definitions may name is the operators' word.
func TestDefinitionsFollowTheFlags(t *testing.T) {
	c := &composition{settings: settings{pools: []spec.Pool{{Name: "p"}}}}
	c.Roles, c.PullConfigs, c.Admit.HostPaths = []string{"web", "batch"}, "/etc/berth/pull", []string{"/srv"}
	o := c.definitions(engineSide{features: map[string]bool{marathon.FeatureGPU: true}})
	if !slices.Equal(o.Roles, c.Roles) || !o.Features[marathon.FeaturePullConfig] || !o.Features[marathon.FeatureGPU] || c.firstRole() != "web" {
		t.Errorf("got %+v", o)
	}
	if got := c.fetchRoots(); !slices.Equal(got, []string{"/srv", "/etc/berth/pull"}) {
		t.Errorf("got %v", got)
	}
	if c = (&composition{settings: settings{pools: []spec.Pool{{Name: "p"}}}}); c.definitions(engineSide{}).Features[marathon.FeaturePullConfig] || c.firstRole() != "*" {
		t.Error("something is allowed that nobody asked for")
	}
}
