package agent

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/agent/bgp/bgptest"
	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// TestEndpoints: what Docker shows and what the kernel has, put together.
func TestEndpoints(t *testing.T) {
	pools := []spec.Pool{{Name: "blue", CIDR: prefix("10.1.0.0/16"), CIDR6: prefix("2001:db8::/112")}}
	berths := map[string]string{spec.LabelTask: "t1", spec.LabelApp: "/web", spec.LabelSeat: "1"}
	snap := docker.Snapshot{Connected: true, Containers: []docker.Container{
		{ID: "c1", Name: "mesos-1", Running: true, Pid: 7, Labels: berths, Addresses: map[string]netip.Addr{"blue": netip.MustParseAddr("10.1.0.2")}},
		{ID: "c2", Name: "debug", Running: true, Addresses: map[string]netip.Addr{"blue": netip.MustParseAddr("10.1.0.9"), "other": netip.MustParseAddr("172.18.0.2")}},
		{ID: "c3", Name: "stopped", Addresses: map[string]netip.Addr{"blue": netip.MustParseAddr("10.1.0.3")}},
	}}
	j := surveyJob{survey: 5, mode: hostnet.Routed, pools: pools, connected: true, bgp: true, announced: []netip.Prefix{prefix("10.1.0.0/29")}}
	var spots []hostnet.Spot
	j.shown, spots = shown(pools, snap)
	if len(spots) != 2 || spots[0] != (hostnet.Spot{Address: netip.MustParseAddr("10.1.0.2"), Pid: 7, Bridge: "br-blue"}) {
		t.Errorf("spots: %v", spots)
	}
	found := map[netip.Addr]hostnet.Found{
		netip.MustParseAddr("10.1.0.2"):       {Link: "brt1", Route: "brt1"},
		netip.MustParseAddr("2001:db8::2"):    {Link: "brt1", Fault: "no route"}, // the twin of 10.1.0.2
		netip.MustParseAddr("10.1.0.4"):       {Link: "brt4", Route: "brt4"},
		netip.MustParseAddr("2001:db8::4"):    {Link: "brt4", Route: "brt4"},
		netip.MustParseAddr("2001:db8::ffff"): {Link: "brt5", Route: "brt5"},
	}
	own := spec.HostEndpoint{Address: netip.MustParseAddr("10.1.0.2"), Container: "c1", Name: "mesos-1", TaskID: "t1", Seat: spec.SeatID{App: "/web", Index: 1},
		Link: "brt1", Route: "brt1", Fault: "of its IPv6 address 2001:db8::2: no route", Announced: true}
	want := spec.HostEndpoints{Survey: 5, Mode: "routed", Engine: true, BGP: true, List: []spec.HostEndpoint{
		own,
		{Address: netip.MustParseAddr("10.1.0.4"), Link: "brt4", Route: "brt4", Announced: true},
		{Address: netip.MustParseAddr("10.1.0.9"), Container: "c2", Name: "debug", Fault: "the host has no link for it"},
		{Address: netip.MustParseAddr("2001:db8::ffff"), Link: "brt5", Route: "brt5"},
	}}
	if d := cmp.Diff(want, endpoints(j, found, nil), sameAddr); d != "" {
		t.Error(d)
	}
	got := endpoints(j, nil, errors.New("not\nallowed"))
	if got.Kernel != "not; allowed" || len(got.List) != 2 || got.List[0].Fault != "" || got.List[1].Fault != "" {
		t.Errorf("a kernel that cannot be read: %+v", got)
	}
}

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// TestNetTells: berth net tells of its containers when they change, and at once when it is asked.
func TestNetTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorld(t, fabric.Speaker(addr("192.0.2.1")))
		defer func() { w.stop() }()
		w.sched.doc.Set(&spec.HostDocument{Schema: 1, Version: 1, Host: "h1", Pools: []spec.Pool{{Name: "blue", CIDR: prefix("10.1.0.0/16")}}})
		time.Sleep(2 * time.Second)
		r := w.sched.last(t)
		if r.Networks != nil || r.Endpoints == nil || len(r.Endpoints.List) != 0 || r.Endpoints.Mode != "routed" {
			t.Errorf("first report: %+v", r)
		}
		w.attach("aaaaaaaaaaaa1111", "10.1.0.2")
		time.Sleep(15 * time.Second)
		r = w.sched.last(t)
		if len(r.Endpoints.List) != 1 || r.Endpoints.List[0].Link != "brtaaaaaaaaaaa" || r.Endpoints.List[0].Container != "" {
			t.Errorf("with a link: %+v", r.Endpoints)
		}
		w.sched.ask.Set(spec.HostAsk{Survey: 7})
		if r = w.sched.last(t); r.Endpoints.Survey != 7 {
			t.Errorf("asked, it told: %+v", r.Endpoints)
		}
		w.router.Fail(errors.New("broken"))
		w.sched.ask.Set(spec.HostAsk{Survey: 8, Anew: 8})
		if r = w.sched.last(t); r.Endpoints.Survey != 8 || r.Endpoints.Kernel != "broken" {
			t.Errorf("asked with a broken kernel: %+v", r.Endpoints)
		}
	})
}
