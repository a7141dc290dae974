package agent

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/router/routertest"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

func networkNames(t *testing.T, e *dockertest.Engine) []string {
	t.Helper()
	all, err := e.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range all {
		if n.Driver == "bridge" && n.Name != "bridge" {
			names = append(names, n.Name)
		}
	}
	return names
}

func TestApplyNetworks(t *testing.T) {
	log, _ := test.NewNullLogger()
	engine, router := dockertest.New(), &routertest.Fake{}
	o := Options{Engine: engine, Router: router, IPAMName: "berth", Log: log}
	red := spec.Pool{Name: "red", CIDR: netip.MustParsePrefix("10.2.0.0/24")}
	apply := func(known bool, attached map[string]int, pools ...spec.Pool) map[string]string {
		return applyNetworks(t.Context(), o, networksJob{known: known, attached: attached, desired: hostnet.Compile(pools, hostnet.Options{IPAMDriver: "berth"})}).status
	}
	for _, s := range []docker.NetworkSpec{
		{Name: "hand", Driver: "bridge", Subnet: netip.MustParsePrefix("10.9.0.0/24")},
		{Name: "other", Driver: "bridge", IPAMDriver: "berth2", Subnet: netip.MustParsePrefix("10.8.0.0/24"), Labels: map[string]string{hostnet.LabelPool: "other"}},
	} {
		if err := engine.CreateNetwork(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	same := func(got, want map[string]string) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	have := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, networkNames(t, engine)); d != "" {
			t.Error(d)
		}
	}
	same(apply(true, nil, blue, red), map[string]string{"blue": "", "red": ""})
	have("blue", "hand", "other", "red")
	made := engine.Calls("createnetwork")
	same(apply(true, nil, blue, red), map[string]string{"blue": "", "red": ""})
	if engine.Calls("createnetwork") != made {
		t.Error("created again")
	}
	if r, _ := router.Rules(); len(r.Filter) != 4 {
		t.Errorf("rules %v", r)
	}

	t.Run("a network of that name that is not ours", func(t *testing.T) {
		hand := spec.Pool{Name: "hand", CIDR: netip.MustParsePrefix("10.3.0.0/24")}
		got := apply(true, nil, blue, red, hand)
		if !strings.Contains(got["hand"], "has IPAM driver") || got["blue"] != "" {
			t.Errorf("got %v", got)
		}
		have("blue", "hand", "other", "red")
	})
	t.Run("with containers, or not knowing, nothing is removed", func(t *testing.T) {
		apply(true, map[string]int{"red": 1}, blue)
		apply(false, nil, blue)
		have("blue", "hand", "other", "red")
	})
	t.Run("a pool that left", func(t *testing.T) {
		apply(true, nil, blue)
		have("blue", "hand", "other")
	})
	t.Run("a pool whose network moved", func(t *testing.T) {
		moved := spec.Pool{Name: "blue", CIDR: netip.MustParsePrefix("10.4.0.0/24")}
		if got := apply(true, map[string]int{"blue": 1}, moved); !strings.Contains(got["blue"], "has subnet 10.1.0.0/24, not 10.4.0.0/24") {
			t.Errorf("got %v", got)
		}
		same(apply(true, nil, moved), map[string]string{"blue": ""})
	})
	t.Run("no packet filter", func(t *testing.T) {
		router.Fail(errors.New("iptables is gone"))
		defer router.Fail(nil)
		if got := apply(true, nil, red); !strings.Contains(got["red"], "iptables is gone") {
			t.Errorf("got %v", got)
		}
	})
	t.Run("no Docker", func(t *testing.T) {
		engine.Leave()
		defer engine.Return()
		if got := apply(true, nil, red); !strings.Contains(got["red"], "does not answer") {
			t.Errorf("got %v", got)
		}
	})
	t.Run("cleanup takes ours only", func(t *testing.T) {
		o.PluginDir = t.TempDir()
		if err := Cleanup(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		have("hand", "other")
		if r, _ := router.Rules(); len(r.Filter) > 0 {
			t.Errorf("rules left: %v", r)
		}
	})
}

// Beside a `berth net` the agent only looks.
func TestExternalNetwork(t *testing.T) {
	log, _ := test.NewNullLogger()
	engine := dockertest.New()
	o := Options{Engine: engine, IPAMName: "berth", ExternalNetwork: true, Log: log}
	red := spec.Pool{Name: "red", CIDR: netip.MustParsePrefix("10.2.0.0/24")}
	status := func() string {
		t.Helper()
		return applyNetworks(t.Context(), o, networksJob{known: true, desired: hostnet.Compile([]spec.Pool{red}, hostnet.Options{IPAMDriver: "berth"})}).status["red"]
	}
	if got := status(); !strings.Contains(got, "berth net") || len(networkNames(t, engine)) > 0 {
		t.Errorf("%q, %v", got, networkNames(t, engine))
	}
	create := func(s docker.NetworkSpec) {
		t.Helper()
		if err := engine.CreateNetwork(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	create(docker.NetworkSpec{Name: "red", Driver: "bridge", Subnet: red.CIDR})
	if got := status(); !strings.Contains(got, "not on 10.2.0.0/24 with berth") {
		t.Error(got)
	}
	if err := engine.RemoveNetwork(t.Context(), "red"); err != nil {
		t.Fatal(err)
	}
	create(docker.NetworkSpec{Name: "red", Driver: "berth", IPAMDriver: "berth", Subnet: red.CIDR})
	if got := status(); got != "" {
		t.Error(got)
	}
}

// TestNetworkComesLater: what another process makes is seen soon after, and looked for no oftener once it is there.
func TestNetworkComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &hostWorld{engine: dockertest.New("img"), router: &routertest.Fake{}, sched: &scheduler{}, prober: &healthy{},
			drained: &watch.Value[map[string]spec.Drain]{}, dir: t.TempDir(), external: true}
		startHost(t, w)
		defer w.stop()
		w.sched.doc.Set(oneSeat(1))
		if r := w.sched.last(t); !strings.Contains(r.Networks["blue"], "berth net") {
			t.Errorf("networks %v", r.Networks)
		}
		if err := w.engine.CreateNetwork(t.Context(), docker.NetworkSpec{Name: "blue", Driver: "berth", IPAMDriver: "berth", Subnet: blue.CIDR}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(awaitNetwork)
		if r := w.sched.last(t); r.Networks["blue"] != "" {
			t.Errorf("networks %v", r.Networks)
		}
		calls := w.engine.Calls("networks")
		time.Sleep(recheck)
		synctest.Wait()
		if n := w.engine.Calls("networks") - calls; n > 1 {
			t.Errorf("%d looks at a network that is there", n)
		}
	})
}

// TestTakenBlocks: what the document says, and addresses of seats on the host that it does not say.
func TestTakenBlocks(t *testing.T) {
	p := netip.MustParsePrefix
	doc := &spec.HostDocument{Blocks: []netip.Prefix{p("10.1.0.0/28")}, Taken: []netip.Prefix{p("10.1.0.0/29")}}
	for _, a := range []string{"10.1.0.3", "10.1.0.13", "10.2.0.9"} {
		doc.Seats = append(doc.Seats, spec.HostSeat{Address: netip.MustParseAddr(a)})
	}
	if got, want := taken(doc), []netip.Prefix{p("10.1.0.0/29"), p("10.1.0.13/32")}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
