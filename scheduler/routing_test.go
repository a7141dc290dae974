package scheduler

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// TestHostDocumentHasItsOwnPeersOnly: what the operators want of BGP reaches each host's document, the part of that host.
func TestHostDocumentHasItsOwnPeersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := store.NewMemory()
		state, err := memory.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		address := netip.MustParseAddr
		bgp := &spec.BGP{AS: 64512, ListenPort: 179, Peers: []spec.BGPPeer{
			{Name: "one", NodeSelector: "rack == '1'", Address: address("198.51.100.1"), AS: 65001}, {Name: "two", Host: "h2", Address: address("198.51.100.2"), AS: 65002},
		}, Hosts: []spec.BGPHost{{Name: "h1", Labels: map[string]string{"rack": "1"}, IPv4: address("192.0.2.1")}}}
		s, err := New(Options{Store: memory, State: state, Engine: enginetest.New(enginetest.Options{}), Events: api.NewLog(10), BGP: bgp,
			Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/12")}}, Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Run(t.Context()) }()
		for host, want := range map[string]string{"h1": "one", "h2": "two"} {
			doc, err := s.HostDocument(t.Context(), host, 0)
			if err != nil || doc.BGP == nil || len(doc.BGP.Peers) != 1 || doc.BGP.Peers[0].Name != want {
				t.Errorf("%s: %+v, %v", host, doc, err)
			}
		}
	})
}

// TestHostsTellWhereTheyAre: hosts that no Node names peer where they say themselves, a later scheduler knows it, and nobody peers
// with a host that is declared dead.
func TestHostsTellWhereTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := store.NewMemory()
		start := func() (*Scheduler, func()) {
			state, err := memory.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s, err := New(Options{Store: memory, State: state, Engine: enginetest.New(enginetest.Options{}), Events: api.NewLog(10), BGP: &spec.BGP{AS: 64512, ListenPort: 179, Mesh: true},
				Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/12")}}, Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			go func() { _ = s.Run(ctx) }()
			return s, func() { stop(); synctest.Wait() }
		}
		peers := func(s *Scheduler, host, want string) {
			t.Helper()
			time.Sleep(time.Second) // changes that follow on one another are decided together
			doc, err := s.HostDocument(t.Context(), host, 0)
			if err != nil || doc.BGP == nil {
				t.Fatalf("%s: %+v, %v", host, doc, err)
			}
			got := ""
			for _, p := range doc.BGP.Peers {
				got += p.Name + " " + p.Address.String() + " from " + p.Source.String()
			}
			if got != want {
				t.Errorf("%s peers with %q, want %q", host, got, want)
			}
		}
		tell := func(s *Scheduler, host string, own ...netip.Addr) {
			t.Helper()
			if err := s.Report(t.Context(), spec.HostReport{Host: host, Endpoints: &spec.HostEndpoints{Mode: "routed", Engine: true, Own: own}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		s, stop := start()
		peers(s, "h1", "")
		peers(s, "h2", "")
		tell(s, "h1", one)
		tell(s, "h2", two)
		tell(s, "h2") // it cannot say now
		tell(s, "h3", netip.MustParseAddr("127.0.0.1"))
		peers(s, "h1", "mesh h2 192.0.2.2 from 192.0.2.1")
		stop()
		s, stop = start()
		defer stop()
		peers(s, "h2", "mesh h1 192.0.2.1 from 192.0.2.2")
		if _, err := s.HostDead(t.Context(), "h2"); err != nil {
			t.Fatal(err)
		}
		peers(s, "h1", "")
	})
}
