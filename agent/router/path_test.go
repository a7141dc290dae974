package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// errCrash is what every call of a crashed world says.
var errCrash = errors.New("the process is gone")

// world is a kernel in memory: what it does to routes and neighbours when links come, go and go down is what Linux does.
type world struct {
	f        facts
	policies policyFacts
	foreign  map[netip.Prefix]bool // routes of others
	peers    map[string]string     // link -> MAC of the container's end
	calls    []string
	left     int             // calls until the crash; below 0: none
	broken   map[string]bool // calls by text that fail
}

func newWorld() *world {
	return &world{f: facts{links: map[string]linkFacts{}, routes: map[netip.Prefix]hostnet.Route{}, senders: map[sender]bool{}, shapers: map[string]bool{}}, foreign: map[netip.Prefix]bool{}, peers: map[string]string{}, left: -1}
}

// call counts a change, and crashes or fails as told.
func (w *world) call(what string, args ...any) error {
	what = strings.TrimSpace(what + " " + fmt.Sprintln(args...))
	if w.left == 0 {
		return errCrash
	}
	w.left--
	if w.broken[what] {
		return fmt.Errorf("%s: broken", what)
	}
	w.calls = append(w.calls, what)
	return nil
}

func (w *world) look(want hostnet.Path) (facts, error) {
	if w.left == 0 {
		return facts{}, errCrash
	}
	f := w.f
	f.links, f.routes, f.senders = map[string]linkFacts{}, maps.Clone(w.f.routes), maps.Clone(w.f.senders)
	for n, l := range w.f.links {
		l.gateways, l.neighbours = maps.Clone(l.gateways), maps.Clone(l.neighbours)
		l.torn = l.egress == 0 && f.shapers[n]
		f.links[n] = l
	}
	f.sysctls, f.shapers = maps.Clone(w.f.sysctls), maps.Clone(w.f.shapers)
	return f, nil
}

func (w *world) makePair(l hostnet.Link) error {
	if err := w.call("pair", l.Name); err != nil {
		return err
	}
	if _, ok := w.f.links[l.Name]; ok {
		return errors.New("it exists")
	}
	w.f.links[l.Name] = linkFacts{gateways: map[netip.Addr]bool{}, neighbours: map[netip.Addr]string{}}
	if w.f.sysctls == nil {
		w.f.sysctls = map[string]string{}
	}
	for _, s := range l.Sysctls {
		w.f.sysctls[s.Key] = "?"
	}
	return nil
}

func (w *world) removeLink(name string) error {
	if err := w.call("unlink", name); err != nil {
		return err
	}
	w.lose(name)
	return nil
}

// lose is what happens when a container's end is gone.
func (w *world) lose(name string) {
	delete(w.f.links, name)
	maps.DeleteFunc(w.f.routes, func(_ netip.Prefix, r hostnet.Route) bool { return r.Link == name })
	maps.DeleteFunc(w.f.sysctls, func(k, _ string) bool { return strings.Contains(k, name) })
}

// on changes a link that must be there.
func (w *world) on(name string, do func(*linkFacts) error) error {
	l, ok := w.f.links[name]
	if !ok {
		return errors.New("no such link")
	}
	if err := do(&l); err != nil {
		return err
	}
	w.f.links[name] = l
	return nil
}

func (w *world) setUp(name string) error {
	if err := w.call("up", name); err != nil {
		return err
	}
	return w.on(name, func(l *linkFacts) error {
		if !w.f.guard {
			return errors.New("without a guard") // not the kernel's, but what must never be
		}
		l.up = true
		return nil
	})
}

func (w *world) setRate(name string, rate uint64) error {
	if err := w.call("rate", name, rate); err != nil {
		return err
	}
	return w.on(name, func(l *linkFacts) error { l.rate = rate; return nil })
}

func (w *world) setEgress(name string, rate uint64) error {
	if err := w.call("egress", name, rate); err != nil {
		return err
	}
	if rate == 0 {
		delete(w.f.shapers, name)
	} else {
		w.f.shapers[name] = true
	}
	if l, ok := w.f.links[name]; ok {
		l.egress, l.torn = rate, false
		w.f.links[name] = l
	}
	return nil
}

