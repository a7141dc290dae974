package agent

import (
	"context"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/agent/bgp/bgptest"
	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/router/routertest"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
	"github.com/berth-project/berth/spec"
)

// netWorld is one host in memory with a Net on it.
type netWorld struct {
	t       *testing.T
	engine  *dockertest.Engine
	router  *routertest.Fake
	speaker *bgptest.Speaker
	sched   *scheduler
	dir     string
	mode    hostnet.Mode
	net     *Net
	stop    func()
}

func newNetWorld(t *testing.T, speaker *bgptest.Speaker) *netWorld {
	return newNetWorldOf(t, speaker, hostnet.Routed)
}

func newNetWorldOf(t *testing.T, speaker *bgptest.Speaker, mode hostnet.Mode) *netWorld {
	w := &netWorld{t: t, engine: dockertest.New("img"), router: &routertest.Fake{}, speaker: speaker, sched: &scheduler{}, dir: t.TempDir(), mode: mode}
	w.start()
	return w
}

// start runs everything but the plugin's socket, which a test's bubble cannot hold.
func (w *netWorld) start() {
	w.t.Helper()
	log, _ := test.NewNullLogger()
	n, err := NewNet(NetOptions{
		Options: Options{
			Host: "h1", StateDir: w.dir, API: "http://scheduler", Engine: w.engine, Inventory: w.engine, Log: log, Transport: w.sched,
			HostAddresses: func() (map[netip.Prefix]string, error) {
				return map[netip.Prefix]string{prefix("192.0.2.1/24"): "eth0"}, nil
			},
		},
		Mode: w.mode, Parent: "eth0", MTU: 1450, Source: func(string) netip.Addr { return addr("192.0.2.1") }, Path: w.router, Speaker: w.speaker,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error)
	go func() { done <- n.work(ctx, newNetOwner(n)) }()
	w.net = n
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("berth net ended with %v", err)
		}
	}
	synctest.Wait()
}

// docker sends requests as Docker does: method and body, in turn.
func (w *netWorld) docker(requests ...string) {
	w.t.Helper()
	for i := 0; i < len(requests); i += 2 {
		rec := httptest.NewRecorder()
		w.net.plugin.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/"+requests[i], strings.NewReader(requests[i+1])))
		if text := rec.Body.String(); strings.Contains(text, `"Err":"b`) {
			w.t.Errorf("%s %s: %s", requests[i], requests[i+1], text)
		}
	}
	synctest.Wait()
}

// attach is what Docker asks when a container with the address starts.
func (w *netWorld) attach(id, address string) {
	w.t.Helper()
	w.docker("IpamDriver.RequestAddress", `{"PoolID":"blue","Address":"`+address+`"}`,
		"NetworkDriver.CreateEndpoint", `{"EndpointID":"`+id+`","Interface":{"Address":"`+address+`/32"}}`, "NetworkDriver.Join", `{"EndpointID":"`+id+`"}`)
}

// routes are the routes in force, as text.
func (w *netWorld) routes() string {
	var out []string
	for _, r := range w.router.Path().Routes {
		to := r.Link
		for _, via := range r.Via {
			to += "via " + via.String()
		}
		out = append(out, r.Prefix.String()+" "+to)
	}
	return strings.Join(out, ", ")
}

func (w *netWorld) wantRoutes(want string) {
	w.t.Helper()
	if got := w.routes(); got != want {
		w.t.Errorf("routes %q, want %q", got, want)
	}
}

// netDoc is a document of a routed host with its peer.
func netDoc(version uint64, block, self, peer string) *spec.HostDocument {
	return &spec.HostDocument{
		Schema: 1, Version: version, Host: "h1", Pools: []spec.Pool{blue}, Blocks: []netip.Prefix{prefix(block)},
		BGP: &spec.HostBGP{AS: 64512, RouterID: addr(self), ListenPort: 179, Peers: []spec.HostPeer{{Name: "other", Address: addr(peer), Port: 179, AS: 64512}}},
	}
}

