//go:build integration

package bgp

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// contextOf is the process's life: the caller ends it when its standard input does.
func contextOf(io.Reader) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

const (
	routerAS = 65000
	hostAS   = 64512
	secret   = "correct horse"
)

// birdConfig is a router that peers with the host, for both families.
func birdConfig(host *machine, password string, restart int, more string) string {
	var out strings.Builder
	out.WriteString("protocol static s4 { ipv4; route 10.99.0.0/24 blackhole; }\nprotocol static s6 { ipv6; route 2001:db8:99::/64 blackhole; }\n" + more)
	for family, addr := range map[string]netip.Addr{"4": host.v4, "6": host.v6} {
		fmt.Fprintf(&out, `
protocol bgp host%s {
	local as %d;
	neighbor %s as %d;
	password "%s";
	hold time 9;
	connect retry time 2;
	connect delay time 1;
	error wait time 1, 2;
	graceful restart on;
	graceful restart time %d;
	ipv%s { import all; export all; };
}
`, family, routerAS, addr, hostAS, password, restart, family)
	}
	return out.String()
}

// toRouter is the host's side.
func toRouter(router *machine, password string) Config {
	c := Config{AS: hostAS}
	for _, a := range []netip.Addr{router.v4, router.v6} {
		c.Peers = append(c.Peers, Peer{Name: "tor", Address: a, AS: routerAS, Password: password, RestartTime: 20 * time.Second, Router: true})
	}
	return c
}

const fromBird = "10.99.0.0/24[192.0.2.1] 2001:db8:99::/64[2001:db8::1]"

func TestBirdSession(t *testing.T) {
	w := newWorld(t)
	router, host := w.machine(), w.machine()
	b, s := router.bird(birdConfig(host, secret, 20, "")), host.speaker()

	c := toRouter(router, "wrong")
	s.set(c, "10.88.1.0/26", "10.88.9.9/32", "2001:db8:88::/122")
	w.until(20*time.Second, "the wrong password is told", func() bool { return strings.Contains(s.session(router.v4).LastError, "is the password the same") })
	if x := s.session(router.v4); x.State == established {
		t.Errorf("a session with the wrong password: %+v", x)
	}

	c = toRouter(router, secret)
	s.set(c, "10.88.1.0/26", "10.88.9.9/32", "2001:db8:88::/122")
	s.learns(8*time.Second, fromBird)
	w.until(5*time.Second, "bird learns", func() bool {
		return b.has("10.88.1.0/26") && b.has("10.88.9.9/32") && b.has("2001:db8:88::/122")
	})
	if out := b.ask("show", "route", "all", "10.88.9.9/32"); !strings.Contains(out, "BGP.next_hop: "+host.v4.String()) {
		t.Error("the next hop is not the host:\n" + out)
	}
	if out := b.ask("show", "protocols", "all", "host4"); !strings.Contains(out, "Restart time: 20") || !strings.Contains(out, "/9") {
		t.Error("other timers than those wanted:\n" + out)
	}
	if x := s.session(router.v4); x.State != established || x.Received != 1 || x.Sent != 2 || x.LastError != "" || time.Since(x.Since) > time.Minute {
		t.Errorf("session %+v", x)
	}

	since := s.session(router.v4).Since
	s.set(c, "10.88.1.0/26", "10.88.9.10/32", "2001:db8:88::/122")
	w.until(5*time.Second, "the change reaches bird", func() bool { return b.has("10.88.9.10/32") && !b.has("10.88.9.9/32") })
	c.Peers = c.Peers[:1]
	s.set(c, "10.88.1.0/26", "10.88.9.10/32", "2001:db8:88::/122")
	s.learns(5*time.Second, "10.99.0.0/24[192.0.2.1]")
	w.until(5*time.Second, "the removed peer forgets", func() bool { return !b.has("2001:db8:88::/122") })
	if got := s.session(router.v4).Since; !got.Equal(since) {
		t.Error("a session that nothing changed was touched")
	}
	if out := w.run("ip", "netns", "exec", host.ns, "ss", "-Hlnt", "sport", "=", ":179"); strings.Contains(out, "127.0.0.1") || !strings.Contains(out, ":179") {
		t.Error("listens on", out)
	}
	// A password that is taken away is taken off the listening socket: bird must be able to connect, as port 1 leads nowhere.
	b.kill()
	b.reconfigure(strings.NewReplacer(fmt.Sprintf("password %q;", secret), ""))
	b.start()
	c.Peers[0].Password, c.Peers[0].Port = "", 1
	s.set(c, "10.88.1.0/26")
	w.until(20*time.Second, "a session without password", func() bool { return s.session(router.v4).State == established })
	s.learns(5*time.Second, "10.99.0.0/24[192.0.2.1]")

	s.set(Config{})
	s.learns(5*time.Second, "")
}

