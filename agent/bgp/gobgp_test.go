package bgp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	wire "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

func TestNextHops(t *testing.T) {
	addr := netip.MustParseAddr
	path := func(peer, hop string, best bool) *apiutil.Path {
		a, err := wire.NewPathAttributeNextHop(addr(hop))
		if err != nil {
			t.Fatal(err)
		}
		p := &apiutil.Path{Best: best, Attrs: []wire.PathAttributeInterface{wire.NewPathAttributeOrigin(0), a}}
		if peer != "" {
			p.PeerAddress = addr(peer)
		}
		return p
	}
	for _, c := range []struct {
		name  string
		paths []*apiutil.Path
		want  string
	}{
		{"nothing", nil, "[]"},
		{"the best only", []*apiutil.Path{path("192.0.2.1", "192.0.2.1", true), path("192.0.2.2", "192.0.2.2", false)}, "[192.0.2.1]"},
		{"equal ones, sorted", []*apiutil.Path{path("192.0.2.2", "192.0.2.2", true), path("192.0.2.1", "192.0.2.1", true)}, "[192.0.2.1 192.0.2.2]"},
		{"one hop by two reflectors", []*apiutil.Path{path("192.0.2.8", "192.0.2.1", true), path("192.0.2.9", "192.0.2.1", true)}, "[192.0.2.1]"},
		{"our own", []*apiutil.Path{path("", "0.0.0.0", true), path("192.0.2.2", "192.0.2.2", false)}, "[]"},
	} {
		hops, told := nextHops(c.paths, netip.MustParsePrefix("10.1.0.0/26"))
		if got := fmt.Sprint(hops); got != c.want || told != (len(hops) > 0) {
			t.Errorf("%s: %s, %t, want %s", c.name, got, told, c.want)
		}
		if _, told := nextHops(c.paths, netip.MustParsePrefix("10.1.0.9/32")); told != (len(c.paths) > 0) {
			t.Errorf("%s, a single address: others announce it: %t", c.name, told)
		}
	}
}

func TestPeerInGobgpsTerms(t *testing.T) {
	addr := netip.MustParseAddr
	c := Config{AS: 64512, HoldTime: 9 * time.Second, ClusterID: addr("224.0.0.1")}
	near := peer(c, Peer{Name: "a", Address: addr("2001:db8::1"), AS: 65000, TTLHops: 1, RestartTime: time.Minute, Client: true}, true)
	if near.TtlSecurity.GetTtlMin() != 255 || near.EbgpMultihop != nil || near.Timers.Config.KeepaliveInterval != 3 || !near.GracefulRestart.LocalRestarting ||
		near.GracefulRestart.RestartTime != 60 || near.AfiSafis[0].Config.Family.Afi.String() != "AFI_IP6" || near.RouteReflector.GetRouteReflectorClusterId() != "224.0.0.1" {
		t.Errorf("%+v", near)
	}
	c.ClusterID = netip.Addr{}
	far := peer(c, Peer{Address: addr("192.0.2.1"), AS: 65000, Client: true, Source: addr("192.0.2.9")}, false)
	if far.EbgpMultihop.GetMultihopTtl() != 255 || far.RouteReflector != nil || far.Transport.LocalAddress != "192.0.2.9" {
		t.Errorf("%+v", far)
	}
	if same := peer(c, Peer{Address: addr("192.0.2.1"), AS: 64512}, false); same.EbgpMultihop != nil {
		t.Errorf("%+v", same)
	}
}

func TestInboxForgetsNames(t *testing.T) {
	b := newInbox()
	if b.dirty() {
		t.Error("dirty from the start")
	}
	prefix := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
	}
	for i := range manyPrefixes {
		b.changed(prefix(i), prefix(i))
	}
	select {
	case <-b.wake:
	default:
		t.Error("nobody is woken")
	}
	if p, all := b.takePrefixes(); all || len(p) != manyPrefixes || b.dirty() {
		t.Error(len(p), all)
	}
	for i := range manyPrefixes + 1 {
		b.changed(prefix(i))
	}
	if p, all := b.takePrefixes(); !all || len(p) != 0 {
		t.Error(len(p), all)
	}
	b.happened(peerEvent{kind: heardAll})
	if len(b.takeEvents()) != 1 || len(b.takeEvents()) != 0 {
		t.Error("events are taken once")
	}
}

func TestBridge(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	in := newInbox()
	l := slog.New(bridge{log: log, inbox: in}).With("Topic", "Peer", gobgpPeer, "192.0.2.1")
	l.Debug("noise")
	l.Info("Peer Up")
	l.Warn("restart flag is not set")
	l.Debug(gobgpConnectFailed, gobgpError, "connect: connection refused")
	l.Warn("failed to set md5", "Err", "no")
	if len(hook.Entries) != 1 || hook.LastEntry().Level != logrus.WarnLevel || hook.LastEntry().Data["Err"] != "no" || hook.LastEntry().Data[gobgpPeer] != "192.0.2.1" {
		t.Errorf("%+v", hook.Entries)
	}
	if e := in.takeEvents(); len(e) != 1 || e[0].kind != connectFailure || e[0].peer.String() != "192.0.2.1" || e[0].reason != "connect: connection refused" {
		t.Errorf("%+v", e)
	}
}

func TestAdvice(t *testing.T) {
	p := session{Peer: Peer{AS: 65000, Port: 179, Source: netip.MustParseAddr("192.0.2.9")}}
	for reason, want := range map[string]string{
		"notification-received code 2(open) subcode 2(bad peer as)":          "peer's is 65000",
		"dial tcp: connect: connection refused":                              "port 179",
		"dial tcp 192.0.2.1:179: i/o timeout":                                "password the same",
		"dial tcp: bind: cannot assign requested address":                    "192.0.2.9 is not an address",
		"notification-received code 6(cease) subcode 5(connection rejected)": "does not know this host",
		"graceful-restart": "are kept",
		"something else":   "something else",
		"notification-received code 6(cease) subcode 3(peer deconfigured)": "no session with this host",
		"dial tcp: connect: no route to host":                              "no route to the peer",
	} {
		if got := advice(reason, p); !strings.HasPrefix(got, reason) || !strings.Contains(got, want) {
			t.Errorf("%s: %s", reason, got)
		}
	}
}
