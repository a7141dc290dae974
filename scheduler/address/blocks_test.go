package address

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func blockBook(bs ...spec.Block) map[netip.Prefix]spec.Block {
	m := map[netip.Prefix]spec.Block{}
	for _, b := range bs {
		m[b.Prefix] = b
	}
	return m
}

func TestShares(t *testing.T) {
	for block, want := range map[string]string{
		"10.1.0.64/26": "[10.1.0.64/27 10.1.0.96/28] 10.1.0.112/28", "10.0.0.0/20": "[10.0.0.0/21 10.0.8.0/22] 10.0.12.0/22",
		"10.1.0.4/30": "[10.1.0.4/31 10.1.0.6/32] 10.1.0.7/32", "10.1.0.4/31": "[10.1.0.4/31] invalid Prefix", "10.1.0.4/32": "[10.1.0.4/32] invalid Prefix",
	} {
		if got := fmt.Sprint(seatShare(prefix(block)), " ", HostShare(prefix(block))); got != want {
			t.Errorf("%s: %s, want %s", block, got, want)
		}
	}
}

func TestClaim(t *testing.T) {
	p := pool("p", "10.1.0.0/26")
	p.BlockSize = 28
	leases := book(spec.Lease{Seat: spec.SeatID{App: "/a"}, Pool: "p", Address: ip("10.1.0.2")})
	old := blockBook(spec.Block{Prefix: prefix("10.1.0.24/30"), Pool: "p", Host: "old"}) // of another size
	b := NewBlocks(old)
	var got []string
	for range 4 {
		if x, ok := b.Claim(p, "h", leases, t0); ok {
			got = append(got, x.Prefix.String())
		}
	}
	if want := []string{"10.1.0.32/28", "10.1.0.48/28", "10.1.0.0/28"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: those without leases first, never one that another host has a part of", got, want)
	}
	b.Delete(prefix("10.1.0.24/30"))
	p.Disabled = true
	if x, ok := b.Claim(p, "h", leases, t0); ok {
		t.Errorf("a disabled pool gave %v", x)
	}
	p.Disabled = false
	if x, ok := b.Claim(p, "i", leases, t0); !ok || x != (spec.Block{Prefix: prefix("10.1.0.16/28"), Pool: "p", Host: "i", Since: t0}) {
		t.Errorf("what was given back is %v", x)
	}
	if d := cmp.Diff([]netip.Prefix{prefix("10.1.0.0/29"), prefix("10.1.0.8/30"), prefix("10.1.0.13/32"), prefix("10.1.0.14/32")},
		NewBlocks(blockBook(spec.Block{Prefix: prefix("10.1.0.0/28"), Host: "h"})).Taken("h", book(spec.Lease{Address: ip("10.1.0.2")}, spec.Lease{Address: ip("10.1.0.14"), IdleSince: t0}), func(a netip.Addr) bool { return a == ip("10.1.0.13") }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestReturnable(t *testing.T) {
	block := func(p, host string) spec.Block { return spec.Block{Prefix: prefix(p), Pool: "p", Host: host} }
	b := NewBlocks(blockBook(block("10.1.0.0/28", "dead"), block("10.1.0.16/28", "dead"), block("10.1.0.32/28", "dead"), block("10.1.0.48/28", "alive"), spec.Block{Prefix: prefix("10.2.0.0/28"), Pool: "q", Host: "dead"}))
	leases := book(spec.Lease{Address: ip("10.1.0.2"), IdleSince: t0}, spec.Lease{Address: ip("10.1.0.17")})
	got := b.Returnable("p", func(host string) bool { return host == "dead" }, leases, func(a netip.Addr) bool { return a == ip("10.1.0.33") })
	if len(got) != 1 || got[0] != block("10.1.0.0/28", "dead") {
		t.Errorf("got %v", got)
	}
}

// Where blocks are in use, who has an address keeps it, who has none is told later, and who cannot have one waits.
func TestAssignWithBlocks(t *testing.T) {
	p := pool("p", "10.1.0.0/28")
	b := NewBlocks(blockBook(spec.Block{Prefix: prefix("10.1.0.0/28"), Pool: "p", Host: "h"}))
	seat := func(n int) spec.SeatID { return spec.SeatID{App: "/a", Index: n} }
	in := Input{Pools: []spec.Pool{p}, Blocks: b, Rest: time.Minute, Now: t0, Leases: book(spec.Lease{Seat: seat(0), Pool: "p", Address: ip("10.1.0.13")})}
	for n := range 13 {
		in.Wants = append(in.Wants, Want{Seat: seat(n), Pool: "p"})
	}
	in.Wants = append(in.Wants, Want{Seat: spec.SeatID{App: "/b"}, Pool: "p", Pinned: ip("10.1.0.12")})
	r := Assign(in)
	if len(r.Changed) != 0 || len(r.Leases) != 1 || len(r.Later) != 10 || len(r.Waiting) != 3 || r.Next["p"] != ip("10.1.0.2") {
		t.Fatalf("got %+v", r)
	}
	if got, want := r.Waiting[seat(12)], "pool p (10.1.0.0/28) has no free address: 11 leased, 0 held by others, 2 kept for docker run on the hosts"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.Waiting[spec.SeatID{App: "/b"}]; !strings.HasPrefix(got, "pinned address 10.1.0.12 is kept for docker run: host h gives out 10.1.0.12/30") {
		t.Errorf("got %q", got)
	}
}

// fleet is a scheduler and its hosts, as little of them as gives out addresses.
type fleet struct {
	pool   spec.Pool
	leases map[netip.Addr]spec.Lease
	blocks *Blocks
	stored map[netip.Prefix]spec.Block
	run    map[netip.Addr]string // what hosts gave out by themselves
	now    time.Time
}

func (f *fleet) input(wants ...Want) Input {
	in := Input{Pools: []spec.Pool{f.pool}, Leases: f.leases, Blocks: f.blocks, Wants: wants, Rest: 30 * time.Second, Now: f.now}
	return in // hosts have not reported yet what they gave out: nothing is held
}

func (f *fleet) claim(p spec.Pool, host string) (spec.Block, bool) {
	b, ok := f.blocks.Claim(p, host, f.leases, f.now)
	if ok {
		f.stored[b.Prefix] = b
	}
	return b, ok
}

// open says whether a seat could newly have the address.
func (f *fleet) open(a netip.Addr) bool {
	if _, leased := f.leases[a]; leased || !Usable(f.pool, a) {
		return false
	}
	for _, b := range f.stored {
		if HostShare(b.Prefix).Contains(a) {
			return false
		}
	}
	return true
}

// near says whether the host has such an address in its blocks, or in one that it could have.
func (f *fleet) near(host string) bool {
	for a := f.pool.CIDR.Addr(); f.pool.CIDR.Contains(a); a = a.Next() {
		x, _ := a.Prefix(f.pool.BlockBits())
		b, is := f.stored[x]
		if is && b.Host == host && f.open(a) || !is && f.open(a) && !HostShare(x).Contains(a) {
			return true
		}
	}
	return false
}

// give gives out an address on a host, as its document says.
func (f *fleet) give(host string) {
	taken := f.blocks.Taken(host, f.leases, nowhere)
	for _, b := range f.blocks.On(host) {
		for a := b.Prefix.Addr(); b.Prefix.Contains(a); a = a.Next() {
			if _, running := f.run[a]; !running && Usable(f.pool, a) && !slices.ContainsFunc(taken, func(p netip.Prefix) bool { return p.Contains(a) }) {
				f.run[a] = host
				return
			}
		}
	}
}

// Nobody asks anybody, and still no address is given out twice; no block is two hosts'; what is new to a seat is of its host's
// blocks as long as there is such.
func TestBlocksKeepHostsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fleet{pool: pool("p", "10.1.0.0/26"), leases: map[netip.Addr]spec.Lease{}, blocks: NewBlocks(nil), stored: map[netip.Prefix]spec.Block{}, run: map[netip.Addr]string{}, now: t0}
		f.pool.BlockSize = rapid.IntRange(26, 32).Draw(t, "block size")
		for n := range rapid.IntRange(0, 3).Draw(t, "leased before there were blocks") {
			a := ip("10.1.0.40")
			for range 5 * n {
				a = a.Next()
			}
			f.leases[a] = spec.Lease{Seat: spec.SeatID{App: "/old", Index: n}, Pool: "p", Address: a}
		}
		host := rapid.SampledFrom([]string{"h1", "h2", "h3"})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			f.now = f.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "dt")) * time.Second)
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				f.give(host.Draw(t, "host"))
			case 1:
				f.claim(f.pool, host.Draw(t, "host"))
			case 2:
				gone := rapid.IntRange(0, 40).Draw(t, "seat")
				for _, l := range Release(f.leases, func(s spec.SeatID) bool { return s.Index != gone }, nil, f.now) {
					f.leases[l.Address] = l
				}
			default:
				f.start(t, spec.SeatID{App: "/a", Index: rapid.IntRange(0, 40).Draw(t, "seat")}, host.Draw(t, "host"))
			}
			f.check(t)
		}
	})
}