// TestTwoRouters: equal ways are all learned, and what one router says is not passed on to the other.
func TestTwoRouters(t *testing.T) {
	w := newWorld(t)
	r1, r2, host := w.machine(), w.machine(), w.machine()
	b1 := r1.bird(birdConfig(host, secret, 20, "protocol static own { ipv4; route 10.98.1.0/24 blackhole; }\n"))
	b2 := r2.bird(strings.ReplaceAll(birdConfig(host, secret, 20, "protocol static own { ipv4; route 10.98.2.0/24 blackhole; }\n"), "65000", "65001"))
	s := host.speaker()
	c := toRouter(r1, secret)
	c.Peers = append(c.Peers, toRouter(r2, secret).Peers...)
	c.Peers[2].AS, c.Peers[3].AS = routerAS+1, routerAS+1
	s.set(c, "10.88.1.0/26")
	s.learns(20*time.Second, "10.98.1.0/24[192.0.2.1] 10.98.2.0/24[192.0.2.2] 10.99.0.0/24[192.0.2.1 192.0.2.2] 2001:db8:99::/64[2001:db8::1 2001:db8::2]")
	w.until(5*time.Second, "both learn", func() bool { return b1.has("10.88.1.0/26") && b2.has("10.88.1.0/26") })
	w.always(time.Second, "the host is no transit", func() bool { return !b1.has("10.98.2.0/24") && !b2.has("10.98.1.0/24") })

	s.set(c, "10.88.1.0/26", "10.99.0.0/24") // what the host announces itself is not learned
	s.learns(5*time.Second, "10.98.1.0/24[192.0.2.1] 10.98.2.0/24[192.0.2.2] 2001:db8:99::/64[2001:db8::1 2001:db8::2]")
}

// TestBirdDies: routes of a router that restarts stay for the time that it asked for, and no longer.
func TestBirdDies(t *testing.T) {
	w := newWorld(t)
	router, host := w.machine(), w.machine()
	b, s := router.bird(birdConfig(host, secret, 6, "")), host.speaker()
	s.set(toRouter(router, secret), "10.88.1.0/26")
	s.learns(8*time.Second, fromBird)

	b.kill()
	w.until(5*time.Second, "the speaker notices", func() bool { return s.session(router.v4).Kept })
	b.start()
	w.always(8*time.Second, "routes stay while bird restarts", func() bool { return s.routes() == fromBird })
	w.until(5*time.Second, "bird learns again", func() bool { return b.has("10.88.1.0/26") })
	if x := s.session(router.v4); x.Kept || x.State != established {
		t.Errorf("session %+v", x)
	}

	b.kill()
	start := time.Now()
	w.always(4*time.Second, "routes stay for the restart time", func() bool { return s.routes() == fromBird })
	s.learns(10*time.Second, "")
	t.Logf("bird asked for 6s of grace; its routes were gone after %s", time.Since(start).Round(100*time.Millisecond))
	if x := s.session(router.v4); x.Kept {
		t.Errorf("session %+v", x)
	}
}

