package agent

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/agent/bgp/bgptest"
	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/router/routertest"
	"github.com/berth-project/berth/spec"
)

// policed is a document with a policy for the address.
func policed(version uint64, address string) *spec.HostDocument {
	doc := netDoc(version, "10.1.0.0/28", "192.0.2.1", "192.0.2.2")
	doc.BGP = nil
	doc.Policies = &spec.HostPolicies{Policies: []spec.HostPolicy{{Name: "shop/db", Addresses: []netip.Addr{addr(address)}, Ingress: true}}}
	return doc
}

func TestNetPolices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorld(t, fabric.Speaker(addr("192.0.2.1")))
		defer func() { w.stop() }()
		w.sched.doc.Set(policed(1, "10.1.0.77"))
		synctest.Wait()
		if f := w.router.Filter(); f.Ingress[addr("10.1.0.77")] == "" {
			t.Errorf("the policy is not in force: %+v", f)
		}
		r := w.sched.last(t)
		if r.Policies == nil || r.Policies.Fault != "" || len(r.Policies.Counts) != 1 || r.Policies.Counts[0].Packets != 1 || r.Networks != nil {
			t.Errorf("report %+v", r.Policies)
		}

		// A document that is nonsense leaves in force what was, and says so.
		bad := policed(2, "10.1.0.77")
		bad.Policies.Policies = append(bad.Policies.Policies, bad.Policies.Policies[0])
		w.sched.doc.Set(bad)
		synctest.Wait()
		time.Sleep(policyCountsEvery * recheck)
		if f := w.router.Filter(); f.Ingress[addr("10.1.0.77")] == "" {
			t.Errorf("the policy is no longer in force: %+v", f)
		}
		if r := w.sched.last(t); !strings.Contains(r.Policies.Fault, "two with the name shop/db") || len(r.Policies.Counts) != 1 {
			t.Errorf("report %+v", r.Policies)
		}

		// Without policies nothing is filtered.
		none := policed(3, "10.1.0.77")
		none.Policies = nil
		w.sched.doc.Set(none)
		synctest.Wait()
		if f := w.router.Filter(); !f.Empty() {
			t.Errorf("%+v stays in force", f)
		}
		if r := w.sched.last(t); r.Policies.Fault != "" || len(r.Policies.Counts) != 0 {
			t.Errorf("report %+v", r.Policies)
		}
	})
}

func TestNobodyStartsUnpoliced(t *testing.T) {
	link := func(name, a string, create bool) hostnet.Link {
		return hostnet.Link{Name: name, Create: create, Addresses: []netip.Addr{addr(a)}}
	}
	path := hostnet.Path{Links: []hostnet.Link{link("new", "10.1.0.77", true), link("running", "10.1.0.78", false), link("other", "10.1.0.2", true)}}
	doc := policed(1, "10.1.0.77")
	doc.Policies.Policies[0].Addresses = append(doc.Policies.Policies[0].Addresses, addr("10.1.0.78"))
	f, err := hostnet.CompilePolicies(doc.Policies)
	if err != nil {
		t.Fatal(err)
	}
	left, held := withhold(path, f.Judges)
	if !slices.Equal(held, []string{"new"}) || len(left.Links) != 2 || len(path.Links) != 3 {
		t.Errorf("withheld %v, left %+v", held, left.Links)
	}
}

// TestPoliciesFault: what cannot be set is told, and told no more when it is.
func TestPoliciesFault(t *testing.T) {
	p := policing{}
	p.look(policed(1, "10.1.0.77"), func(err error) { t.Error(err) })
	d := pathDone{job: pathJob{filter: p.filter}, policies: errors.New("nftables: no"), counted: true, counts: []spec.PolicyCount{{Policy: "shop/db"}}}
	p.done(d)
	if p.report.Fault != "nftables: no" || len(p.report.Counts) != 1 {
		t.Errorf("%+v", p.report)
	}
	was := p.report
	if p.done(d); p.report != was {
		t.Error("the same is told twice")
	}
	d.policies, d.counted, d.counts = nil, false, nil
	if p.done(d); p.report.Fault != "" || len(p.report.Counts) != 1 {
		t.Errorf("%+v", p.report)
	}
}

// TestBridgesDoNotPolice: a host that would not enforce policies is not ready for instances.
func TestBridgesDoNotPolice(t *testing.T) {
	for driver, want := range map[string]bool{"berth": true, "bridge": false, "macvlan": false} {
		if reason := unpoliced(driver, "berth"); (reason == "") != want || !want && !strings.Contains(reason, driver) {
			t.Errorf("%s: %q", driver, reason)
		}
	}
}