func nowhere(netip.Addr) bool { return false }

func (f *fleet) start(t *rapid.T, seat spec.SeatID, host string) {
	w := Want{Seat: seat, Pool: "p"}
	r := Assign(f.input(w))
	for _, l := range r.Changed {
		f.leases[l.Address] = l
	}
	if r.Later[seat] == "" {
		return
	}
	near, blocks := f.near(host), len(f.stored)
	fresh := Fresh(f.input(), []Placed{{seat, "p", host}}, f.claim)
	l, ok := fresh.Leases[seat]
	if !ok && len(f.stored) == blocks {
		t.Fatalf("%s was promised an address: %s", seat, fresh.Waiting[seat])
	}
	if !ok {
		return
	}
	if b, in := f.blocks.Of(l.Address); near && (!in || b.Host != host) {
		t.Fatalf("%s on %s got %s, which is of %v", seat, host, l.Address, b)
	}
	for _, l := range fresh.Changed {
		f.leases[l.Address] = l
	}
}

func (f *fleet) check(t *rapid.T) {
	seats := map[spec.SeatID]netip.Addr{}
	for a, l := range f.leases {
		if by, running := f.run[a]; running {
			t.Fatalf("%s is leased to %s, and %s gave it out", a, l.Seat, by)
		}
		if other, twice := seats[l.Seat]; twice {
			t.Fatalf("%s has %s and %s", l.Seat, a, other)
		}
		seats[l.Seat] = a
	}
	var last netip.Prefix
	for _, b := range f.blocks.All() {
		if last.IsValid() && last.Overlaps(b.Prefix) || b.Prefix.Bits() != f.pool.BlockBits() {
			t.Fatalf("%v after %v", b, last)
		}
		last = b.Prefix
	}
	again := NewBlocks(f.stored)
	if !slices.Equal(again.All(), f.blocks.All()) {
		t.Fatalf("kept %v, stored %v", f.blocks.All(), again.All())
	}
	for _, h := range []string{"h1", "h2", "h3"} {
		if !slices.Equal(again.On(h), f.blocks.On(h)) || !slices.Equal(again.Taken(h, f.leases, nowhere), f.blocks.Taken(h, f.leases, nowhere)) {
			t.Fatalf("%s: kept %v, stored %v", h, f.blocks.On(h), again.On(h))
		}
	}
}
