package netplugin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/router/routertest"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// routedHost is the plugin with a host's network in memory, whose owner sets what the plugin wants.
type routedHost struct {
	*Plugin
	t      *testing.T
	router *routertest.Fake
	file   string
	stop   context.CancelFunc
}

func newRoutedHost(t *testing.T, file string, r *routertest.Fake) *routedHost {
	t.Helper()
	log, _ := test.NewNullLogger()
	var inv watch.Value[docker.Snapshot]
	inv.Set(docker.Snapshot{Connected: true})
	p, err := New(Options{Name: "berth", Inventory: &inv, Log: log, Journal: file, Found: r.Endpoints})
	if err != nil {
		t.Fatal(err)
	}
	p.Set(State{Pools: []spec.Pool{blue}, Blocks: []netip.Prefix{netip.PrefixFrom(blue.CIDR.Addr(), 30)}})
	ctx, cancel := context.WithCancel(t.Context())
	h := &routedHost{Plugin: p, t: t, router: r, file: file, stop: cancel}
	go h.own(ctx)
	return h
}

// own is the owner's loop.
func (h *routedHost) own(ctx context.Context) {
	for {
		e, changed := h.Endpoints()
		out, err := h.router.SetPath(ctx, hostnet.CompilePath(hostnet.PathInput{Endpoints: e.List}, hostnet.Options{}))
		h.Settle(Settled{Version: e.Version, Failed: out.Failed, Missing: out.Missing, Err: err})
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// ask sends a request as Docker does; the answer is its JSON text.
func (h *routedHost) ask(method, body string) string {
	rec := httptest.NewRecorder()
	h.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/NetworkDriver."+method, strings.NewReader(body)))
	return strings.TrimSpace(rec.Body.String())
}

func (h *routedHost) want(method, body, want string) {
	h.t.Helper()
	if got := h.ask(method, body); !strings.Contains(got, want) {
		h.t.Errorf("%s %s: got %s, want %s", method, body, got, want)
	}
}

// routes are the containers' addresses that are routed.
func (h *routedHost) routes() string {
	var out []string
	for _, r := range h.router.Path().Routes {
		out = append(out, r.Prefix.Addr().String())
	}
	return strings.Join(out, " ")
}

const (
	first  = `"NetworkID":"n1","EndpointID":"aaaaaaaaaaaa1111"`
	second = `"NetworkID":"n1","EndpointID":"bbbbbbbbbbbb1111"`
)

func TestNetworkDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "endpoints.json")
		h := newRoutedHost(t, file, &routertest.Fake{})
		defer func() { h.stop() }()
		for _, s := range []struct{ method, body, want, routes string }{
			{"GetCapabilities", `{}`, `"Scope":"local"`, ""},
			{"CreateNetwork", `{"NetworkID":"n1","IPv4Data":[{"Pool":"` + blue.CIDR.String() + `"}]}`, `{}`, ""},
			{"CreateNetwork", `{"NetworkID":"n2","IPv4Data":[{"Pool":"192.168.0.0/16"}]}`, "not one of Berth's pools", ""},
			{"CreateNetwork", `{"NetworkID":"n2","IPv4Data":[]}`, "needs one --subnet", ""},
			{"CreateEndpoint", `{` + first + `,"Interface":{"Address":"10.1.0.9/32"}}`, `"MacAddress":"02:42:0a:01:00:09"`, ""},
			{"CreateEndpoint", `{` + first + `,"Interface":{"Address":"10.1.0.9/32","MacAddress":"02:00:00:00:00:01"}}`, `{"Interface":null}`, ""},
			{"CreateEndpoint", `{` + first + `,"Interface":{"Address":"10.1.0.9/32"},"Options":{"berth.ingress":"fast"}}`, "fast", ""},
			{"CreateEndpoint", `{` + first + `,"Interface":{"Address":"10.1.0.9/32"},"Options":{"berth.egress":"slow"}}`, "option berth.egress", ""},
			{"CreateEndpoint", `{` + first + `,"Interface":{"Address":"10.1.0.9/32"},"Options":{"berth.ingress":"10Mbit","berth.egress":"5Mbit"}}`, `02:42`, ""},
			{"CreateEndpoint", `{` + second + `,"Interface":{"Address":"nowhere"}}`, "none", ""},
			{"CreateEndpoint", `{` + second + `}`, "no interface", ""},
			{"CreateEndpoint", `{"EndpointID":"../../x","Interface":{"Address":"10.1.0.9/32"}}`, "hexadecimal", ""},
			{"Join", `{` + second + `}`, "not known", ""},
			{"Join", `{` + first + `,"SandboxKey":"/netns/1"}`, `"SrcName":"brpaaaaaaaaaaa","DstPrefix":"eth"},"Gateway":"169.254.1.1"`, "10.1.0.9"},
			{"Join", `{` + first + `,"SandboxKey":"/netns/1"}`, `"Destination":"169.254.1.1/32","RouteType":1`, "10.1.0.9"}, // Docker asks again
			{"EndpointOperInfo", `{` + first + `}`, `"berth.link":"brtaaaaaaaaaaa"`, "10.1.0.9"},
			{"EndpointOperInfo", `{` + second + `}`, `{"Value":{}}`, "10.1.0.9"},
			{"CreateEndpoint", `{` + first + `,"Interface":{"Address":"10.1.0.7/32"}}`, "has joined", "10.1.0.9"},
			{"CreateEndpoint", `{` + second + `,"Interface":{"Address":"10.1.0.9/32"}}`, "is on endpoint aaaaaaaaaaaa", "10.1.0.9"},
			{"ProgramExternalConnectivity", `{` + first + `,"Options":{"com.docker.network.portmap":[]}}`, `{}`, "10.1.0.9"},
			{"RevokeExternalConnectivity", `{` + first + `}`, `{}`, "10.1.0.9"},
			{"DiscoverNew", `{"DiscoveryType":1,"DiscoveryData":{}}`, `{}`, "10.1.0.9"},
			{"Leave", `{` + second + `}`, `{}`, "10.1.0.9"},
			{"Leave", `{"EndpointID":"x"}`, `{}`, "10.1.0.9"},
			{"Leave", `{` + first + `}`, `{}`, ""},
			{"Leave", `{` + first + `}`, `{}`, ""},
			{"CreateEndpoint", `{` + second + `,"Interface":{"Address":"10.1.0.9/32"}}`, "02:42", ""}, // the first has left, and makes way
			{"Join", `{` + second + `}`, `"SrcName":"brpbbbbbbbbbbb"`, "10.1.0.9"},
			{"Join", `{` + first + `}`, "not known", "10.1.0.9"},
			{"DeleteEndpoint", `{` + first + `}`, `{}`, "10.1.0.9"},
			{"DeleteEndpoint", `{` + second + `}`, `{}`, ""},
			{"DeleteNetwork", `{"NetworkID":"n1"}`, `{}`, ""},
			{"DeleteNetwork", `{"NetworkID":"n1"}`, `{}`, ""},
		} {
			h.want(s.method, s.body, s.want)
			if got := h.routes(); got != s.routes {
				t.Errorf("after %s %s: routes %q, want %q", s.method, s.body, got, s.routes)
			}
		}
	})
}