func TestNet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		one, two := newNetWorld(t, fabric.Speaker(addr("192.0.2.1"))), newNetWorld(t, fabric.Speaker(addr("192.0.2.2")))
		defer func() { one.stop(); two.stop() }()
		if r, sets := one.router.Rules(); sets != 0 || len(r.Filter) > 0 {
			t.Errorf("without a document rules are set: %v", r)
		}
		doc := netDoc(1, "10.1.0.0/28", "192.0.2.1", "192.0.2.2")
		s := seat("/web", 0)
		s.Address, s.Labels = addr("10.1.0.77"), map[string]string{spec.AppLabelIngress: "10Mbit", spec.AppLabelEgress: "5Mbit"}
		doc.Seats = append(doc.Seats, s)
		one.sched.doc.Set(doc)
		two.sched.doc.Set(netDoc(1, "10.1.0.16/28", "192.0.2.2", "192.0.2.1"))
		synctest.Wait()
		one.attach("aaaaaaaaaaaa", "10.1.0.2")
		one.attach("bbbbbbbbbbbb", "10.1.0.77") // outside of its block
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 brtbbbbbbbbbbb")
		two.wantRoutes("10.1.0.0/28 via 192.0.2.1, 10.1.0.16/28 , 10.1.0.77/32 via 192.0.2.1")
		if links := one.router.Path().Links; links[0].Rate != 0 || links[1].Rate != 10_000_000 || links[1].Egress != 5_000_000 || links[0].MTU != 1450 {
			t.Errorf("links %+v", links)
		}
		if r, _ := one.router.Rules(); len(r.Filter) != 3 {
			t.Errorf("rules %v", r.Filter)
		}
		if n, err := one.engine.Networks(t.Context()); err != nil || !slices.ContainsFunc(n, func(n docker.Network) bool { return n.Name == "blue" && n.Driver == "berth" }) {
			t.Errorf("networks %v, %v", n, err)
		}

		status := one.net.Status(t.Context())
		if e := status.Endpoints; len(e) != 2 || e[1].Link != "brtbbbbbbbbbbb" || e[1].Egress != 5_000_000 || e[1].Fault != "" {
			t.Errorf("endpoints %+v", e)
		}
		if b := status.BGP; b == nil || b.Learned != 1 || len(b.Announced) != 2 || len(b.Sessions) != 1 || b.Sessions[0].State != "established" {
			t.Errorf("BGP %+v", status.BGP)
		}
		if len(status.Errors) > 0 || len(status.Pools) != 1 || status.Pools[0].NotReady != "" || status.Document.Version != 1 || status.Document.Contact.IsZero() {
			t.Errorf("status %+v", status)
		}

		// It is killed: what it made stays; the next one knows the containers, and lets go the one that ends.
		one.stop()
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 brtbbbbbbbbbbb")
		one.start()
		one.docker("NetworkDriver.Leave", `{"EndpointID":"bbbbbbbbbbbb"}`, "NetworkDriver.DeleteEndpoint", `{"EndpointID":"bbbbbbbbbbbb"}`)
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.16/28 via 192.0.2.2")
		two.wantRoutes("10.1.0.0/28 via 192.0.2.1, 10.1.0.16/28 ")

		// The address moves to the other host.
		two.attach("cccccccccccc", "10.1.0.77")
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 via 192.0.2.2")

		// The other host dies.
		two.speaker.Die()
		synctest.Wait()
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa")
	})
}

// The IPv6 twins of blocks and addresses are announced, and learned, beside them.
func TestNetTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		one, two := newNetWorld(t, fabric.Speaker(addr("192.0.2.1"))), newNetWorld(t, fabric.Speaker(addr("192.0.2.2")))
		defer func() { one.stop(); two.stop() }()
		for w, doc := range map[*netWorld]*spec.HostDocument{
			one: netDoc(1, "10.1.0.0/28", "192.0.2.1", "192.0.2.2"), two: netDoc(1, "10.1.0.16/28", "192.0.2.2", "192.0.2.1"),
		} {
			doc.Pools[0].CIDR6 = prefix("fd00:88::/64")
			w.sched.doc.Set(doc)
		}
		synctest.Wait()
		one.attach("aaaaaaaaaaaa", "10.1.0.2")
		one.attach("bbbbbbbbbbbb", "10.1.0.77")
		want := []netip.Prefix{prefix("10.1.0.0/28"), prefix("10.1.0.77/32"), prefix("fd00:88::/124"), prefix("fd00:88::4d/128")}
		if got := one.speaker.Announced(); !slices.Equal(got, want) {
			t.Errorf("announced %v, want %v", got, want)
		}
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 brtbbbbbbbbbbb, " +
			"fd00:88::/124 , fd00:88::2/128 brtaaaaaaaaaaa, fd00:88::4d/128 brtbbbbbbbbbbb")
	})
}

// Without a scheduler and a kept document containers still end.
func TestNetWithoutDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorld(t, fabric.Speaker(addr("192.0.2.1")))
		w.sched.doc.Set(netDoc(1, "10.1.0.0/28", "192.0.2.1", "192.0.2.2"))
		synctest.Wait()
		w.attach("aaaaaaaaaaaa", "10.1.0.2")
		w.stop()
		if err := os.Remove(filepath.Join(w.dir, "net-document.json")); err != nil {
			t.Fatal(err)
		}
		w.sched.mu.Lock()
		w.sched.away = true
		w.sched.mu.Unlock()
		w.start()
		defer func() { w.stop() }()
		if p := w.router.Path(); len(p.Links) != 1 || !p.KeepRoutes {
			t.Errorf("%+v", p)
		}
		w.docker("NetworkDriver.Leave", `{"EndpointID":"aaaaaaaaaaaa"}`)
		if p := w.router.Path(); len(p.Links) != 0 {
			t.Errorf("%+v", p)
		}
		if said := w.speaker.Announced(); len(said) == 0 {
			t.Error("what was announced is withdrawn")
		}
	})
}

// A packet filter whose lock somebody else has, for as long as it takes, keeps no container from its link.
func TestNetWaitsForNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorld(t, fabric.Speaker(addr("192.0.2.1")))
		defer func() { w.stop() }()
		w.sched.doc.Set(netDoc(1, "10.1.0.0/28", "192.0.2.1", "192.0.2.2"))
		synctest.Wait()
		unlock := w.router.Lock()
		defer unlock()
		time.Sleep(recheck + time.Second)
		began := time.Now()
		w.attach("aaaaaaaaaaaa", "10.1.0.2")
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		w.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa")
	})
}