// TestSilence: what dies without a word, or is cut off, is gone on both sides when the hold time is over, although both would help
// the other to restart for much longer.
func TestSilence(t *testing.T) {
	w := newWorld(t)
	router, host := w.machine(), w.machine()
	b, s := router.bird(birdConfig(host, secret, 120, "")), host.speaker()
	s.set(toRouter(router, secret), "10.88.1.0/26")
	s.learns(8*time.Second, fromBird)
	w.until(5*time.Second, "bird learns", func() bool { return b.has("10.88.1.0/26") })

	router.cut()
	var here, there time.Duration
	start := time.Now()
	w.until(12*time.Second, "routes go on both sides", func() bool {
		if here == 0 && s.routes() == "" {
			here = time.Since(start)
		}
		if there == 0 && !b.has("10.88.1.0/26") {
			there = time.Since(start)
		}
		return here > 0 && there > 0
	})
	t.Logf("hold time %s: gone after %s here, %s in bird", HoldTime, here.Round(100*time.Millisecond), there.Round(100*time.Millisecond))
	if least, most := HoldTime-HoldTime/3-time.Second, HoldTime+time.Second; here < least || there < least || here > most || there > most {
		t.Errorf("not between %s and %s", least, most)
	}
	if x := s.session(router.v4); !strings.Contains(x.LastError, "hold time") && !strings.Contains(x.LastError, "no answer") && !strings.Contains(x.LastError, "no route") {
		t.Errorf("session %+v", x)
	}
	w.run("ip", "-n", w.name+"sw", "link", "set", router.port, "master", "br0")
	s.learns(8*time.Second, fromBird)
}

// TestSpeakerRestarts: bird keeps the routes of a speaker that is killed or stopped, and takes what the next one says.
func TestSpeakerRestarts(t *testing.T) {
	w := newWorld(t)
	router, host := w.machine(), w.machine()
	b, s := router.bird(birdConfig(host, secret, 20, "")), host.speaker()
	s.set(toRouter(router, secret), "10.88.1.0/26", "10.88.9.9/32")
	s.learns(8*time.Second, fromBird)
	w.until(5*time.Second, "bird learns", func() bool { return b.has("10.88.1.0/26") && b.has("10.88.9.9/32") })
	for name, end := range map[string]func(*speaker){"kill -9": (*speaker).kill, "stop": (*speaker).stop} {
		end(s)
		w.always(3*time.Second, name+": bird keeps the routes", func() bool { return b.has("10.88.1.0/26") && b.has("10.88.9.9/32") })
		s = host.speaker()
		s.set(toRouter(router, secret), "10.88.1.0/26")
		if got := s.routes(); got != "incomplete" && got != "" {
			t.Error(name, got)
		}
		start := time.Now()
		w.until(20*time.Second, name+": bird drops what is no longer announced", func() bool {
			if !b.has("10.88.1.0/26") {
				t.Fatal(name, "bird lost a route that is announced again")
			}
			return !b.has("10.88.9.9/32")
		})
		s.learns(20*time.Second, fromBird)
		t.Logf("%s: bird is up to date %s after the restart", name, time.Since(start).Round(100*time.Millisecond))
		s.set(toRouter(router, secret), "10.88.1.0/26", "10.88.9.9/32")
		w.until(5*time.Second, "bird learns", func() bool { return b.has("10.88.9.9/32") })
	}
	s.kill() // and stays away
	start := time.Now()
	w.until(25*time.Second, "bird drops the routes of a speaker that stays away", func() bool { return !b.has("10.88.1.0/26") })
	if took := time.Since(start); took < 15*time.Second {
		t.Errorf("bird kept the routes for %s only", took)
	}
}

// TestManyRoutes prints how long 10,000 routes take from the session's start to Learned.
func TestManyRoutes(t *testing.T) {
	w := newWorld(t)
	router, host := w.machine(), w.machine()
	var more strings.Builder
	more.WriteString("protocol static many { ipv4;\n")
	for i := range 10_000 {
		fmt.Fprintf(&more, "route 10.%d.%d.%d/32 blackhole;\n", 100+i>>16, i>>8&255, i&255)
	}
	more.WriteString("}\n")
	router.bird(birdConfig(host, secret, 20, more.String()))
	s := host.speaker()
	s.set(toRouter(router, secret))
	w.until(30*time.Second, "a session", func() bool { return s.session(router.v4).State == established })
	took := w.until(30*time.Second, "10,000 routes", func() bool { return len(s.last().Routes) == 10_002 })
	memory := w.run("sh", "-c", fmt.Sprintf("grep VmRSS /proc/%d/status", s.cmd.Process.Pid))
	t.Logf("10,000 routes learned %s after the session was up; %s", took.Round(10*time.Millisecond), strings.Join(strings.Fields(memory), " "))
}
