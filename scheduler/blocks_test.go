package scheduler

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// routed is a running scheduler with these pools, and nothing else.
func routed(t *testing.T, pools ...spec.Pool) *Scheduler {
	t.Helper()
	return routedFrom(t, store.NewMemory(), pools...)
}

func routedFrom(t *testing.T, memory *store.Memory, pools ...spec.Pool) *Scheduler {
	t.Helper()
	state, err := memory.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Store: memory, State: state, Engine: enginetest.New(enginetest.Options{}), Events: api.NewLog(10), BGP: &spec.BGP{AS: 64512},
		Pools: pools, FenceAfter: 5 * time.Minute, Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Run(t.Context()) }()
	return s
}

func blockPool(name, cidr string, size int) spec.Pool {
	return spec.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr), BlockSize: size}
}

// document is what a host is told now.
func document(t *testing.T, s *Scheduler, host string) *spec.HostDocument {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := s.HostDocument(ctx, host, 0); err != nil { // asking may give it a block
		t.Fatal(err)
	}
	synctest.Wait()
	doc, err := s.HostDocument(ctx, host, 0)
	if err != nil || doc == nil {
		t.Fatal(doc, err)
	}
	return doc
}

func holds(t *testing.T, s *Scheduler, host string, addresses ...string) {
	t.Helper()
	r := spec.HostReport{Host: host, Networks: map[string]string{}}
	for _, a := range addresses {
		r.Held = append(r.Held, spec.Held{Address: netip.MustParseAddr(a), By: "container"})
	}
	if err := s.Report(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// TestHeldElsewhere: what somebody started with an address of his own choice on one host, another one does not give out.
func TestHeldElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := routed(t, blockPool("p", "10.1.0.0/26", 28))
		document(t, s, "h1")
		holds(t, s, "h2", "10.1.0.13")
		taken := func(want bool) {
			t.Helper()
			doc := document(t, s, "h1")
			if !slices.Contains(doc.Blocks, netip.MustParsePrefix("10.1.0.0/28")) {
				t.Fatalf("h1 has %v", doc.Blocks)
			}
			if slices.Contains(doc.Taken, netip.MustParsePrefix("10.1.0.13/32")) != want {
				t.Errorf("h1 must not give out %v; that one is on h2: %t", doc.Taken, want)
			}
		}
		taken(true)
		holds(t, s, "h2")
		taken(false)
		holds(t, s, "h2", "10.1.0.13", "10.1.0.14")
		taken(true)
		holds(t, s, "h1", "10.1.0.12", "10.1.0.15")
		if doc := document(t, s, "h1"); len(doc.Blocks) != 2 {
			t.Errorf("all of h1's share is in use, and it has %v", doc.Blocks)
		}
	})
}

// TestNoPoolStarvesAnother: a pool without any block to take back does not keep another's from being found.
func TestNoPoolStarvesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := routed(t, blockPool("a", "10.1.0.0/28", 28), blockPool("b", "10.2.0.0/27", 28))
		document(t, s, "h1")
		document(t, s, "h2")
		holds(t, s, "h1")
		holds(t, s, "h2")
		for range 7 {
			time.Sleep(10 * time.Minute)
			holds(t, s, "h1")
		}
		if doc := document(t, s, "h3"); len(doc.Blocks) != 1 || !netip.MustParsePrefix("10.2.0.0/27").Overlaps(doc.Blocks[0]) {
			t.Errorf("h2 is forgotten, and h3 has %v", doc.Blocks)
		}
	})
}

// TestUnheardHostsKeepBlocks: a pool that is for other hosts now does not get back what a host has that was not heard of yet.
func TestUnheardHostsKeepBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := blockPool("p", "10.1.0.0/28", 28)
		p.NodeSelector = "kubernetes.io/hostname == 'h2'"
		memory := store.NewMemory()
		var txn store.Txn
		txn.PutBlock(spec.Block{Prefix: netip.MustParsePrefix("10.1.0.0/28"), Pool: "p", Host: "h1"})
		if err := memory.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		s := routedFrom(t, memory, p)
		if doc := document(t, s, "h2"); len(doc.Blocks) != 0 {
			t.Errorf("h2 has %v, and h1, which may have containers there, was not heard of", doc.Blocks)
		}
		holds(t, s, "h1")
		time.Sleep(2 * time.Minute)
		if doc := document(t, s, "h2"); len(doc.Blocks) != 1 {
			t.Errorf("h1 has nothing there, and h2 has %v", doc.Blocks)
		}
	})
}

// TestDeadStaysDead: a poll that a host began before an operator declared it dead is answered, and is no sign of life.
func TestDeadStaysDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := routed(t, blockPool("p", "10.1.0.0/26", 28))
		doc := document(t, s, "h1")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		go func() { _, _ = s.NetDocument(ctx, "h1", doc.Version, doc.Version) }()
		synctest.Wait()
		if _, err := s.HostDead(t.Context(), "h1"); err != nil {
			t.Fatal(err)
		}
		dead := func(want bool) {
			t.Helper()
			snap, err := s.Snapshot(t.Context())
			if err != nil || len(snap.Hosts) != 1 || snap.Hosts[0].Dead.IsZero() == want {
				t.Errorf("h1 is to be dead: %t, and is %+v, %v", want, snap.Hosts, err)
			}
		}
		dead(true)
		time.Sleep(time.Minute)
		dead(true)
		now, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = s.NetDocument(now, "h1", doc.Version, doc.Version)
		dead(false)
	})
}

