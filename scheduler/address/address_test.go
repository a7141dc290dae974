package address

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func pool(name, cidr string) spec.Pool {
	return spec.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr)}
}

func book(ls ...spec.Lease) map[netip.Addr]spec.Lease {
	m := map[netip.Addr]spec.Lease{}
	for _, l := range ls {
		m[l.Address] = l
	}
	return m
}

func TestAssign(t *testing.T) {
	p := pool("p", "10.1.0.0/29") // usable: .2 to .6
	web := func(n int) spec.SeatID { return spec.SeatID{App: "/web", Index: n} }
	db := func(n int) spec.SeatID { return spec.SeatID{App: "/db", Index: n} }
	for _, c := range []struct {
		name  string
		book  map[netip.Addr]spec.Lease
		held  []spec.Held
		wants []Want
		want  string // "seat=address" or "seat: reason part", one a line, by seat
	}{
		{"the lowest unused addresses in seat order", nil, nil,
			[]Want{{Seat: web(1), Pool: "p"}, {Seat: web(0), Pool: "p"}}, "/web.0=10.1.0.2\n/web.1=10.1.0.3"},
		{"a seat keeps its lease", book(spec.Lease{Seat: web(0), Pool: "p", Address: ip("10.1.0.5")}), nil,
			[]Want{{Seat: web(0), Pool: "p"}}, "/web.0=10.1.0.5"},
		{"a returning seat gets its resting lease back", book(spec.Lease{Seat: web(4), Pool: "p", Address: ip("10.1.0.5"), IdleSince: t0.Add(-time.Second)}), nil,
			[]Want{{Seat: web(4), Pool: "p"}}, "/web.4=10.1.0.5"},
		{"an unused address is taken before a rested one", book(spec.Lease{Seat: db(0), Pool: "p", Address: ip("10.1.0.2"), IdleSince: t0.Add(-time.Hour)}), nil,
			[]Want{{Seat: web(0), Pool: "p"}}, "/web.0=10.1.0.3"},
		{"a held address is passed over", nil, []spec.Held{{Address: ip("10.1.0.2"), By: "x"}},
			[]Want{{Seat: web(0), Pool: "p"}}, "/web.0=10.1.0.3"},
		{"a held address of the seat makes it wait", book(spec.Lease{Seat: web(0), Pool: "p", Address: ip("10.1.0.2")}), []spec.Held{{Address: ip("10.1.0.2"), By: `container "debug"`}},
			[]Want{{Seat: web(0), Pool: "p"}}, `/web.0: its address 10.1.0.2 is held by container "debug"`},
		{"a pinned address", nil, nil, []Want{{Seat: web(0), Pool: "p", Pinned: ip("10.1.0.6")}}, "/web.0=10.1.0.6"},
		{"pins are served before free choice", nil, nil,
			[]Want{{Seat: db(0), Pool: "p"}, {Seat: web(0), Pool: "p", Pinned: ip("10.1.0.2")}}, "/db.0=10.1.0.3\n/web.0=10.1.0.2"},
		{"a pinned address of another app", book(spec.Lease{Seat: db(0), Pool: "p", Address: ip("10.1.0.6")}), nil,
			[]Want{{Seat: web(0), Pool: "p", Pinned: ip("10.1.0.6")}}, "/web.0: pinned address 10.1.0.6 is leased to /db.0"},
		{"a pinned address that rested", book(spec.Lease{Seat: db(0), Pool: "p", Address: ip("10.1.0.6"), IdleSince: t0.Add(-time.Hour)}), nil,
			[]Want{{Seat: web(0), Pool: "p", Pinned: ip("10.1.0.6")}}, "/web.0=10.1.0.6"},
		{"the gateway cannot be pinned", nil, nil, []Want{{Seat: web(0), Pool: "p", Pinned: ip("10.1.0.1")}}, "/web.0: pinned address 10.1.0.1 is no usable address"},
		{"an unknown pool", nil, nil, []Want{{Seat: web(0), Pool: "q"}}, `/web.0: pool "q" does not exist`},
		{"an exhausted pool", nil, nil, []Want{{Seat: web(0), Pool: "p"}, {Seat: web(1), Pool: "p"}, {Seat: web(2), Pool: "p"}, {Seat: web(3), Pool: "p"}, {Seat: web(4), Pool: "p"}, {Seat: web(5), Pool: "p"}},
			"/web.0=10.1.0.2\n/web.1=10.1.0.3\n/web.2=10.1.0.4\n/web.3=10.1.0.5\n/web.4=10.1.0.6\n/web.5: pool p (10.1.0.0/29) has no free address: 5 leased"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Assign(Input{Pools: []spec.Pool{p}, Leases: c.book, Held: c.held, Wants: c.wants, Rest: time.Minute, Now: t0})
			var got []string
			for n := range 8 {
				for _, s := range []spec.SeatID{db(n), web(n)} {
					if l, ok := r.Leases[s]; ok {
						got = append(got, fmt.Sprintf("%s=%s", s, l.Address))
					}
					if why, ok := r.Waiting[s]; ok {
						got = append(got, fmt.Sprintf("%s: %s", s, why))
					}
				}
			}
			want := strings.Split(c.want, "\n")
			if len(got) != len(want) {
				t.Fatalf("got %q, want %q", got, want)
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("got %q, want %q", got[i], want[i])
				}
			}
		})
	}
}

