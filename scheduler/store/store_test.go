package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)

// compare treats times as equal by instant and addresses and prefixes by value; nil and empty differ, as they do for the scheduler.
func compare(want, got *store.State) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }))
}

func open(t testing.TB) *store.Bolt {
	t.Helper()
	b, err := store.Open(filepath.Join(t.TempDir(), "state", "berth.db"), store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// backends runs the test against both backends: they must not differ.
func backends(t *testing.T, f func(t *testing.T, s store.Store)) {
	t.Run("bolt", func(t *testing.T) { f(t, open(t)) })
	t.Run("memory", func(t *testing.T) { f(t, store.NewMemory()) })
}

func commit(t *testing.T, s store.Store, txn store.Txn) {
	t.Helper()
	if err := s.Commit(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s store.Store) *store.State {
	t.Helper()
	state, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// fullApp has a value in every kind of field that JSON could change on the way.
func fullApp() *spec.App {
	port, grace, limit, tty := 0, time.Duration(0), 2.5, false
	check := spec.Check(`{"tcp":{"port":1}}`)
	return &spec.App{
		ID: "/prod/web", Args: []string{}, Instances: 3, CPUs: 0.1, Mem: 64,
		Container: &spec.Container{
			Type:   spec.ContainerDocker,
			Docker: &spec.Docker{Image: "a/b:1", Parameters: []spec.Parameter{{Key: "cap-add", Value: "<&>"}}},
			Volumes: []spec.Volume{
				{ContainerPath: "/a", Mode: "RO", HostPath: "/b"},
				{ContainerPath: "/c", Mode: "RW", Persistent: json.RawMessage(`{"size":1}`)},
			},
			PortMappings: []spec.PortMapping{{ContainerPort: 80, HostPort: &port}, {ContainerPort: 81}},
		},
		Networks:       []spec.Network{{Mode: spec.NetworkContainer, Name: "pool"}},
		ResourceLimits: &spec.ResourceLimits{CPUs: &limit},
		Env:            map[string]spec.EnvValue{"A": {Value: "ä\n"}, "B": {Secret: "s"}},
		Labels:         map[string]string{},
		Check:          &check,
		KillGrace:      &grace, TTY: &tty,
		Version: epoch, LastScaling: epoch, LastConfigChange: epoch.Add(-time.Hour),
	}
}

func TestEveryRecordComesBackAsItWas(t *testing.T) {
	backends(t, func(t *testing.T, s store.Store) {
		app, seat := fullApp(), spec.SeatID{App: "/prod/web", Index: 2}
		want := store.NewState()
		want.FrameworkID, want.FenceAfter, want.Sequence = "f-1", 5*time.Minute, 1<<63+1
		want.Apps[app.ID] = app
		want.Versions[app.ID] = []*spec.App{app}
		want.Tasks["t1"] = &spec.Task{ID: "t1", Seat: seat, Rung: spec.Running, Address: netip.MustParseAddr("10.0.0.2"), Ports: []int{80}, CreatedAt: epoch}
		want.Seats[seat] = spec.Seat{ID: seat, Hostname: "web-2.prod", HostKeys: []spec.HostKey{{Type: "ed25519", Private: "p\n", Public: "q"}}}
		want.Leases[netip.MustParseAddr("10.0.0.2")] = spec.Lease{Seat: seat, Pool: "pool", Address: netip.MustParseAddr("10.0.0.2"), Pinned: true}
		block := spec.Block{Prefix: netip.MustParsePrefix("10.0.0.0/26"), Pool: "pool", Host: "h1", Since: epoch}
		want.Blocks[block.Prefix] = block
		want.Addresses["h1"] = spec.HostAddress{Host: "h1", IPv4: netip.MustParseAddr("192.0.2.1")}
		want.Drains["h1"] = spec.HostDrain{Host: "h1", Reason: "new disks", Since: epoch}
		want.Deployments["d"] = &spec.Deployment{ID: "d", Original: map[spec.AppID]*spec.App{"/new": nil, app.ID: app}}
		want.Failures[app.ID] = &spec.TaskFailure{App: app.ID, TaskID: "t0", Timestamp: epoch}
		want.Delays[app.ID] = store.Delay{Until: epoch, Delay: time.Second}

		var txn store.Txn
		txn.SetFrameworkID("f-1")
		txn.SetFenceAfter(5 * time.Minute)
		txn.SetSequence(1<<63 + 1)
		txn.PutApp(app)
		txn.AddVersion(app)
		txn.PutTask(want.Tasks["t1"])
		txn.PutSeat(want.Seats[seat])
		txn.PutLease(want.Leases[netip.MustParseAddr("10.0.0.2")])
		txn.PutBlock(block)
		txn.PutAddress(want.Addresses["h1"])
		txn.PutDrain(want.Drains["h1"])
		txn.PutDeployment(want.Deployments["d"])
		txn.PutFailure(want.Failures[app.ID])
		txn.PutDelay(app.ID, want.Delays[app.ID])
		commit(t, s, txn)
		if diff := compare(want, load(t, s)); diff != "" {
			t.Error(diff)
		}

		var gone store.Txn
		gone.SetFrameworkID("")
		gone.SetFenceAfter(0)
		gone.DeleteApp(app.ID, true)
		gone.DeleteTask("t1")
		gone.DeleteSeat(seat)
		gone.DeleteLease(netip.MustParseAddr("10.0.0.2"))
		gone.DeleteBlock(block.Prefix)
		gone.DeleteAddress("h1")
		gone.DeleteDrain("h1")
		gone.DeleteDeployment("d")
		gone.DeleteFailure(app.ID)
		gone.DeleteDelay(app.ID)
		commit(t, s, gone)
		empty := store.NewState()
		empty.Sequence = want.Sequence
		if diff := compare(empty, load(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestPutTakesASnapshot: what is encoded when it is put may be changed afterwards.
func TestPutTakesASnapshot(t *testing.T) {
	backends(t, func(t *testing.T, s store.Store) {
		d := &spec.Deployment{ID: "d", Current: 1}
		var txn store.Txn
		txn.PutDeployment(d)
		d.Current = 2
		commit(t, s, txn)
		if got := load(t, s).Deployments["d"].Current; got != 1 {
			t.Errorf("got %d", got)
		}
	})
}

// TestLastPutCounts: of a record that one Txn stores and deletes several times, the last change counts.
func TestLastPutCounts(t *testing.T) {
	backends(t, func(t *testing.T, s store.Store) {
		var txn store.Txn
		for _, state := range []string{"first", "last"} {
			txn.PutTask(&spec.Task{ID: "stays", State: "first"})
			txn.DeleteTask("stays")
			txn.PutTask(&spec.Task{ID: "stays", State: state})
			txn.PutTask(&spec.Task{ID: "goes", State: state})
		}
		txn.DeleteTask("goes")
		commit(t, s, txn)
		got := load(t, s).Tasks
		if len(got) != 1 || got["stays"] == nil || got["stays"].State != "last" {
			t.Errorf("got %v", got)
		}
	})
}

func TestSequenceOnlyGrows(t *testing.T) {
	backends(t, func(t *testing.T, s store.Store) {
		for _, n := range []uint64{5, 9, 7} {
			var txn store.Txn
			txn.SetSequence(n)
			commit(t, s, txn)
		}
		if got := load(t, s).Sequence; got != 9 {
			t.Errorf("got %d, want 9", got)
		}
	})
}

func TestVersionsAreBoundedPerApp(t *testing.T) {
	backends(t, func(t *testing.T, s store.Store) {
		version := func(id spec.AppID, n int) *spec.App {
			return &spec.App{ID: id, Instances: n, Version: epoch.Add(time.Duration(n) * time.Millisecond)}
		}
		var txn store.Txn
		for n := range store.MaxVersions + 7 {
			txn.AddVersion(version("/a", n))
		}
		txn.AddVersion(version("/a/b", 1)) // its key begins as /a's do
		txn.AddVersion(version("/a/b", 1))
		txn.DeleteApp("/a/c", true)
		commit(t, s, txn)
		got := load(t, s).Versions
		if len(got["/a"]) != store.MaxVersions || got["/a"][0].Instances != 7 || got["/a"][store.MaxVersions-1].Instances != store.MaxVersions+6 {
			t.Errorf("got %d versions of /a, from %d", len(got["/a"]), got["/a"][0].Instances)
		}
		if len(got["/a/b"]) != 1 {
			t.Errorf("got %d versions of /a/b", len(got["/a/b"]))
		}
	})
}

func TestABadValueFailsTheWholeTxn(t *testing.T) {
	bad := map[string]func(*store.Txn){
		"no id":           func(txn *store.Txn) { txn.PutTask(&spec.Task{}) },
		"not UTF-8":       func(txn *store.Txn) { txn.DeleteTask("a\xff") },
		"zero byte":       func(txn *store.Txn) { txn.AddVersion(&spec.App{ID: "/a\x00b"}) },
		"not a number":    func(txn *store.Txn) { a := fullApp(); a.Container.LinuxInfo = json.RawMessage("{"); txn.PutApp(a) },
		"lease of nobody": func(txn *store.Txn) { txn.PutLease(spec.Lease{}) },
	}
	for name, put := range bad {
		t.Run(name, func(t *testing.T) {
			backends(t, func(t *testing.T, s store.Store) {
				var txn, other store.Txn
				txn.PutTask(&spec.Task{ID: "good"})
				put(&other)
				if other.Empty() {
					t.Error("the fault was forgotten")
				}
				txn.Append(other)
				if err := s.Commit(t.Context(), txn); err == nil || !strings.Contains(err.Error(), "encode ") {
					t.Errorf("got %v", err)
				}
				if n := len(load(t, s).Tasks); n != 0 {
					t.Errorf("%d tasks were stored", n)
				}
			})
		})
	}
}

func TestCancelledAndClosed(t *testing.T) {
	backends(t, func(t *testing.T, s store.Store) {
		var txn store.Txn
		txn.PutTask(&spec.Task{ID: "t"})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Commit(ctx, txn); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := s.Load(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), txn); err == nil {
			t.Error("a closed store took a commit")
		}
	})
}

func TestMemoryFailsTheCommitThatItWasToldTo(t *testing.T) {
	m := store.NewMemory()
	broken := errors.New("disk full")
	m.FailCommit(2, broken)
	for i, id := range []string{"a", "b", "c"} {
		var txn store.Txn
		txn.PutTask(&spec.Task{ID: id})
		if err := m.Commit(t.Context(), txn); errors.Is(err, broken) != (i == 1) {
			t.Errorf("commit %d: %v", i+1, err)
		}
	}
	if got := load(t, m).Tasks; len(got) != 2 || got["b"] != nil || m.Commits() != 3 {
		t.Errorf("got %v after %d commits", got, m.Commits())
	}
}
