package netplugin

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/go-plugins-helpers/ipam"
	"github.com/sirupsen/logrus/hooks/test"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

var blue = spec.Pool{Name: "blue", CIDR: netip.MustParsePrefix("10.1.0.0/24")}

func box(id, name, addr string, labels map[string]string) docker.Container {
	return docker.Container{ID: id, Name: name, Running: true, Labels: labels, Addresses: map[string]netip.Addr{"blue": netip.MustParseAddr(addr)}}
}

// world is a plugin with an inventory that the test sets.
type world struct {
	t   *testing.T
	inv watch.Value[docker.Snapshot]
	p   *Plugin
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	log, _ := test.NewNullLogger()
	p, err := New(Options{Name: "berth-test", Dir: t.TempDir(), Inventory: &w.inv, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	p.Set(State{Pools: []spec.Pool{blue}, Host: map[netip.Addr]string{netip.MustParseAddr("10.1.0.7"): "this host's own interface eth0"}})
	w.p = p
	w.see(true)
	return w
}

func (w *world) see(connected bool, boxes ...docker.Container) {
	w.inv.Set(docker.Snapshot{Connected: connected, Containers: boxes})
	s, _ := w.inv.Get()
	w.p.book.sweep(s, time.Now(), time.Minute)
}

// call speaks the protocol; the result is the answer or the refusal.
func (w *world) call(method string, q any) (answer string, refusal string) {
	w.t.Helper()
	body, err := json.Marshal(q)
	if err != nil {
		w.t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	w.p.Handler().ServeHTTP(rec, httptest.NewRequest("POST", method, bytes.NewReader(body)))
	var e ipam.ErrorResponse
	if rec.Code != 200 {
		if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || e.Err == "" {
			w.t.Fatalf("%s: %d without a text: %s", method, rec.Code, rec.Body)
		}
	}
	return strings.TrimSpace(rec.Body.String()), e.Err
}

func (w *world) address(a string) (string, string) {
	w.t.Helper()
	return w.call("/IpamDriver.RequestAddress", ipam.RequestAddressRequest{PoolID: "blue", Address: a})
}

func (w *world) granted(a string) {
	w.t.Helper()
	if got, refusal := w.address(a); refusal != "" || !strings.Contains(got, a+"/24") {
		w.t.Fatalf("%s: got %s, refused: %s", a, got, refusal)
	}
}

func (w *world) refused(a, text string) {
	w.t.Helper()
	if got, refusal := w.address(a); !strings.Contains(refusal, text) {
		w.t.Fatalf("%s: got %s, want a refusal with %q", a, got, text)
	}
}

func (w *world) release(a string) {
	w.t.Helper()
	if _, refusal := w.call("/IpamDriver.ReleaseAddress", ipam.ReleaseAddressRequest{PoolID: "blue", Address: a}); refusal != "" {
		w.t.Fatal(refusal)
	}
}

func TestPools(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		q       ipam.RequestPoolRequest
		refusal string
	}{
		"ours":     {ipam.RequestPoolRequest{Pool: "10.1.0.0/24"}, ""},
		"foreign":  {ipam.RequestPoolRequest{Pool: "10.2.0.0/24"}, "10.2.0.0/24 is not one of Berth's pools: blue 10.1.0.0/24"},
		"part":     {ipam.RequestPoolRequest{Pool: "10.1.0.0/25"}, "not one of"},
		"none":     {ipam.RequestPoolRequest{}, "--subnet"},
		"range":    {ipam.RequestPoolRequest{Pool: "10.1.0.0/24", SubPool: "10.1.0.0/28"}, "--ip-range"},
		"IPv6":     {ipam.RequestPoolRequest{Pool: "fd00::/64", V6: true}, "IPv6"},
		"nonsense": {ipam.RequestPoolRequest{Pool: "blue"}, "not a network"},
	} {
		t.Run(name, func(t *testing.T) {
			got, refusal := w.call("/IpamDriver.RequestPool", c.q)
			if c.refusal == "" && (refusal != "" || !strings.Contains(got, `"PoolID":"blue"`)) {
				t.Errorf("got %s", got)
			}
			if !strings.Contains(refusal, c.refusal) {
				t.Errorf("got %q, want %q", refusal, c.refusal)
			}
		})
	}
}

func TestGateway(t *testing.T) {
	w := newWorld(t)
	options := map[string]string{addressType: gatewayType}
	for _, a := range []string{"", "10.1.0.1"} {
		if got, _ := w.call("/IpamDriver.RequestAddress", ipam.RequestAddressRequest{PoolID: "blue", Address: a, Options: options}); !strings.Contains(got, "10.1.0.1/24") {
			t.Errorf("%q: got %s", a, got)
		}
	}
	if _, refusal := w.call("/IpamDriver.RequestAddress", ipam.RequestAddressRequest{PoolID: "blue", Address: "10.1.0.2", Options: options}); !strings.Contains(refusal, "10.1.0.1, not 10.1.0.2") {
		t.Errorf("got %q", refusal)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.see(true, box("c1", "debug", "10.1.0.5", nil), box("c2", "mesos-1", "10.1.0.6", map[string]string{spec.LabelTask: "web.1"}))
	for a, text := range map[string]string{
		"":           "name one with --ip; addresses of pool blue are leased by Berth's scheduler",
		"10.2.0.1":   "outside pool blue (10.1.0.0/24)",
		"10.1.0.0":   "network itself",
		"10.1.0.1":   "gateway",
		"10.1.0.255": "broadcast",
		"10.1.0.5":   `held by container "debug"`,
		"10.1.0.6":   `held by task web.1 (container "mesos-1")`,
		"10.1.0.7":   "this host's own interface eth0",
		"ten":        "is not an address",
	} {
		t.Run(a, func(t *testing.T) { w.t = t; w.refused(a, text) })
	}
	if _, refusal := w.call("/IpamDriver.RequestAddress", ipam.RequestAddressRequest{PoolID: "green", Address: "10.1.0.9"}); !strings.Contains(refusal, `"green" is not one of`) {
		t.Errorf("got %q", refusal)
	}
}

func TestAddressIsUsedOnce(t *testing.T) {
	w := newWorld(t)
	w.granted("10.1.0.10")
	w.refused("10.1.0.10", "just being started")
	w.see(true, box("a", "one", "10.1.0.10", nil))
	w.refused("10.1.0.10", `container "one"`)
	w.release("10.1.0.10") // the inventory still shows it
	w.granted("10.1.0.10")
	w.see(true, box("b", "two", "10.1.0.10", nil))
	w.refused("10.1.0.10", `container "two"`)
	w.release("10.1.0.10")
	w.release("10.1.0.10")
	w.granted("10.1.0.10")
}

// A daemon that restarts asks again for what its containers hold, while the inventory is not connected.
func TestDaemonRestart(t *testing.T) {
	w := newWorld(t)
	w.granted("10.1.0.10")
	one := box("a", "one", "10.1.0.10", nil)
	w.see(true, one)
	w.see(false, one)
	w.refused("10.1.0.10", `container "one"`) // the old daemon
	w.call("/Plugin.Activate", nil)
	w.granted("10.1.0.10")
	w.refused("10.1.0.10", `container "one"`) // a container with a restart policy
	w.see(true, one)
	w.refused("10.1.0.10", `container "one"`)
}

// An inventory that has only lost its connection still knows who runs: no daemon has started, so nobody asks again.
func TestLostConnection(t *testing.T) {
	w := newWorld(t)
	one := box("a", "one", "10.1.0.10", nil) // granted before this process began
	w.see(true, one)
	w.see(false, one)
	w.refused("10.1.0.10", `container "one"`)
	w.granted("10.1.0.11")
	w.release("10.1.0.10")
	w.granted("10.1.0.10")
}

// The plugin is also activated by a daemon that has long been up and makes its first network of ours; that is no replay.
func TestActivatedLate(t *testing.T) {
	w := newWorld(t)
	one := box("a", "one", "10.1.0.10", nil)
	w.see(true, one)
	w.call("/Plugin.Activate", nil)
	w.see(false, one)
	w.refused("10.1.0.10", `container "one"`)
}

// A replay ends when the inventory connects, also when nobody asked in between.
func TestReplayEnds(t *testing.T) {
	w := newWorld(t)
	one := box("a", "one", "10.1.0.10", nil)
	w.see(false)
	w.call("/Plugin.Activate", nil)
	w.see(true, one)
	w.see(false, one)
	w.refused("10.1.0.10", `container "one"`)
}

// Before the first inventory a request waits for it; what needs no inventory does not.
func TestFirstInventory(t *testing.T) {
	began := func(t *testing.T) *world {
		w := newWorld(t)
		w.p.book = newBook()
		w.p.Set(State{Pools: []spec.Pool{blue}})
		w.inv.Set(docker.Snapshot{})
		return w
	}
	one := box("a", "one", "10.1.0.10", nil)
	for name, c := range map[string]struct {
		do   func(w *world)
		took time.Duration
	}{
		"it comes": {func(w *world) {
			time.AfterFunc(time.Second, func() { w.see(true, one) })
			w.refused("10.1.0.10", `container "one"`)
			w.granted("10.1.0.11")
		}, time.Second},
		"it does not come": {func(w *world) { w.refused("10.1.0.10", "does not know yet which containers run") }, hold},
		"release":          {func(w *world) { w.release("10.1.0.10") }, 0},
		"gateway": {func(w *world) {
			q := ipam.RequestAddressRequest{PoolID: "blue", Options: map[string]string{addressType: gatewayType}}
			if _, refusal := w.call("/IpamDriver.RequestAddress", q); refusal != "" {
				w.t.Error(refusal)
			}
		}, 0},
		"a daemon that starts": {func(w *world) {
			w.call("/Plugin.Activate", nil)
			w.granted("10.1.0.10")
			w.refused("10.1.0.10", "just being started")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, start := began(t), time.Now()
				c.do(w)
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
			})
		})
	}
}

func TestGrantIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.granted("10.1.0.10")
	snap, _ := w.inv.Get()
	now := time.Now()
	if got := w.p.book.sweep(snap, now.Add(30*time.Second), time.Minute); len(got) > 0 {
		t.Errorf("dropped %v too early", got)
	}
	snap.Connected = false
	if got := w.p.book.sweep(snap, now.Add(time.Hour), time.Minute); len(got) > 0 {
		t.Errorf("dropped %v although the inventory is blind", got)
	}
	snap.Connected = true
	if got := w.p.book.sweep(snap, now.Add(2*time.Minute), time.Minute); len(got) != 1 {
		t.Errorf("dropped %v", got)
	}
	w.granted("10.1.0.10")
}

