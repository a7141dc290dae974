package agent

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/agent/router/routertest"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
	"github.com/berth-project/berth/spec"
)

// Cleanup takes all of a dead agent's and nothing of a live one's.
func TestCleanup(t *testing.T) {
	log, _ := test.NewNullLogger()
	filter := &routertest.Fake{}
	o := Options{Engine: dockertest.New(), Router: filter, PluginDir: t.TempDir(), Log: log}
	desired := hostnet.Compile([]spec.Pool{blue}, hostnet.Options{IPAMDriver: "berth"})
	n := desired.Networks[0]
	made := docker.NetworkSpec{Name: n.Name, Driver: n.Driver, IPAMDriver: n.IPAMDriver, Subnet: n.Subnet, Gateway: n.Gateway, Options: n.Options, Labels: n.Labels}
	if err := o.Engine.CreateNetwork(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	if err := filter.Set(t.Context(), desired.Rules); err != nil {
		t.Fatal(err)
	}
	left := func() (networks, rules int) {
		have, err := o.Engine.Networks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range have {
			if ours(h, "berth") {
				networks++
			}
		}
		r, _ := filter.Rules()
		return networks, len(r.Filter)
	}
	live, err := netplugin.New(netplugin.Options{Name: "berth", Dir: o.PluginDir, Inventory: nobody{}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := live.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- live.Serve(ctx, l) }()
	if err := Cleanup(t.Context(), o); err == nil || !strings.Contains(err.Error(), "holds it") {
		t.Errorf("beside a live agent: %v", err)
	}
	if networks, rules := left(); networks != 1 || rules == 0 {
		t.Errorf("a live agent is left with %d networks and %d rules", networks, rules)
	}
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is gone already is no error
		if err := Cleanup(t.Context(), o); err != nil {
			t.Error(err)
		}
	}
	if networks, rules := left(); networks != 0 || rules != 0 {
		t.Errorf("left are %d networks and %d rules", networks, rules)
	}
	if files, err := os.ReadDir(o.PluginDir); err != nil || len(files) > 0 {
		t.Errorf("left are %v, %v", files, err)
	}
}
