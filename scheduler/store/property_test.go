package store_test

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// model is a State changed by plain code, with the same operations as a Txn.
type model struct{ *store.State }

func (m model) addVersion(a *spec.App) {
	versions := slices.DeleteFunc(slices.Clone(m.Versions[a.ID]), func(v *spec.App) bool { return v.Version.Equal(a.Version) })
	versions = append(versions, a)
	slices.SortFunc(versions, func(a, b *spec.App) int { return a.Version.Compare(b.Version) })
	m.Versions[a.ID] = versions[max(0, len(versions)-store.MaxVersions):]
}

var (
	drawApp  = rapid.SampledFrom([]spec.AppID{"/a", "/a/b", "/a/b.c", "/a-b", "/ä \"<", "/a\x01"})
	drawID   = rapid.SampledFrom([]string{"t1", "t1._app.2", "ß", "with/slash", " "})
	drawText = rapid.SampledFrom([]string{"", "x", "null", "<&>\u2028", "\n\t"})
	drawTime = rapid.Map(rapid.IntRange(0, 70), func(n int) time.Time {
		if n == 0 {
			return time.Time{}
		}
		return epoch.Add(time.Duration(n) * time.Nanosecond)
	})
	drawSeat = rapid.Custom(func(t *rapid.T) spec.SeatID {
		return spec.SeatID{App: drawApp.Draw(t, "app"), Index: rapid.IntRange(0, 3).Draw(t, "seat")}
	})
	drawAddress = rapid.Map(rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "fd00::1", "::ffff:10.0.0.1", "fe80::1%eth0"}), netip.MustParseAddr)
	drawBlock   = rapid.Map(rapid.SampledFrom([]string{"10.0.0.0/26", "10.0.0.0/27", "10.0.0.64/26", "fd00::/122"}), netip.MustParsePrefix)
	drawSpec    = rapid.Custom(func(t *rapid.T) *spec.App {
		a := &spec.App{ID: drawApp.Draw(t, "app"), Cmd: drawText.Draw(t, "cmd"), Version: drawTime.Draw(t, "version"), Instances: rapid.Int().Draw(t, "n")}
		if rapid.Bool().Draw(t, "rich") {
			id, version := a.ID, a.Version
			a = fullApp()
			a.ID, a.Version = id, version
		}
		return a
	})
)