// TestPoliciesComeBeforeTheContainer: a container that starts before the document tells of its seat waits for it.
func TestPoliciesComeBeforeTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorld(t, fabric.Speaker(addr("192.0.2.1")))
		defer func() { w.stop() }()
		empty := policed(1, "10.1.0.77")
		empty.Policies.Policies = nil
		w.sched.doc.Set(empty)
		synctest.Wait()
		began := time.Now()
		took := make(chan time.Duration)
		start := func(id, address string) {
			go func() {
				w.attach(id, address)
				took <- time.Since(began)
			}()
		}
		start("aaaaaaaaaaaa", "10.1.0.77")
		time.Sleep(2 * time.Second)
		doc := policed(2, "10.1.0.77")
		s := seat("/web", 0)
		s.Address = addr("10.1.0.77")
		doc.Seats = append(doc.Seats, s)
		w.sched.doc.Set(doc)
		if d := <-took; d != 2*time.Second {
			t.Errorf("the container started after %v", d)
		}
		if f := w.router.Filter(); f.Ingress[addr("10.1.0.77")] == "" {
			t.Errorf("it started, and the policy is not in force: %+v", f)
		}

		// What people start from the host's own block waits for nobody; what no document ever tells of starts all the same.
		began = time.Now()
		start("bbbbbbbbbbbb", "10.1.0.2")
		if d := <-took; d != 0 {
			t.Errorf("one in the block started after %v", d)
		}
		start("cccccccccccc", "10.1.0.99")
		if d := <-took; d != 5*time.Second {
			t.Errorf("one that nobody knows started after %v", d)
		}
	})
}

// TestUnfitPolicies: what policies select that make no sense does not start; what runs goes on.
func TestUnfitPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorld(t, fabric.Speaker(addr("192.0.2.1")))
		defer func() { w.stop() }()
		bad := policed(1, "10.1.0.3")
		bad.Policies.Policies = append(bad.Policies.Policies, bad.Policies.Policies[0])
		w.sched.doc.Set(bad)
		synctest.Wait()
		w.attach("aaaaaaaaaaaa", "10.1.0.2")
		w.docker("NetworkDriver.CreateEndpoint", `{"EndpointID":"bbbbbbbbbbbb","Interface":{"Address":"10.1.0.3/32"}}`)
		rec := httptest.NewRecorder()
		w.net.plugin.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/NetworkDriver.Join", strings.NewReader(`{"EndpointID":"bbbbbbbbbbbb"}`)))
		synctest.Wait()
		if !strings.Contains(rec.Body.String(), "two with the name shop/db") {
			t.Errorf("join: %s", rec.Body)
		}
		if errs := w.net.Status(t.Context()).Errors; len(errs) != 1 || !strings.Contains(errs[0], "network policies: ") {
			t.Errorf("status says %q", errs)
		}
		if links := w.router.Path().Links; len(links) != 1 || links[0].Name != "brtaaaaaaaaaaa" {
			t.Errorf("links %+v", links)
		}
	})
}

// slowPolicies are so many that it takes a while to look at them.
type slowPolicies struct {
	routertest.Fake
	takes time.Duration
	looks int
}

func (s *slowPolicies) SetPolicies(context.Context, hostnet.Filter) error {
	s.looks++
	time.Sleep(s.takes)
	return nil
}

// TestManyPoliciesRest: rechecks of policies take a small part of the time; new ones do not wait.
func TestManyPoliciesRest(t *testing.T) {
	for takes, want := range map[time.Duration]int{time.Millisecond: 30, 2 * time.Second: 8} {
		synctest.Test(t, func(t *testing.T) {
			r := &slowPolicies{takes: takes}
			p, f := pathSetter{router: r}, &hostnet.Filter{}
			for i := range 30 {
				p.apply(t.Context(), pathJob{filter: f, again: i})
				time.Sleep(recheck)
			}
			if r.looks != want {
				t.Errorf("of 30 rechecks %d looked for %v at the policies, want %d", r.looks, takes, want)
			}
			p.apply(t.Context(), pathJob{filter: &hostnet.Filter{}, again: 30})
			p.apply(t.Context(), pathJob{filter: f, again: 30})
			if r.looks < want+2 {
				t.Error("new ones wait")
			}
		})
	}
}

// TestFlushedPolicies: somebody who flushes the host's packet filter gets no container started without its policies.
func TestFlushedPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fabric bgptest.Fabric
		w := newNetWorld(t, fabric.Speaker(addr("192.0.2.1")))
		defer func() { w.stop() }()
		w.sched.doc.Set(policed(1, "10.1.0.3"))
		synctest.Wait()
		w.router.Flush()
		w.attach("aaaaaaaaaaaa", "10.1.0.3")
		if f := w.router.Filter(); f.Ingress[addr("10.1.0.3")] == "" {
			t.Errorf("it started with %+v", f)
		}
	})
}
