package agent

import (
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/agent/bgp/bgptest"
	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// A host in a VLAN: its containers are announced when they start, some times, and it reaches them over its shim.
func TestNetInVLAN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorldOf(t, fabric.Speaker(addr("192.0.2.1")), hostnet.L2)
		defer func() { w.stop() }()
		pool := spec.Pool{Name: "blue", CIDR: prefix("192.0.2.128/25"), Router: prefix("192.0.2.254/24")}
		w.sched.doc.Set(&spec.HostDocument{Schema: 1, Version: 1, Host: "h1", Pools: []spec.Pool{pool}, Blocks: []netip.Prefix{prefix("192.0.2.192/28")}})
		synctest.Wait()
		networks, err := w.engine.Networks(t.Context())
		if err != nil || len(networks) == 0 || networks[0].Driver != "macvlan" || networks[0].Options["parent"] != "eth0" || networks[0].Gateway != addr("192.0.2.254") {
			t.Fatalf("networks %+v, %v", networks, err)
		}
		run := func(name, ip string) string {
			t.Helper()
			id, err := w.engine.Create(t.Context(), docker.CreateSpec{Name: name, Image: "img", Network: "blue", IP: addr(ip)})
			if err == nil {
				err = w.engine.Start(t.Context(), id)
			}
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return id
		}
		count := func(a string) (n int) {
			_, announced := w.router.VLAN()
			for _, x := range announced {
				if x == addr(a) {
					n++
				}
			}
			return n
		}
		id := run("one", "192.0.2.200")
		if n := count("192.0.2.200"); n != 1 {
			t.Errorf("announced %d times at the start", n)
		}
		time.Sleep(time.Minute)
		if n := count("192.0.2.200"); n != announcements {
			t.Errorf("announced %d times in all", n)
		}
		run("two", "192.0.2.201")
		shims, _ := w.router.VLAN()
		want := []hostnet.Shim{{Name: "bl2-eth0", Parent: "eth0", Source: addr("192.0.2.1"), Neighbours: []hostnet.Neighbour{
			{Address: addr("192.0.2.200"), MAC: "02:42:c0:00:02:c8"}, {Address: addr("192.0.2.201"), MAC: "02:42:c0:00:02:c9"},
		}}}
		if !reflect.DeepEqual(shims, want) {
			t.Errorf("shims %+v", shims)
		}
		if err := w.engine.Stop(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if shims, _ := w.router.VLAN(); len(shims[0].Neighbours) != 1 {
			t.Errorf("after its end: %+v", shims)
		}
		time.Sleep(time.Minute)
		before := count("192.0.2.200")
		if err := w.engine.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := count("192.0.2.200"); n != before+1 {
			t.Errorf("a container that starts again was announced %d times", n-before)
		}
	})
}

// Nobody gets an address that somebody in the VLAN has.
func TestOccupied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorldOf(t, fabric.Speaker(addr("192.0.2.1")), hostnet.L2)
		defer func() { w.stop() }()
		w.sched.doc.Set(&spec.HostDocument{Schema: 1, Version: 1, Host: "h1", Pools: []spec.Pool{blue}, Blocks: []netip.Prefix{prefix("10.1.0.16/28")}})
		synctest.Wait()
		ask := func(address string) string {
			rec := httptest.NewRecorder()
			body := `{"PoolID":"blue","Address":"` + address + `"}`
			w.net.plugin.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/IpamDriver.RequestAddress", strings.NewReader(body)))
			return rec.Body.String()
		}
		w.router.Occupy(addr("10.1.0.9"), "02:00:00:00:00:09")
		if got := ask("10.1.0.9"); !strings.Contains(got, "something in the VLAN of eth0 with hardware address 02:00:00:00:00:09") {
			t.Errorf("got %s", got)
		}
		w.router.Occupy(addr("10.1.0.9"), "")
		if got := ask("10.1.0.9"); !strings.Contains(got, "10.1.0.9/") {
			t.Errorf("when it is free: %s", got)
		}
		w.router.Occupy(addr("10.1.0.16"), "02:00:00:00:00:09")
		if got := ask(""); !strings.Contains(got, "10.1.0.17/") {
			t.Errorf("the next one: %s", got)
		}
		// A router that answers for all has none of them.
		w.router.Occupy(addr("10.1.0.10"), "02:00:00:00:00:01")
		w.router.Occupy(addr("10.1.0.1"), "02:00:00:00:00:01")
		if got := ask("10.1.0.10"); !strings.Contains(got, "10.1.0.10/") {
			t.Errorf("with proxy ARP: %s", got)
		}
	})
}