func (w *world) addGateway(name string, a netip.Addr) error {
	if err := w.call("gateway", name, a); err != nil {
		return err
	}
	return w.on(name, func(l *linkFacts) error { l.gateways[a] = true; return nil })
}

func (w *world) setNeighbour(name string, a netip.Addr, mac string) error {
	if err := w.call("neighbour", name, a); err != nil {
		return err
	}
	return w.on(name, func(l *linkFacts) error {
		if !l.up {
			return errors.New("network is down")
		}
		l.neighbours[a] = mac
		return nil
	})
}

func (w *world) removeNeighbour(name string, a netip.Addr) error {
	if err := w.call("unneighbour", name, a); err != nil {
		return err
	}
	return w.on(name, func(l *linkFacts) error { delete(l.neighbours, a); return nil })
}

func (w *world) setSysctl(key, value string) error {
	if err := w.call("sysctl", key); err != nil {
		return err
	}
	if _, ok := w.f.sysctls[key]; !ok {
		return errors.New("no such setting")
	}
	w.f.sysctls[key] = value
	return nil
}

func (w *world) makeGuard() error {
	if err := w.call("guard"); err != nil {
		return err
	}
	w.f.guard = true
	return nil
}

func (w *world) hasGuard() (bool, error) { return w.f.guard, nil }

func (w *world) removeGuard() error {
	w.f.guard, w.f.senders = false, map[sender]bool{}
	return w.call("unguard")
}

func (w *world) addSenders(who []sender) error {
	if err := w.call("allow", len(who)); err != nil {
		return err
	}
	if !w.f.guard {
		return errors.New("no such table")
	}
	for _, s := range who {
		w.f.senders[s] = true
	}
	return nil
}

func (w *world) removeSenders(who []sender) error {
	if err := w.call("disallow", len(who)); err != nil {
		return err
	}
	for _, s := range who {
		if !w.f.senders[s] {
			return errors.New("no such element")
		}
		delete(w.f.senders, s)
	}
	return nil
}

func (w *world) setRoute(r hostnet.Route, replace bool) error {
	if err := w.call("route", r.Prefix); err != nil {
		return err
	}
	if w.foreign[r.Prefix] && !replace {
		return errors.New("file exists")
	}
	if l, ok := w.f.links[r.Link]; r.Link != "" && (!ok || !l.up) {
		return errors.New("network is down")
	}
	w.f.routes[r.Prefix] = r
	return nil
}

func (w *world) removeRoute(r hostnet.Route) error {
	if err := w.call("unroute", r.Prefix); err != nil {
		return err
	}
	delete(w.f.routes, r.Prefix)
	return nil
}

func (w *world) setShims(context.Context, []hostnet.Shim) error { return nil }

func (w *world) spoofed() (map[string]uint64, error) { return nil, nil }

