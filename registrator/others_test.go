package registrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/registrator/consultest"
	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/spec"
)

// plainHost is a host without a scheduler: containers of docker run, and Consul.
type plainHost struct {
	t         *testing.T
	consul    *consultest.Agent
	inventory watch.Value[docker.Snapshot]
	o         Options
	log       bytes.Buffer
	stop      func()
}

func newPlainHost(t *testing.T) *plainHost {
	h := &plainHost{t: t, consul: consultest.New()}
	log := logrus.New()
	log.SetOutput(&h.log)
	h.o = Options{
		Host: "h1", Owner: "o1", Alone: true, Inventory: &h.inventory, Log: log, HTTPClient: h.consul.Client(),
		Others: services.Policy{Others: services.OthersAll, PublishedOnly: true, Marathon: true},
	}
	return h
}

func (h *plainHost) start() {
	h.t.Helper()
	r, err := New(h.o)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
	h.t.Cleanup(h.stop)
	synctest.Wait()
}

// newPlainHostWithWeb runs, and has the container c1 of the name web in Consul.
func newPlainHostWithWeb(t *testing.T) *plainHost {
	t.Helper()
	h := newPlainHost(t)
	h.start()
	h.set(plain("c1", "web"))
	h.want("berth:h1:web:80")
	return h
}

func (h *plainHost) set(containers ...docker.Container) {
	h.inventory.Set(docker.Snapshot{Connected: true, Containers: containers})
	synctest.Wait()
}

func (h *plainHost) want(ids ...string) {
	h.t.Helper()
	synctest.Wait()
	if got := strings.Join(h.consul.IDs(), " "); got != strings.Join(ids, " ") {
		h.t.Errorf("services %q, want %q", got, strings.Join(ids, " "))
	}
}

// plain is a container of docker run with a published port.
func plain(id, name string, env ...string) docker.Container {
	return docker.Container{
		ID: id, Name: name, Image: "nginx:1", State: "running", Running: true, NetworkMode: "default", Env: env,
		Addresses: map[string]netip.Addr{"bridge": netip.MustParseAddr("172.17.0.2")},
		Ports:     []docker.Port{{Port: 80, Protocol: "tcp", HostIP: netip.IPv4Unspecified(), HostPort: 8080}},
	}
}

func TestContainersOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlainHostWithWeb(t)
		if s := h.consul.Services()["berth:h1:web:80"]; s.Address != consultest.Address || s.Port != 8080 || s.Service != "nginx" {
			t.Errorf("%+v", s)
		}
		h.set(plain("c1", "shop")) // renamed
		h.want("berth:h1:shop:80")
		moved := plain("c1", "shop") // after a reboot of the host
		moved.Ports[0].HostPort = 9090
		h.set(moved)
		if s := h.consul.Services()["berth:h1:shop:80"]; s.Port != 9090 {
			t.Errorf("after another start: %+v", s)
		}
		h.consul.Wipe()
		pass(31 * time.Second)
		h.want("berth:h1:shop:80")
		writes := len(h.consul.Writes())
		pass(5 * time.Minute)
		if n := len(h.consul.Writes()) - writes; n != 0 {
			t.Errorf("%d writes although nothing changed", n)
		}
		dying := plain("c1", "shop")
		dying.Stopping = time.Now()
		h.set(dying)
		h.want()
	})
}

func TestChosenID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlainHost(t)
		h.consul.Put(api.AgentService{ID: "taken", Service: "somebody"})
		h.start()
		h.set(plain("c1", "web", "SERVICE_ID=mine", "SERVICE_CHECK_HTTP=/up", "SERVICE_CHECK_INTERVAL=5s"), plain("c2", "b", "SERVICE_ID=taken"))
		h.want("mine", "taken")
		if c := h.consul.Check("berth:mine"); c.Status != "critical" || c.ServiceID != "mine" {
			t.Errorf("check %+v", c)
		}
		writes := len(h.consul.Writes())
		pass(2 * time.Minute)
		if n := len(h.consul.Writes()) - writes; n != 0 {
			t.Errorf("%d writes although nothing changed", n)
		}
		h.stop()
		h.set(plain("c2", "b", "SERVICE_ID=taken")) // while nobody looked
		h.start()
		h.want("taken")
		h.stop()
		if h.consul.Services()["taken"].Service != "somebody" {
			t.Error("a service of somebody else was overwritten")
		}
	})
}

func TestFailedContainers(t *testing.T) {
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newPlainHost(t)
			h.o.KeepFailed = keep
			h.start()
			ended := func(code int) docker.Container {
				c := plain("c1", "web")
				c.State, c.Running, c.ExitCode, c.Addresses, c.Ports = "exited", false, code, nil, nil
				return c
			}
			for _, code := range []int{0, 143, 1} {
				h.set(plain("c1", "web"))
				h.want("berth:h1:web:80")
				h.set(ended(code))
				if keep && code == 1 {
					h.want("berth:h1:web:80")
				} else {
					h.want()
				}
			}
			h.set()
			h.want()
		})
	}
}

