package scheduler

import (
	"net/netip"
	"testing"
	"testing/synctest"

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