// wantedPath draws a routed network from a few endpoints, learned routes and blocks.
func wantedPath(t *rapid.T, name string) hostnet.Path {
	in := hostnet.PathInput{Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/16")}}}
	for i := range 5 {
		if !rapid.Bool().Draw(t, fmt.Sprintf("%s has %d", name, i)) {
			continue
		}
		a := netip.AddrFrom4([4]byte{10, 1, 0, byte(1 + rapid.IntRange(0, 6).Draw(t, "address"))})
		in.Endpoints = append(in.Endpoints, hostnet.Endpoint{
			ID: fmt.Sprintf("%012x", i+1), MAC: hostnet.MAC(a), Addresses: []netip.Addr{a}, Create: rapid.Bool().Draw(t, "fresh"),
			Rate: rapid.SampledFrom([]uint64{0, 1e6}).Draw(t, "rate"), Egress: rapid.SampledFrom([]uint64{0, 1e6}).Draw(t, "egress"),
		})
	}
	for _, p := range []string{"10.1.1.0/24", "10.1.0.3/32", "10.1.2.0/24"} {
		for _, via := range []string{"192.0.2.1", "192.0.2.2"} {
			if rapid.Bool().Draw(t, name+" learned "+p) {
				in.Learned = append(in.Learned, hostnet.Learned{Prefix: netip.MustParsePrefix(p), Via: netip.MustParseAddr(via)})
			}
		}
	}
	if rapid.Bool().Draw(t, name+" has a block") {
		in.Blocks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/26")}
	}
	return hostnet.CompilePath(in, hostnet.Options{})
}

// Whatever the host was like before, and wherever a process died, one Set later it is as wanted, and the next has nothing
// to do. What is not ours is never touched.
func TestSetPathConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		r := &Router{kernel: w}
		foreign := netip.MustParsePrefix("10.9.0.0/16")
		w.foreign[foreign] = true
		for n := range rapid.IntRange(1, 4).Draw(t, "rounds") {
			want := wantedPath(t, fmt.Sprint(n))
			w.left = rapid.IntRange(-1, 40).Draw(t, "calls until the crash")
			_, err := r.SetPath(t.Context(), want)
			if w.left != 0 && err != nil {
				t.Fatalf("without a crash: %v", err)
			}
			w.left = -1
			if rapid.Bool().Draw(t, "someone flushes the guard") {
				w.f.guard, w.f.senders = false, map[sender]bool{}
			}
			if names := slices.Sorted(maps.Keys(w.f.links)); len(names) > 0 && rapid.Bool().Draw(t, "a container ends") {
				w.lose(rapid.SampledFrom(names).Draw(t, "which"))
			}
		}
		want := wantedPath(t, "last")
		out, err := r.SetPath(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		check(t, w, want, out)
		w.calls = nil
		if _, err := r.SetPath(t.Context(), want); err != nil || len(w.calls) > 0 {
			t.Fatalf("a second Set: %v, %v", w.calls, err)
		}
		if !w.foreign[foreign] {
			t.Fatal("a route of someone else's is gone")
		}
	})
}

// check compares the world with what was wanted.
func check(t *rapid.T, w *world, want hostnet.Path, out Outcome) {
	links, senders := map[string]bool{}, map[sender]bool{}
	for _, l := range want.Links {
		for _, a := range l.Senders {
			senders[sender{l.Name, l.MAC, a}] = true
		}
		f, ok := w.f.links[l.Name]
		if slices.Contains(out.Missing, l.Name) {
			if ok || l.Create {
				t.Fatalf("%s is missing although %v, %v", l.Name, f, l)
			}
			continue
		}
		links[l.Name] = true
		if !ok || !f.up || f.rate != l.Rate || f.egress != l.Egress || len(f.neighbours) != len(l.Addresses) || !f.gateways[hostnet.Gateway4] {
			t.Fatalf("link %+v is %+v", l, f)
		}
	}
	for name := range w.f.shapers {
		if !slices.ContainsFunc(want.Links, func(l hostnet.Link) bool { return l.Name == name }) {
			t.Fatalf("a shaper of %s is left", name)
		}
	}
	if len(links) != len(w.f.links) {
		t.Fatalf("links %v, want %v", w.f.links, links)
	}
	routes := map[netip.Prefix]hostnet.Route{}
	for _, r := range want.Routes {
		if r.Link == "" || links[r.Link] {
			routes[r.Prefix] = r
		}
	}
	if !reflect.DeepEqual(routes, w.f.routes) {
		t.Fatalf("routes %v, want %v", w.f.routes, routes)
	}
	if !maps.Equal(senders, w.f.senders) || !w.f.guard {
		t.Fatalf("senders %v, want %v", w.f.senders, senders)
	}
}