// step draws one change, puts it into txn and performs it on the model.
func step(t *rapid.T, txn *store.Txn, m model) {
	app, id, seat, address := drawApp.Draw(t, "app"), drawID.Draw(t, "id"), drawSeat.Draw(t, "seat"), drawAddress.Draw(t, "address")
	switch rapid.IntRange(0, 18).Draw(t, "change") {
	case 0:
		a := drawSpec.Draw(t, "spec")
		txn.PutApp(a)
		m.Apps[a.ID] = a
	case 1:
		versions := rapid.Bool().Draw(t, "versions")
		txn.DeleteApp(app, versions)
		delete(m.Apps, app)
		if versions {
			delete(m.Versions, app)
		}
	case 2, 3:
		a := drawSpec.Draw(t, "spec")
		txn.AddVersion(a)
		m.addVersion(a)
	case 4:
		task := &spec.Task{ID: id, Seat: seat, Message: drawText.Draw(t, "text"), Address: address, CreatedAt: drawTime.Draw(t, "time"), Health: []spec.CheckHealth{{Alive: true}}}
		txn.PutTask(task)
		m.Tasks[id] = task
	case 5:
		txn.DeleteTask(id)
		delete(m.Tasks, id)
	case 6:
		s := spec.Seat{ID: seat, Hostname: drawText.Draw(t, "text"), HostKeys: []spec.HostKey{{Private: drawText.Draw(t, "key")}}}
		txn.PutSeat(s)
		m.Seats[seat] = s
	case 7:
		txn.DeleteSeat(seat)
		delete(m.Seats, seat)
	case 8:
		l := spec.Lease{Seat: seat, Pool: id, Address: address, IdleSince: drawTime.Draw(t, "time")}
		txn.PutLease(l)
		m.Leases[address] = l
	case 9:
		txn.DeleteLease(address)
		delete(m.Leases, address)
	case 10:
		d := &spec.Deployment{ID: id, Steps: []spec.Step{{Actions: []spec.Action{{App: app}}}}, Original: map[spec.AppID]*spec.App{app: nil, "/x": drawSpec.Draw(t, "spec")}}
		txn.PutDeployment(d)
		m.Deployments[id] = d
	case 11:
		txn.DeleteDeployment(id)
		delete(m.Deployments, id)
	case 12:
		f := &spec.TaskFailure{App: app, Message: drawText.Draw(t, "text"), Timestamp: drawTime.Draw(t, "time")}
		txn.PutFailure(f)
		m.Failures[app] = f
	case 13:
		txn.DeleteFailure(app)
		delete(m.Failures, app)
	case 14:
		d := store.Delay{Until: drawTime.Draw(t, "time"), Delay: time.Duration(rapid.Int64().Draw(t, "delay"))}
		txn.PutDelay(app, d)
		m.Delays[app] = d
	case 15:
		txn.DeleteDelay(app)
		delete(m.Delays, app)
	case 16:
		n, f := rapid.Uint64().Draw(t, "sequence"), drawText.Draw(t, "framework")
		txn.SetSequence(n)
		txn.SetFrameworkID(f)
		m.Sequence, m.FrameworkID = max(m.Sequence, n), f
	case 17:
		b := spec.Block{Prefix: drawBlock.Draw(t, "block"), Pool: id, Host: drawText.Draw(t, "text"), Since: drawTime.Draw(t, "time")}
		txn.PutBlock(b)
		m.Blocks[b.Prefix] = b
	case 18:
		p := drawBlock.Draw(t, "block")
		txn.DeleteBlock(p)
		delete(m.Blocks, p)
	}
}

// TestAnySequenceOfTxns holds both backends against the model, with the file closed and opened now and then.
func TestAnySequenceOfTxns(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		path := filepath.Join(dir, time.Unix(int64(n), 0).UTC().Format("150405")+".db")
		bolt, err := store.Open(path, store.BoltOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = bolt.Close() }()
		memory, m := store.NewMemory(), model{store.NewState()}
		for range rapid.IntRange(1, 6).Draw(rt, "txns") {
			var txn store.Txn
			for range rapid.IntRange(0, 30).Draw(rt, "changes") {
				var part store.Txn
				step(rt, &part, m)
				txn.Append(part)
			}
			for _, s := range []store.Store{bolt, memory} {
				if err := s.Commit(t.Context(), txn); err != nil {
					rt.Fatal(err)
				}
			}
			if rapid.Bool().Draw(rt, "reopen") {
				if err := bolt.Close(); err != nil {
					rt.Fatal(err)
				}
				if bolt, err = store.Open(path, store.BoltOptions{}); err != nil {
					rt.Fatal(err)
				}
			}
			for name, s := range map[string]store.Store{"bolt": bolt, "memory": memory} {
				got, err := s.Load(t.Context())
				if err != nil {
					rt.Fatal(err)
				}
				if diff := compare(m.State, got); diff != "" {
					rt.Fatalf("%s: %s", name, diff)
				}
			}
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	for name, n := range map[string]int{"1 op": 1, "100 ops": 100} {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			for i := range b.N {
				var txn store.Txn
				for j := range n {
					txn.PutTask(&spec.Task{ID: spec.TaskID("web.instance-"+time.Duration(i%50*100+j).String(), 1), Seat: spec.SeatID{App: "/web", Index: j}, State: "TASK_RUNNING", CreatedAt: epoch})
				}
				if err := s.Commit(b.Context(), txn); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