func TestReleasedAddressRests(t *testing.T) {
	p := pool("p", "10.1.0.0/30") // usable: .2
	old := spec.Lease{Seat: spec.SeatID{App: "/db"}, Pool: "p", Address: ip("10.1.0.2")}
	leases := book(old)
	for _, l := range Release(leases, func(spec.SeatID) bool { return false }, nil, t0) {
		leases[l.Address] = l
	}
	in := Input{Pools: []spec.Pool{p}, Leases: leases, Wants: []Want{{Seat: spec.SeatID{App: "/web"}, Pool: "p"}}, Rest: time.Minute, Now: t0.Add(59 * time.Second)}
	r := Assign(in)
	if len(r.Leases) != 0 || !r.Again.Equal(t0.Add(time.Minute)) {
		t.Fatalf("before the rest time: %+v", r)
	}
	in.Now = t0.Add(time.Minute)
	r = Assign(in)
	if got := r.Leases[spec.SeatID{App: "/web"}].Address; got != old.Address {
		t.Fatalf("after the rest time: %+v", r)
	}
}

// A full pool: those that rest go to others one after the other, the longest first. With thousands of seats that ask, the
// pool must not be looked through for each of them.
func TestResting(t *testing.T) {
	p := pool("p", "10.0.0.0/19")
	leases, at := map[netip.Addr]spec.Lease{}, p.CIDR.Addr()
	for ; p.CIDR.Contains(at); at = at.Next() {
		if Usable(p, at) {
			leases[at] = spec.Lease{Address: at, Pool: "p", Seat: spec.SeatID{App: "/old", Index: len(leases)}, IdleSince: t0.Add(-time.Duration(len(leases)) * time.Second)}
		}
	}
	in := Input{Pools: []spec.Pool{p}, Leases: leases, Rest: time.Minute, Now: t0}
	for i := range 9000 {
		in.Wants = append(in.Wants, Want{Seat: spec.SeatID{App: "/new", Index: i}, Pool: "p"})
	}
	r := Assign(in)
	ready := len(leases) - 60 // the others rest for less than a minute
	if len(r.Leases) != ready || len(r.Waiting) != len(in.Wants)-ready {
		t.Fatalf("%d are served and %d wait, want %d", len(r.Leases), len(r.Waiting), ready)
	}
	for i := range ready {
		l := r.Leases[spec.SeatID{App: "/new", Index: i}]
		if was := leases[l.Address].Seat.Index; was != len(leases)-1-i {
			t.Fatalf("seat %d got what was seat %d's", i, was)
		}
	}
	const want = "pool p (10.0.0.0/19) has no free address: 8129 leased, 0 held by others, 60 resting (the first until 2026-01-02T03:04:06Z)"
	if got := r.Waiting[spec.SeatID{App: "/new", Index: 8999}]; got != want {
		t.Errorf("got %q", got)
	}
}

// No address ever belongs to two seats that both want it, whatever is asked, and a served seat keeps what it has. Where the search
// begins, and an index of the leases, make no difference.
func TestAssignNeverGivesTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pool("p", "10.1.0.0/28")
		leases := map[netip.Addr]spec.Lease{}
		now := t0
		active, from := map[spec.SeatID]netip.Addr{}, map[string]netip.Addr{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "dt")) * time.Second)
			seat := spec.SeatID{App: spec.AppID(rapid.SampledFrom([]string{"/a", "/b", "/c"}).Draw(t, "app")), Index: rapid.IntRange(0, 6).Draw(t, "n")}
			if rapid.Bool().Draw(t, "release") {
				for _, l := range Release(leases, func(x spec.SeatID) bool { return x != seat }, nil, now) {
					leases[l.Address] = l
				}
				delete(active, seat)
				continue
			}
			wants := []Want{{Seat: seat, Pool: "p"}}
			for s := range active {
				if s != seat {
					wants = append(wants, Want{Seat: s, Pool: "p"})
				}
			}
			in := Input{Pools: []spec.Pool{p}, Leases: leases, Wants: wants, Rest: 30 * time.Second, Now: now}
			r := Assign(in)
			if d := cmp.Diff(r, Assign(in), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Fatalf("not repeatable: %s", d)
			}
			quick := in
			quick.From, quick.Of = from, map[spec.SeatID][]netip.Addr{}
			for _, l := range leases {
				quick.Of[l.Seat] = append(quick.Of[l.Seat], l.Address)
			}
			if d := cmp.Diff(r, Assign(quick), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Fatalf("by index: %s", d)
			}
			maps.Copy(from, r.Next)
			for _, l := range r.Changed {
				leases[l.Address] = l
			}
			seen := map[netip.Addr]spec.SeatID{}
			for s, l := range r.Leases {
				if o, ok := seen[l.Address]; ok {
					t.Fatalf("%s belongs to %s and %s", l.Address, o, s)
				}
				if before, ok := active[s]; ok && before != l.Address {
					t.Fatalf("%s moved from %s to %s", s, before, l.Address)
				}
				seen[l.Address] = s
				active[s] = l.Address
			}
			for s := range active {
				if _, ok := r.Leases[s]; !ok {
					t.Fatalf("%s lost its address: %s", s, r.Waiting[s])
				}
			}
		}
	})
}