// A change of everything at once adds before it removes.
func TestSetPathAddsFirst(t *testing.T) {
	pools := []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/16")}}
	path := func(id, address, learned string) hostnet.Path {
		a := netip.MustParseAddr(address)
		return hostnet.CompilePath(hostnet.PathInput{
			Pools: pools, Endpoints: []hostnet.Endpoint{{ID: id, MAC: hostnet.MAC(a), Addresses: []netip.Addr{a}, Create: true}},
			Learned: []hostnet.Learned{{Prefix: netip.MustParsePrefix(learned), Via: netip.MustParseAddr("192.0.2.9")}},
		}, hostnet.Options{})
	}
	w := newWorld()
	r := &Router{kernel: w}
	if _, err := r.SetPath(t.Context(), path("aaaaaaaaaaaa", "10.1.0.5", "10.1.1.0/24")); err != nil {
		t.Fatal(err)
	}
	w.calls = nil
	if _, err := r.SetPath(t.Context(), path("bbbbbbbbbbbb", "10.1.0.6", "10.1.2.0/24")); err != nil {
		t.Fatal(err)
	}
	removing := false
	for _, c := range w.calls {
		takes := strings.HasPrefix(c, "un") || strings.HasPrefix(c, "dis")
		if removing && !takes {
			t.Errorf("%q after something was removed: %v", c, w.calls)
		}
		removing = removing || takes
	}
	if !removing {
		t.Errorf("nothing was removed: %v", w.calls)
	}
	t.Run("an address that moves to another container is never without a route", func(t *testing.T) {
		w.calls = nil
		if _, err := r.SetPath(t.Context(), path("cccccccccccc", "10.1.0.6", "10.1.2.0/24")); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(w.calls, "unroute 10.1.0.6/32") || w.f.routes[netip.MustParsePrefix("10.1.0.6/32")].Link != "brtccccccccccc" {
			t.Errorf("%v", w.calls)
		}
	})
}

// While not everything is learned, what an earlier process has learned stays; a container's route goes all the same.
func TestSetPathKeepsRoutes(t *testing.T) {
	w := newWorld()
	r := &Router{kernel: w}
	a := netip.MustParseAddr("10.1.0.5")
	in := hostnet.PathInput{
		Pools:     []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/16")}},
		Endpoints: []hostnet.Endpoint{{ID: "aaaaaaaaaaaa", MAC: hostnet.MAC(a), Addresses: []netip.Addr{a}, Create: true}},
		Learned:   []hostnet.Learned{{Prefix: netip.MustParsePrefix("10.1.1.0/24"), Via: netip.MustParseAddr("192.0.2.9")}},
		Blocks:    []netip.Prefix{netip.MustParsePrefix("10.1.0.0/26")},
	}
	set := func(in hostnet.PathInput, want int) {
		t.Helper()
		if _, err := r.SetPath(t.Context(), hostnet.CompilePath(in, hostnet.Options{})); err != nil || len(w.f.routes) != want {
			t.Errorf("%v, %v", w.f.routes, err)
		}
	}
	set(in, 3)
	set(hostnet.PathInput{Partial: true}, 2)
	set(hostnet.PathInput{}, 0)
}

func TestSetPathGoesOnAfterAFailure(t *testing.T) {
	w := newWorld()
	r := &Router{kernel: w}
	five, six := netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("10.1.0.6")
	want := hostnet.CompilePath(hostnet.PathInput{Endpoints: []hostnet.Endpoint{
		{ID: "aaaaaaaaaaaa", MAC: hostnet.MAC(five), Addresses: []netip.Addr{five}, Create: true},
		{ID: "bbbbbbbbbbbb", MAC: hostnet.MAC(six), Addresses: []netip.Addr{six}, Create: true},
	}}, hostnet.Options{})
	for name, c := range map[string]struct{ broken, text string }{
		"a pair that cannot be made":              {"pair brtaaaaaaaaaaa", "make link brtaaaaaaaaaaa"},
		"a route that someone else has":           {"route 10.1.0.5/32", "set route 10.1.0.5/32"},
		"a link that cannot be given its gateway": {"gateway brtaaaaaaaaaaa 169.254.1.1", "add gateway 169.254.1.1 of brtaaaaaaaaaaa"},
	} {
		t.Run(name, func(t *testing.T) {
			w.broken = map[string]bool{c.broken: true}
			defer func() { w.broken = nil }()
			w.lose("brtaaaaaaaaaaa")
			out, err := r.SetPath(t.Context(), want)
			if err == nil || !strings.Contains(err.Error(), c.text) || out.Failed["brtaaaaaaaaaaa"] == "" {
				t.Errorf("%v, %v", out, err)
			}
			if len(out.Failed) != 1 || w.f.routes[netip.MustParsePrefix("10.1.0.6/32")].Link == "" {
				t.Errorf("the other: %v, %v", out, w.f.routes)
			}
		})
	}
}