// In a pool with IPv6 a container gets the twin of its address, too; Docker is not asked for one.
func TestTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRoutedHost(t, filepath.Join(t.TempDir(), "endpoints.json"), &routertest.Fake{})
		defer func() { h.stop() }()
		both := blue
		both.CIDR6 = netip.MustParsePrefix("fd00:88::/64")
		h.Set(State{Pools: []spec.Pool{both}})
		for _, s := range []struct{ method, body, want string }{
			{"CreateEndpoint", `{` + first + `,"Interface":{"Address":"10.1.0.9/32"}}`, `{"Interface":{"Address":"","AddressIPv6":"fd00:88::9/128","MacAddress":"02:42:0a:01:00:09"}}`},
			{"CreateEndpoint", `{` + first + `,"Interface":{"Address":"10.1.0.9/32","MacAddress":"02:00:00:00:00:01"}}`, `{"Interface":{"Address":"","AddressIPv6":"fd00:88::9/128","MacAddress":""}}`},
			{"Join", `{` + first + `}`, `"Gateway":"169.254.1.1","GatewayIPv6":"fe80::1"`},
			{"CreateEndpoint", `{` + second + `,"Interface":{"Address":"10.1.0.8/32","AddressIPv6":"fd00:88::9/128"}}`, "address fd00:88::9 is on endpoint aaaaaaaaaaaa"},
			{"CreateEndpoint", `{` + second + `,"Interface":{"Address":"10.1.0.8/32","AddressIPv6":"fd00:88::7/128"}}`, `"AddressIPv6":"",`},
		} {
			h.want(s.method, s.body, s.want)
		}
		if got := h.routes(); got != "10.1.0.9 fd00:88::9" {
			t.Errorf("routes %q", got)
		}
	})
}