func TestCheckPins(t *testing.T) {
	p := pool("p", "10.1.0.0/28")
	leases := book(
		spec.Lease{Seat: spec.SeatID{App: "/web", Index: 1}, Pool: "p", Address: ip("10.1.0.3")},
		spec.Lease{Seat: spec.SeatID{App: "/db"}, Pool: "p", Address: ip("10.1.0.4")},
		spec.Lease{Seat: spec.SeatID{App: "/old"}, Pool: "p", Address: ip("10.1.0.5"), IdleSince: t0.Add(-time.Second)},
		spec.Lease{Seat: spec.SeatID{App: "/old"}, Pool: "p", Address: ip("10.1.0.6"), IdleSince: t0.Add(-time.Hour)},
		spec.Lease{Seat: spec.SeatID{App: "/small", Index: 3}, Pool: "p", Address: ip("10.1.0.7"), IdleSince: t0.Add(-time.Hour), Pinned: true},
	)
	for pins, want := range map[string]string{
		"10.1.0.2,10.1.0.3": "",
		"10.1.0.3,10.1.0.2": "10.1.0.3 is leased to /web.1, another seat",
		"10.1.0.4,10.1.0.2": "10.1.0.4 is leased to /db.0",
		"10.1.0.5,10.1.0.2": "10.1.0.5 was /old.0's and rests until 2026-01-02T03:05:04Z",
		"10.1.0.6,10.1.0.2": "",
		"10.1.0.7,10.1.0.2": "10.1.0.7 is kept for /small.3",
		"10.1.0.2":          "1 addresses for 2 instances",
		"10.1.0.2,10.1.0.2": "10.1.0.2 is listed twice",
		"10.1.0.2,web":      `"web" is no IP address`,
		"10.1.0.2,10.2.0.2": "10.2.0.2 is no usable address of pool p",
	} {
		app := &spec.App{ID: "/web", Instances: 2, Labels: map[string]string{spec.AppLabelIPs: pins}}
		err := CheckPins(app, Input{Pools: []spec.Pool{p}, Leases: leases, Rest: time.Minute, Now: t0})
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", pins, err, want)
		}
	}
}

// A pool that was searched to its end is not searched again.
func TestAssignTrustsTheSearch(t *testing.T) {
	in := Input{Pools: []spec.Pool{pool("p", "10.1.0.0/30")}, Wants: []Want{{Seat: spec.SeatID{App: "/a"}, Pool: "p"}, {Seat: spec.SeatID{App: "/b"}, Pool: "p"}}, Now: t0}
	r := Assign(in)
	if len(r.Leases) != 1 || r.Next["p"] != ip("10.1.0.4") {
		t.Fatalf("got %+v", r)
	}
	in.From = r.Next
	if r = Assign(in); len(r.Leases) != 0 || r.Next["p"] != ip("10.1.0.4") {
		t.Errorf("searched again: %+v", r)
	}
}

// TestPoolOf: what the app says comes before its groups, the nearest of those first.
func TestPoolOf(t *testing.T) {
	pools := []spec.Pool{{Name: "first"}, {Name: "prod", Groups: []spec.AppID{"/prod", "/test"}}, {Name: "db", Groups: []spec.AppID{"/prod/db"}}}
	network := []spec.Network{{Mode: spec.NetworkContainer, Name: "first"}}
	label := func(pool string) map[string]string { return map[string]string{spec.AppLabelPool: pool} }
	for _, c := range []struct {
		app  spec.App
		want string
	}{
		{spec.App{ID: "/web"}, "first"},
		{spec.App{ID: "/prod/web"}, "prod"},
		{spec.App{ID: "/production"}, "first"},
		{spec.App{ID: "/test/db/a"}, "prod"},
		{spec.App{ID: "/prod/db/a/b"}, "db"},
		{spec.App{ID: "/prod/web", Networks: network}, "first"},
		{spec.App{ID: "/prod/web", Labels: label("db"), Networks: network}, "db"},
		{spec.App{ID: "/prod/web", Labels: label("none")}, ""},
	} {
		if got, ok := PoolOf(&c.app, pools); ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.app.ID, got, ok, c.want)
		}
	}
}
