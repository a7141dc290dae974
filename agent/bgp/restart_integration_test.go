//go:build integration

package bgp

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// routesInKernel makes BIRD write what it learns to the kernel, and leave it there while it restarts.
const routesInKernel = `
protocol kernel k4 { persist; graceful restart; ipv4 { export where source = RTS_BGP; }; }
protocol kernel k6 { persist; graceful restart; ipv6 { export where source = RTS_BGP; }; }
`

// deletions are the routes that the kernel of a machine has lost since.
type deletions struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (d *deletions) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

// of are the lines of the network.
func (d *deletions) of(network string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []string
	for line := range strings.Lines(d.text.String()) {
		if strings.Contains(line, "Deleted "+network) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func (m *machine) deletions() *deletions {
	m.Helper()
	d := &deletions{}
	cmd := exec.Command("ip", "netns", "exec", m.ns, "ip", "-ts", "monitor", "route")
	cmd.Stdout = d
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { end(cmd) })
	return d
}

// TestBothRestart: a speaker and BIRD die together and come back, one or the other first. BIRD's recovery then ends with this session, as
// there is no other, and never finds the host's routes missing. A route that is announced no longer goes.
func TestBothRestart(t *testing.T) {
	for _, order := range []struct {
		name  string
		first string        // who is back first
		after time.Duration // and the other this much later
	}{
		{"together", "router", 0},
		{"the router first", "router", time.Second},
		{"the host first", "host", time.Second},
		{"the router after more than the hold time", "host", HoldTime + 2*time.Second},
	} {
		t.Run(order.name, func(t *testing.T) {
			w := newWorld(t)
			router, host := w.machine(), w.machine()
			b, s := router.bird(birdConfig(host, secret, 60, routesInKernel), "-R"), host.speaker()
			c := toRouter(router, secret)
			s.set(c, "10.88.1.0/26", "10.88.9.9/32", "2001:db8:88::/122")
			kernel := func(family, prefix string) bool {
				return w.run("ip", "-n", router.ns, family, "route", "show", prefix) != ""
			}
			w.until(20*time.Second, "the routes are in the router's kernel", func() bool {
				return kernel("-4", "10.88.1.0/26") && kernel("-4", "10.88.9.9") && kernel("-6", "2001:db8:88::/122")
			})
			s.learns(20*time.Second, fromBird)

			lost := router.deletions()
			b.kill()
			s.kill()
			speak := func() {
				s = host.speaker()
				s.set(c, "10.88.1.0/26", "2001:db8:88::/122")
			}
			if order.first == "host" {
				speak()
				<-time.After(order.after)
				b.start()
			} else {
				b.start()
				<-time.After(order.after)
				speak()
			}
			w.until(30*time.Second, "what is announced no longer goes", func() bool { return len(lost.of("10.88.9.9")) > 0 })
			s.learns(30*time.Second, fromBird)
			w.until(20*time.Second, "both sessions are there", func() bool {
				return b.has("10.88.1.0/26") && b.has("2001:db8:88::/122")
			})
			w.always(time.Second, "the routes stay", func() bool { return kernel("-4", "10.88.1.0/26") && kernel("-6", "2001:db8:88::/122") })
			if gone := append(lost.of("10.88.1.0/26"), lost.of("2001:db8:88::/122")...); len(gone) > 0 {
				t.Errorf("the router's kernel was without them:\n%s", strings.Join(gone, "\n"))
			}
		})
	}
}

// TestSpeakerRestartsBesideBird: a router that lives on is told to keep our routes, and its kernel never is without them.
func TestSpeakerRestartsBesideBird(t *testing.T) {
	w := newWorld(t)
	router, host := w.machine(), w.machine()
	b, s := router.bird(birdConfig(host, secret, 60, routesInKernel), "-R"), host.speaker()
	c := toRouter(router, secret)
	s.set(c, "10.88.1.0/26", "10.88.9.9/32", "2001:db8:88::/122")
	w.until(20*time.Second, "bird learns", func() bool { return b.has("10.88.9.9/32") && b.has("2001:db8:88::/122") })
	s.learns(20*time.Second, fromBird)
	lost := router.deletions()
	s.kill()
	s = host.speaker()
	s.set(c, "10.88.1.0/26", "2001:db8:88::/122")
	w.until(20*time.Second, "what is announced no longer goes", func() bool { return len(lost.of("10.88.9.9")) > 0 })
	s.learns(20*time.Second, fromBird)
	if gone := append(lost.of("10.88.1.0/26"), lost.of("2001:db8:88::/122")...); len(gone) > 0 {
		t.Errorf("the router's kernel was without them:\n%s", strings.Join(gone, "\n"))
	}
}

// TestHostStaysAway: BIRD's recovery waits for a host that does not come back for no longer than it is told to.
func TestHostStaysAway(t *testing.T) {
	w := newWorld(t)
	router, host := w.machine(), w.machine()
	b, s := router.bird("graceful restart wait 5;\n"+birdConfig(host, secret, 60, routesInKernel), "-R"), host.speaker()
	s.set(toRouter(router, secret), "10.88.1.0/26")
	kernel := func() bool { return w.run("ip", "-n", router.ns, "route", "show", "10.88.1.0/26") != "" }
	w.until(20*time.Second, "the route is in the router's kernel", kernel)
	b.kill()
	s.kill()
	b.start()
	w.always(4*time.Second, "the route stays", kernel)
	w.until(4*time.Second, "the route goes", func() bool { return !kernel() })
}