// In any order of Docker's calls and the inventory's news, no address ever has two owners.
func TestNeverTwoOwners(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBook()
		b.set(State{Pools: []spec.Pool{blue}})
		owners := map[netip.Addr]string{} // what Docker truly has
		now, serial := time.Unix(1e9, 0), 0
		seen := docker.Snapshot{Connected: true} // what the inventory shows; it lags
		b.sweep(seen, now, time.Minute)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			a := netip.AddrFrom4([4]byte{10, 1, 0, byte(rapid.IntRange(10, 12).Draw(rt, "address"))})
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0:
				err := b.request(blue, a, seen, now)
				if err == nil && owners[a] != "" {
					rt.Fatalf("%v given away while %s has it", a, owners[a])
				}
				if err == nil {
					serial++
					owners[a] = string(rune('a' + serial))
				}
			case 1:
				if owners[a] != "" {
					delete(owners, a)
					b.release(a, seen)
				}
			case 2:
				seen = docker.Snapshot{Connected: true}
				for a, id := range owners {
					seen.Containers = append(seen.Containers, box(id, id, a.String(), nil))
				}
				now = now.Add(time.Second)
				b.sweep(seen, now, time.Minute)
			case 3:
				seen.Connected = false
			case 4: // the daemon starts anew, and asks again for all that runs on
				seen.Connected = false
				b.reset(seen)
				for a := range owners {
					if err := b.request(blue, a, seen, now); err != nil {
						rt.Fatalf("a container that runs on: %v", err)
					}
				}
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"PoolID":"blue","Address":"10.1.0.9","Options":null}`))
	f.Add([]byte(`{"Address":3}`))
	log, _ := test.NewNullLogger()
	var inv watch.Value[docker.Snapshot]
	inv.Set(docker.Snapshot{Connected: true})
	p, err := New(Options{Name: "x", Inventory: &inv, Log: log})
	if err != nil {
		f.Fatal(err)
	}
	p.Set(State{Pools: []spec.Pool{blue}})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, m := range []string{"RequestPool", "ReleasePool", "RequestAddress", "ReleaseAddress"} {
			rec := httptest.NewRecorder()
			p.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/IpamDriver."+m, bytes.NewReader(body)))
			if !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s: answer %q is not JSON", m, rec.Body)
			}
		}
	})
}
