package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// netted plays the process that keeps host h1's network: it tells of the containers of the world's tasks whenever it is asked.
type netted struct {
	p    *play
	mu   sync.Mutex // guards all below
	deaf bool
	// change is done to what the world has before it is told.
	change func(*spec.HostEndpoints, spec.HostAsk)
	asks   []spec.HostAsk
	stop   func()
}

// begin asks the play's present scheduler, until stop.
func (n *netted) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.run(ctx) }()
	n.stop = func() { cancel(); <-done }
}

func (n *netted) run(ctx context.Context) {
	for {
		ask, changed := n.p.s.Asked()
		n.mu.Lock()
		if !n.deaf && ask.Survey > 0 {
			n.asks = append(n.asks, ask)
			if err := n.p.s.Report(ctx, spec.HostReport{Host: "h1", Endpoints: n.endpoints(ask)}); err != nil && ctx.Err() == nil {
				n.p.t.Error(err)
			}
		}
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (n *netted) endpoints(ask spec.HostAsk) *spec.HostEndpoints {
	e := &spec.HostEndpoints{Survey: ask.Survey, Mode: "routed", Engine: true}
	n.p.w.mu.Lock()
	for _, t := range n.p.w.tasks {
		if t.state == "TASK_RUNNING" && t.address != "" {
			e.List = append(e.List, spec.HostEndpoint{Address: netip.MustParseAddr(t.address), Container: "c-" + t.TaskID, TaskID: t.TaskID, Seat: t.seat, Link: "brt", Route: "brt"})
		}
	}
	n.p.w.mu.Unlock()
	slices.SortFunc(e.List, func(a, b spec.HostEndpoint) int { return a.Address.Compare(b.Address) })
	if n.change != nil {
		n.change(e, ask)
	}
	return e
}

func (n *netted) set(f func(*spec.HostEndpoints, spec.HostAsk)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.change = f
}

// withNet plays a scheduler with two instances of /web on one host.
func withNet(t *testing.T, do func(t *testing.T, p *play, n *netted)) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer func() { p.stop() }()
		n := &netted{p: p}
		p.do("host h1 4 4096")
		p.do("auto on")
		p.do(`put {"id":"/web","cmd":"v1","cpus":0.5,"instances":2}`)
		n.begin()
		defer func() { n.stop() }()
		time.Sleep(time.Minute)
		do(t, p, n)
		consistent(t, p.s)
	})
}

// check is what the API answers, a line a finding, and what is left.
func (p *play) check(query string) string {
	w := p.serve("POST", "/berth/v1/addresses/check"+query, "")
	var c api.AddressCheck
	if err := json.Unmarshal(w.Body.Bytes(), &c); w.Code != 200 || err != nil {
		p.t.Fatal(w.Code, w.Body, err)
	}
	var out []string
	for _, f := range c.Findings {
		out = append(out, fmt.Sprintf("%s %s: %s gone=%t", f.Kind, f.Address, f.Done, f.Gone))
	}
	return strings.Join(append(out, fmt.Sprintf("left %d of %d hosts", c.Left, c.Hosts)), "\n")
}

func (p *play) wantCheck(query, want string) {
	p.t.Helper()
	if got := p.check(query); got != want {
		p.t.Errorf("check %s:\n%s\nwant:\n%s", query, got, want)
	}
}

func TestCheckClean(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		began := time.Now()
		p.wantCheck("", "left 0 of 1 hosts")
		if took := time.Since(began); took > time.Second {
			t.Errorf("a check that finds nothing took %v", took)
		}
	})
}

// TestCheckTransition: what differs only in the first of two comparisons is no finding.
func TestCheckTransition(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		first := true
		n.set(func(e *spec.HostEndpoints, _ spec.HostAsk) {
			if first {
				e.List, first = nil, false
			}
		})
		p.wantCheck("", "left 0 of 1 hosts")
	})
}

// TestCheckRepairsNetwork: only a repair asks hosts to set their networks anew.
func TestCheckRepairsNetwork(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		n.set(func(e *spec.HostEndpoints, ask spec.HostAsk) {
			if ask.Anew == 0 {
				e.List[0].Fault = "no route"
			}
		})
		got := p.check("")
		if !strings.HasPrefix(got, "not-connected 10.1.0.") || !strings.HasSuffix(got, "left 1 of 1 hosts") {
			t.Error(got)
		}
		got = p.check("?repair=true")
		if !strings.Contains(got, "the host was told to set its network anew gone=true") || !strings.HasSuffix(got, "left 0 of 1 hosts") {
			t.Error(got)
		}
	})
}

// TestCheckStopsLeftovers: a container whose task is over is stopped through the host's document, and only with a repair.
func TestCheckStopsLeftovers(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		ended := func() []string {
			d, err := p.s.HostDocument(t.Context(), "h1", 0)
			if err != nil {
				t.Fatal(err)
			}
			return d.Ended
		}
		stopped := false
		n.set(func(e *spec.HostEndpoints, _ spec.HostAsk) {
			if !stopped {
				e.List = append(e.List, spec.HostEndpoint{Address: netip.MustParseAddr("10.1.0.9"), Container: "old", TaskID: "web.old", Seat: spec.SeatID{App: "/web", Index: 5}, Link: "brt", Route: "brt"})
			}
		})
		p.wantCheck("", "no-task 10.1.0.9:  gone=false\nleft 1 of 1 hosts")
		if got := ended(); len(got) > 0 {
			t.Errorf("stopped without a repair: %v", got)
		}
		p.wantCheck("?repair=true&wait=2s", "no-task 10.1.0.9: the host was told to stop the container gone=false\nleft 1 of 1 hosts")
		if got := ended(); !slices.Equal(got, []string{"web.old"}) {
			t.Errorf("to be stopped: %v", got)
		}
		n.mu.Lock()
		stopped = true
		n.mu.Unlock()
		p.wantCheck("", "left 0 of 1 hosts")
		calm()
		if got := ended(); len(got) > 0 {
			t.Errorf("still to be stopped: %v", got)
		}
	})
}

