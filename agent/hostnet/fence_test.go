package hostnet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/spec"
)

func TestFences(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	addr := netip.MustParseAddr
	on := func(addresses ...string) map[netip.Addr]bool {
		out := map[netip.Addr]bool{}
		for _, a := range addresses {
			out[addr(a)] = true
		}
		return out
	}
	// Endpoints: a seat in the own block and its twin, a seat on a borrowed address, a plain container in the block, one on a chosen
	// address outside of it, and a task that the document does not know (yet).
	const seat, twin, borrowed, plain, chosen, task = "10.1.0.2", "fd00::2", "10.1.9.9", "10.1.0.3", "10.1.9.8", "10.1.0.4"
	all := fmt.Sprint([]string{seat, task, chosen, borrowed, twin})
	base := func() FenceInput {
		return FenceInput{
			Now: start.Add(time.Hour), Contact: start.Add(time.Hour - 10*time.Second), Up: true, Linked: start, After: 4 * time.Minute,
			Endpoints: []Endpoint{{Addresses: []netip.Addr{addr(seat), addr(twin)}}, {Addresses: []netip.Addr{addr(borrowed)}},
				{Addresses: []netip.Addr{addr(plain)}}, {Addresses: []netip.Addr{addr(chosen)}}, {Addresses: []netip.Addr{addr(task)}}},
			Seats: on(seat, borrowed), Tasks: on(seat, borrowed, task), Blocks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/26")},
		}
	}
	for _, c := range []struct {
		name   string
		change func(*FenceInput)
		want   string
		cutOff bool
		again  time.Duration // from now; 0: never
	}{
		{"in contact, with peers", func(*FenceInput) {}, "[]", false, 0},
		{"in contact, without peers", func(in *FenceInput) { in.Up = false }, "[]", false, 230 * time.Second},
		{"no scheduler for long, with peers", func(in *FenceInput) { in.Contact = start }, "[]", false, 0},
		{"no scheduler ever, with peers", func(in *FenceInput) { in.Contact = time.Time{} }, "[]", false, 0},
		{"neither", func(in *FenceInput) { in.Contact, in.Up = start, false }, all, true, 0},
		{"neither, and there never was a contact", func(in *FenceInput) { in.Contact, in.Up = time.Time{}, false }, all, true, 0},
		{"neither, without fencing", func(in *FenceInput) { in.Contact, in.Up, in.After = start, false, 0 }, "[]", false, 0},
		{"the router restarts while there is no scheduler", func(in *FenceInput) {
			in.Contact, in.Up, in.Linked = start, false, in.Now.Add(-20*time.Second)
		}, "[]", false, 10 * time.Second},
		{"the router does not come back", func(in *FenceInput) {
			in.Contact, in.Up, in.Linked = start, false, in.Now.Add(-30*time.Second)
		}, all, true, 0},
		{"the time is just over", func(in *FenceInput) { in.Contact, in.Up = in.Now.Add(-4*time.Minute), false }, all, true, 0},
		{"the wall clock went back by a day", func(in *FenceInput) { in.Contact, in.Up = in.Now.Add(24*time.Hour), false }, all, true, 0},
		{"another announces the addresses, the scheduler says whose they are", func(in *FenceInput) {
			in.Elsewhere = on(seat, borrowed)
		}, "[]", false, 0},
		{"another announces them after the time is over", func(in *FenceInput) {
			in.Contact, in.Elsewhere = start, on(seat, plain, chosen)
		}, fmt.Sprint([]string{seat, twin}), false, 0},
		{"another announces a task's that the document does not know", func(in *FenceInput) { in.Elsewhere = on(task) }, fmt.Sprint([]string{task}), false, 0},
		{"contact is back, and one of the seats is gone", func(in *FenceInput) {
			in.Before, in.Seats = []netip.Addr{addr(seat), addr(borrowed), addr(task)}, on(seat)
		}, fmt.Sprint([]string{task, borrowed}), false, 0},
		{"only peers are back: what was withdrawn stays so", func(in *FenceInput) {
			in.Contact, in.Before = start, []netip.Addr{addr(seat), addr(borrowed)}
		}, fmt.Sprint([]string{seat, borrowed, twin}), false, 0},
		{"the scheduler withdraws", func(in *FenceInput) { in.Withdrawn = []netip.Addr{addr(borrowed), addr(plain)} }, fmt.Sprint([]string{plain, borrowed}), false, 0},
		{"a chosen address in the seats' part of the block", func(in *FenceInput) {
			in.Contact, in.Up, in.Taken = start, false, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/27")}
		}, fmt.Sprint([]string{seat, plain, task, chosen, borrowed, twin}), true, 0},
		{"a seat was withdrawn, its task is over, and Docker is not heard", func(in *FenceInput) {
			in.Before, in.Seats, in.Tasks = []netip.Addr{addr(seat)}, on(), on()
		}, fmt.Sprint([]string{seat, twin}), false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := base()
			c.change(&in)
			got := Fences(in)
			if text := fmt.Sprint(slices.SortedFunc(maps.Keys(got.Withdrawn), netip.Addr.Compare)); text != c.want || got.CutOff != c.cutOff {
				t.Errorf("withdrawn %s, cut off %t; want %s, %t", text, got.CutOff, c.want, c.cutOff)
			}
			if c.again == 0 != got.Again.IsZero() || c.again != 0 && !got.Again.Equal(in.Now.Add(c.again)) {
				t.Errorf("again at %v, want %v from %v", got.Again, c.again, in.Now)
			}
		})
	}
}

func TestClosedEndpoint(t *testing.T) {
	a, other := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("192.0.2.9")
	p := CompilePath(PathInput{
		Pools:     []spec.Pool{pool("p", "10.1.0.0/16", false)},
		Endpoints: []Endpoint{{ID: "aaaaaaaaaaaa", MAC: MAC(a), Addresses: []netip.Addr{a}, Closed: true}},
		Learned:   []Learned{{Prefix: netip.PrefixFrom(a, 32), Via: other}},
		Blocks:    []netip.Prefix{netip.MustParsePrefix("10.1.0.0/26")},
	}, Options{})
	if len(p.Links) != 1 || len(p.Links[0].Senders) > 0 || len(p.Links[0].Addresses) != 1 {
		t.Errorf("links %+v", p.Links)
	}
	if want := "[{10.1.0.0/26  []} {10.1.0.2/32  [192.0.2.9]}]"; fmt.Sprint(p.Routes) != want {
		t.Errorf("routes %v, want %s", p.Routes, want)
	}
}