// TestUnknownHostIsFenced: of a host that is not known, because too many are, nothing is believed, and nothing breaks.
func TestUnknownHostIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := routed(t, blockPool("p", "10.1.0.0/26", 28))
		now := time.Now()
		task := &spec.Task{ID: "t", Host: "h9", Address: netip.MustParseAddr("10.1.0.2"), UnreachableSince: now}
		if err := s.tell(t.Context(), func() {
			if s.released(task, now.Add(time.Minute)) || !s.released(task, now.Add(5*time.Minute)) {
				t.Error("the address moves before the fence time is over, or not after it")
			}
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestUnheardHostsCanBeDead: a host that only the store knows, by its block or its address, can be declared dead, and has neither then.
func TestUnheardHostsCanBeDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := store.NewMemory()
		var txn store.Txn
		txn.PutBlock(spec.Block{Prefix: netip.MustParsePrefix("10.1.0.0/28"), Pool: "p", Host: "h1", Used: true})
		txn.PutAddress(spec.HostAddress{Host: "h2", IPv4: netip.MustParseAddr("192.0.2.2")})
		if err := memory.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		s := routedFrom(t, memory, blockPool("p", "10.1.0.0/27", 28))
		synctest.Wait()
		snap, err := s.Snapshot(t.Context())
		if err != nil || len(snap.Hosts) != 2 || len(snap.Hosts[0].Blocks) != 1 || len(snap.Hosts[1].Blocks) != 0 {
			t.Fatalf("%+v, %v", snap.Hosts, err)
		}
		document(t, s, "h3")
		if doc := document(t, s, "h4"); len(doc.Blocks) != 0 {
			t.Fatalf("h4 has %v", doc.Blocks)
		}
		for _, host := range []string{"h1", "h2"} {
			if _, err := s.HostDead(t.Context(), host); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if doc := document(t, s, "h4"); len(doc.Blocks) != 1 {
			t.Errorf("h1 is dead, and h4 has %v", doc.Blocks)
		}
		state, err := memory.Load(t.Context())
		if err != nil || len(state.Addresses) != 0 {
			t.Errorf("%v, %v", state.Addresses, err)
		}
	})
}

// TestBlockOfANewPool: a host that has a block already gets one of a pool that is new, once it is heard of.
func TestBlockOfANewPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, first := range []string{"asks", "tells"} {
			memory := store.NewMemory()
			var txn store.Txn
			txn.PutBlock(spec.Block{Prefix: netip.MustParsePrefix("10.1.0.0/28"), Pool: "a", Host: "h1"})
			if err := memory.Commit(t.Context(), txn); err != nil {
				t.Fatal(err)
			}
			s := routedFrom(t, memory, blockPool("a", "10.1.0.0/27", 28), blockPool("b", "10.2.0.0/27", 28))
			synctest.Wait()
			if err := s.tell(t.Context(), func() {
				if n := len(s.blocks.On("h1")); n != 1 {
					t.Errorf("h1 was not heard of, and has %d blocks", n)
				}
			}); err != nil {
				t.Fatal(err)
			}
			if first == "tells" {
				holds(t, s, "h1")
			}
			if doc := document(t, s, "h1"); len(doc.Blocks) != 2 {
				t.Errorf("h1 %s, and has %v", first, doc.Blocks)
			}
		}
	})
}

// TestBlocksAfterAbsence: a host that lost one of its blocks while it was away gets another when it is back.
func TestBlocksAfterAbsence(t *testing.T) {
	for name, away := range map[string]func(t *testing.T, s *Scheduler){
		"forgotten": func(t *testing.T, s *Scheduler) {
			for range 7 {
				time.Sleep(10 * time.Minute)
				holds(t, s, "h2")
			}
		},
		"declared dead": func(t *testing.T, s *Scheduler) {
			if _, err := s.HostDead(t.Context(), "h1"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := routed(t, blockPool("a", "10.1.0.0/27", 28), blockPool("b", "10.2.0.0/28", 28))
				holds(t, s, "h1")
				holds(t, s, "h2") // waits for a block of b
				away(t, s)
				time.Sleep(time.Minute)
				if doc := document(t, s, "h2"); len(doc.Blocks) != 2 {
					t.Fatalf("h1 is away, and h2 has %v", doc.Blocks)
				}
				time.Sleep(time.Minute)
				if _, err := s.HostDead(t.Context(), "h2"); err != nil {
					t.Error(err)
				}
				if name == "forgotten" {
					document(t, s, "h1")
				} else {
					holds(t, s, "h1")
				}
				time.Sleep(time.Minute)
				if doc := document(t, s, "h1"); len(doc.Blocks) != 2 {
					t.Errorf("h1 is back, and has %v", doc.Blocks)
				}
			})
		})
	}
}