// TestObscureContainer: what the engine cannot describe keeps what it has.
func TestObscureContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlainHostWithWeb(t)
		h.set(docker.Container{ID: "c1", Name: "web", Image: "nginx:1", State: "running", Running: true, Partial: true})
		pass(time.Minute)
		h.want("berth:h1:web:80")
		h.set(docker.Container{ID: "c1", Name: "web", Image: "nginx:1", State: "exited", Partial: true})
		h.want()
	})
}

// TestSuccession: what Registrator left goes when ours is there, and not before; what is another host's stays.
func TestSuccession(t *testing.T) {
	for _, succeed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newPlainHost(t)
			h.o.Succeed = succeed
			for _, id := range []string{"h1:web:80", "h1:gone:53:udp", "h2:web:80", "h1:hand-made"} {
				h.consul.Put(api.AgentService{ID: id, Service: "nginx"})
			}
			h.consul.Refuse("berth:h1:web:80", 500)
			h.start()
			h.set(plain("c1", "web"))
			if !succeed {
				pass(2 * time.Minute)
				h.want("h1:gone:53:udp", "h1:hand-made", "h1:web:80", "h2:web:80")
				return
			}
			h.want("h1:hand-made", "h1:web:80", "h2:web:80")
			h.consul.Refuse("berth:h1:web:80", 0)
			pass(2 * time.Minute)
			h.want("berth:h1:web:80", "h1:hand-made", "h2:web:80")
		})
	}
}

// TestOneRefusedService: Consul refuses one, and is slow with another; all others are there at once.
func TestOneRefusedService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlainHost(t)
		h.consul.Refuse("berth:h1:a:80", 400)
		h.consul.Delay("berth:h1:b:80", 4*time.Second)
		h.start()
		h.set(plain("c1", "a"), plain("c2", "b"), plain("c3", "c"), plain("c4", "d"))
		h.want("berth:h1:c:80", "berth:h1:d:80")
		pass(4 * time.Second)
		h.want("berth:h1:b:80", "berth:h1:c:80", "berth:h1:d:80")
		h.consul.Refuse("berth:h1:a:80", 0)
		pass(time.Minute)
		h.want("berth:h1:a:80", "berth:h1:b:80", "berth:h1:c:80", "berth:h1:d:80")
	})
}

func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlainHost(t)
		h.start()
		two := plain("c2", "two", "SERVICE_NAME=x", "SERVICE_NETWORK=none")
		h.set(plain("c1", "web", "SERVICE_CHECK_SCRIPT=true"), two)
		for range 3 {
			pass(time.Minute)
			h.set(plain("c1", "web", "SERVICE_CHECK_SCRIPT=true"), two)
		}
		h.stop()
		h.want("berth:h1:web:80")
		for _, text := range []string{"scripts are no checks", services.ReasonNoNetwork} {
			if n := strings.Count(h.log.String(), text); n != 1 {
				t.Errorf("%q is in the log %d times:\n%s", text, n, h.log.String())
			}
		}
	})
}

// TestComplaintsOfOneID: two containers that want the same id have their own reasons, each said once.
func TestComplaintsOfOneID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlainHost(t)
		h.o.Others.IPLabel = "ip"
		h.start()
		lost := plain("c3", "c", "SERVICE_ID=mine")
		lost.Labels = map[string]string{"ip": "nowhere"}
		for range 20 {
			h.set(plain("c1", "a", "SERVICE_ID=mine"), plain("c2", "b", "SERVICE_ID=mine"), lost)
		}
		h.stop()
		for _, text := range []string{services.ReasonTaken, services.ReasonBadLabel} {
			if n := strings.Count(h.log.String(), text); n != 1 {
				t.Errorf("%q is in the log %d times", text, n)
			}
		}
	})
}

// TestRetriesOfTheGone: containers that Consul refused, and that are gone, leave nothing behind.
func TestRetriesOfTheGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlainHost(t)
		r, err := New(h.o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := newLoop(ctx, r)
		for n := range 40 {
			name := fmt.Sprintf("job-%d", n)
			h.consul.Refuse("berth:h1:"+name+":80", 403)
			l.look(spec.HostState{}, docker.Snapshot{Connected: true, Containers: []docker.Container{plain(name, name)}})
			for range 40 { // as Run does
				wait := l.converge(time.Now())
				select {
				case result := <-l.results:
					result(time.Now())
				case <-time.After(wait):
				}
			}
		}
		if len(l.retries) > 3 {
			t.Errorf("%d ids are to be tried again: %v", len(l.retries), l.retries)
		}
	})
}

func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	then := time.Now().Add(-time.Hour)
	write := func(text string) { // tools that bring files to hosts keep their times
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newToken(file); err == nil {
		t.Error("no file is no token")
	}
	write(" \n")
	if _, err := newToken(file); err == nil {
		t.Error("an empty file is no token")
	}
	write("one\n")
	token, err := newToken(file)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		if got := token.now(); got != want {
			t.Errorf("token %q, want %q", got, want)
		}
	}
	expect("one")
	write("two\n")
	expect("two")
	write("") // somebody is writing it
	expect("two")
	write("six\n")
	expect("six")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect("six")
	if none, err := newToken(""); err != nil || none.now() != "" {
		t.Errorf("%v", err)
	}
}