// A container is not told to go on before its network is there, and not when it cannot be.
func TestJoinFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRoutedHost(t, filepath.Join(t.TempDir(), "endpoints.json"), &routertest.Fake{})
		h.want("CreateEndpoint", `{`+first+`,"Interface":{"Address":"10.1.0.9/32"}}`, "02:42")
		h.router.Fail(os.ErrPermission)
		h.want("Join", `{`+first+`}`, "permission denied")
		h.router.Fail(nil)
		h.want("Join", `{`+first+`}`, "brpaaaaaaaaaaa")
		h.stop() // nobody makes networks any more
		synctest.Wait()
		h.want("CreateEndpoint", `{`+second+`,"Interface":{"Address":"10.1.0.8/32"}}`, "02:42")
		began := time.Now()
		h.want("Join", `{`+second+`}`, "did not settle in time")
		h.want("Leave", `{`+first+`}`, "{}")
		if took := time.Since(began); took != 2*settle {
			t.Errorf("Docker waited %v", took)
		}
	})
}

// After its own end, however it came, the plugin knows the endpoints again: from the journal, or from the kernel.
func TestRecovery(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(file string) error
		boot   bool // the machine started anew
		routes string
	}{
		"journal": {func(string) error { return nil }, false, "10.1.0.9"},
		"lost":    {os.Remove, false, "10.1.0.9"},
		"broken": {func(f string) error {
			return os.WriteFile(f, []byte(`{"Schema":1,"Endpoints":{"eth0":{"ID":"x"}}}`), 0o600)
		}, false, "10.1.0.9"},
		"of a reboot":   {func(f string) error { return replaceIn(f, bootID(), "another") }, true, ""},
		"of the future": {func(f string) error { return replaceIn(f, `"Schema":1`, `"Schema":2`) }, false, "10.1.0.9"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "endpoints.json")
				r := &routertest.Fake{}
				h := newRoutedHost(t, file, r)
				h.want("CreateNetwork", `{"NetworkID":"n1","IPv4Data":[{"Pool":"`+blue.CIDR.String()+`"}]}`, `{}`)
				h.want("CreateEndpoint", `{`+first+`,"Interface":{"Address":"10.1.0.9/32"}}`, "02:42")
				h.want("Join", `{`+first+`}`, "brpaaaaaaaaaaa")
				h.stop()
				synctest.Wait()
				if err := c.spoil(file); err != nil {
					t.Fatal(err)
				}
				if c.boot {
					r = &routertest.Fake{}
				}
				h = newRoutedHost(t, file, r)
				defer func() { h.stop() }()
				synctest.Wait()
				if got := h.routes(); got != c.routes {
					t.Errorf("routes %q, want %q", got, c.routes)
				}
				h.want("Leave", `{`+first+`}`, "{}")
				h.want("DeleteEndpoint", `{`+first+`}`, "{}")
				if got := h.routes(); got != "" {
					t.Errorf("after its end: routes %q", got)
				}
			})
		})
	}
}

func replaceIn(file, old, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, bytes.ReplaceAll(b, []byte(old), []byte(text)), 0o600)
}