func TestCheckAsksEngine(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		n.set(func(e *spec.HostEndpoints, _ spec.HostAsk) { e.List = nil })
		got := p.check("?repair=true&wait=1s")
		if strings.Count(got, "no-container 10.1.0.") != 2 || strings.Count(got, "the engine was asked about the task gone=false") != 2 {
			t.Error(got)
		}
		p.s.stateOf(t, func() {
			if len(p.s.state.Tasks) != 2 {
				t.Errorf("%d tasks after a repair", len(p.s.state.Tasks))
			}
		})
	})
}

// stateOf looks at what the loop has.
func (s *Scheduler) stateOf(t *testing.T, f func()) {
	t.Helper()
	if err := s.tell(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// TestCheckSlowHost: what a host shows that did not answer the first time is compared twice all the same.
func TestCheckSlowHost(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		p.wantCheck("", "left 0 of 1 hosts")
		n.set(func(e *spec.HostEndpoints, ask spec.HostAsk) { e.List[0].Fault = "no route" })
		n.mu.Lock()
		n.deaf = true
		n.mu.Unlock()
		time.AfterFunc(2*time.Second, func() { n.mu.Lock(); n.deaf = false; n.mu.Unlock() })
		p.wantCheck("?wait=1s", "not-connected 10.1.0.2:  gone=false\nleft 1 of 1 hosts")
	})
}

// TestCheckSilentHost: a host that does not answer is waited for, and then nothing is said of it but that.
func TestCheckSilentHost(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		p.wantCheck("", "left 0 of 1 hosts")
		n.mu.Lock()
		n.deaf = true
		n.mu.Unlock()
		began := time.Now()
		p.wantCheck("?wait=5s", "silent :  gone=false\nleft 1 of 0 hosts")
		if took := time.Since(began).Round(time.Second); took != 13*time.Second { // twice five, and three between
			t.Errorf("took %v", took)
		}
		time.Sleep(2 * time.Minute) // nobody waits for a host that is gone for long
		began = time.Now()
		p.wantCheck("", "silent :  gone=false\nleft 1 of 0 hosts")
		if took := time.Since(began).Round(time.Second); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestCheckDropsLeases: leases of pools that are gone are given up, unless somebody wants the seat.
func TestCheckDropsLeases(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		n.stop()
		p.cancel()
		<-p.done
		txn := store.Txn{}
		old := netip.MustParseAddr("10.9.0.2")
		txn.PutLease(spec.Lease{Seat: spec.SeatID{App: "/gone"}, Pool: "q", Address: old, IdleSince: time.Now()})
		if err := p.store.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		p.start()
		n.begin()
		time.Sleep(time.Minute)
		got := p.check("?repair=true&wait=1s")
		if !strings.Contains(got, "outside-pools 10.9.0.2: the lease was given up gone=true") {
			t.Error(got)
		}
		p.s.stateOf(t, func() {
			if _, there := p.s.state.Leases[old]; there {
				t.Error("the lease is still there")
			}
		})
	})
}

// TestRelease: an idle lease is given up at once, one that is wanted is not.
func TestRelease(t *testing.T) {
	withNet(t, func(t *testing.T, p *play, n *netted) {
		answer := func(method, path string, code int, text string) {
			t.Helper()
			calm()
			if w := p.serve(method, path, ""); w.Code != code || !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s %s: %d %s; want %d %s", method, path, w.Code, w.Body, code, text)
			}
		}
		answer("DELETE", "/berth/v1/addresses/10.1.0.3", 409, "10.1.0.3 is the address of /web.1, which has a task")
		p.do(`put {"id":"/web","instances":1}`)
		time.Sleep(time.Minute)
		answer("GET", "/berth/v1/addresses/10.1.0.3", 200, `"state":"idle"`)
		answer("DELETE", "/berth/v1/addresses/10.1.0.3", 200, `"seat":1`)
		answer("DELETE", "/berth/v1/addresses/10.1.0.3", 404, "leased to nobody")
		answer("GET", "/berth/v1/addresses/10.1.0.3", 404, "10.1.0.3 of pool p is leased to nobody")
		answer("GET", "/berth/v1/addresses/10.1.7.3", 404, "is in no pool")
		p.do(`put {"id":"/db","cmd":"v1","cpus":0.1}`)
		answer("GET", "/berth/v1/addresses/10.1.0.3", 200, `"app":"/db"`)
		p.do("auto off")
		p.do(`put {"id":"/big","cmd":"v1","cpus":100}`)
		answer("GET", "/berth/v1/addresses/10.1.0.4", 200, `"app":"/big"`)
		answer("DELETE", "/berth/v1/addresses/10.1.0.4", 409, "which /big wants")
	})
}