// A container that ended while nobody listened: its link is gone, or Docker has left the other end on the host.
func TestEndedUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRoutedHost(t, filepath.Join(t.TempDir(), "endpoints.json"), &routertest.Fake{})
		defer func() { h.stop() }()
		link, _, _ := hostnet.LinkNames("aaaaaaaaaaaa1111")
		join := func() {
			t.Helper()
			h.want("CreateEndpoint", `{`+first+`,"Interface":{"Address":"10.1.0.9/32"}}`, "02:42")
			h.want("Join", `{`+first+`}`, "brpaaaaaaaaaaa")
		}
		known := func() bool { return len(h.journal.endpoints()) > 0 }
		join()
		h.router.End(link)
		h.publish()
		synctest.Wait()
		if known() {
			t.Error("the endpoint of a link that is gone is kept")
		}
		join()
		idle := func() {
			synctest.Wait() // one owner at a time
			e, _ := h.Endpoints()
			h.Settle(Settled{Version: e.Version, Idle: []string{link}})
		}
		idle()
		time.Sleep(idleAfter)
		idle()
		if !known() {
			t.Error("Docker may still be moving the interface")
		}
		time.Sleep(time.Second)
		idle()
		if known() {
			t.Error("a link that leads nowhere is kept")
		}
		join()
		idle()
		h.want("CreateEndpoint", `{`+second+`,"Interface":{"Address":"10.1.0.9/32"}}`, "02:42") // its address is granted anew: no need to wait
	})
}

// Containers that name no address get one of the host's block that nobody has, the last one used last.
func TestPick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRoutedHost(t, filepath.Join(t.TempDir(), "endpoints.json"), &routertest.Fake{})
		defer func() { h.stop() }()
		ask := func() string {
			rec := httptest.NewRecorder()
			h.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/IpamDriver.RequestAddress", strings.NewReader(`{"PoolID":"blue"}`)))
			var a struct{ Address, Err string }
			if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
			return a.Address + a.Err
		}
		h.Set(State{
			Pools: []spec.Pool{blue}, Blocks: []netip.Prefix{netip.MustParsePrefix("10.1.0.8/30"), netip.MustParsePrefix("10.1.0.0/30"), netip.MustParsePrefix("10.9.0.0/30")},
			Taken: []netip.Prefix{netip.MustParsePrefix("10.1.0.9/32")},
		})
		var got []string
		for range 5 { // without the network, its gateway, and the seat's
			got = append(got, ask())
		}
		if want := []string{"10.1.0.2/32", "10.1.0.3/32", "10.1.0.8/32", "10.1.0.10/32", "10.1.0.11/32"}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		if text := ask(); !strings.Contains(text, "are in use") {
			t.Error(text)
		}
		h.book.release(netip.MustParseAddr("10.1.0.3"), docker.Snapshot{})
		h.book.release(netip.MustParseAddr("10.1.0.8"), docker.Snapshot{})
		if a := ask(); a != "10.1.0.3/32" { // around again
			t.Error(a)
		}
	})
}

func FuzzNetworkDriver(f *testing.F) {
	f.Add([]byte(`{"NetworkID":"n1","EndpointID":"aaaaaaaaaaaa1111","Interface":{"Address":"10.1.0.9/32"},"Options":{"berth.ingress":"1Mbit"}}`))
	f.Add([]byte(`{"NetworkID":3}`))
	f.Add([]byte(`{"NetworkID":"n1","IPv4Data":[null]}`))
	log, _ := test.NewNullLogger()
	var inv watch.Value[docker.Snapshot]
	p, err := New(Options{Name: "x", Inventory: &inv, Log: log, Journal: filepath.Join(f.TempDir(), "j"), Found: (&routertest.Fake{}).Endpoints})
	if err != nil {
		f.Fatal(err)
	}
	p.Set(State{Pools: []spec.Pool{blue}})
	f.Fuzz(func(t *testing.T, body []byte) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nobody waits for a network here
		for _, m := range []string{"CreateNetwork", "CreateEndpoint", "Join", "EndpointOperInfo", "Leave", "DeleteEndpoint", "DeleteNetwork"} {
			rec := httptest.NewRecorder()
			p.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/NetworkDriver."+m, bytes.NewReader(body)).WithContext(ctx))
			if !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s: answer %q is not JSON", m, rec.Body)
			}
		}
	})
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"Schema":1,"Endpoints":{"brtaaaaaaaaaaa":{"ID":"aaaaaaaaaaaa1111","Addresses":["10.1.0.9"],"Joined":true}}}`))
	f.Add([]byte(`{"Schema":1,"Endpoints":{"x":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeJournal(b)
		if err != nil {
			return
		}
		for link, e := range d.Endpoints {
			if !strings.HasPrefix(link, hostnet.LinkPrefix) || len(link) > 15 || e == nil {
				t.Errorf("link %q", link)
			}
		}
	})
}
