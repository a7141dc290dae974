//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/integration/lab"
	"github.com/berth-project/berth/integration/rig"
)

// rack is a lab of a test's own, with its scheduler's API.
type rack struct {
	*testing.T
	*lab.Lab
	berth *rig.Berth
	auth  ssh.AuthMethod
}

// newRack makes one, which goes away with the test.
func newRack(t *testing.T, edit ...func(*lab.Options)) *rack {
	t.Helper()
	requireReal(t, "docker", "bird", baseImage, webImage)
	dir, err := os.MkdirTemp("", "berth-it-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) }) // the lab has gone already, with its folder
	o := lab.Options{Dir: dir, Name: "it" + strconv.Itoa(os.Getpid()), Berth: binary, Images: []string{baseImage, webImage}}
	for _, e := range edit {
		e(&o)
	}
	began := time.Now()
	l, err := lab.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Logs(60))
		}
		if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	t.Logf("the lab was up after %s", time.Since(began).Round(100*time.Millisecond))
	key, err := os.ReadFile(l.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &rack{T: t, Lab: l, berth: rig.Attach(t, binary, dir, lab.Pool), auth: ssh.PublicKeys(signer)}
}

// in is the same lab as seen by a subtest.
func (r *rack) in(t *testing.T) *rack {
	return &rack{T: t, Lab: r.Lab, berth: r.berth.In(t), auth: r.auth}
}

// on is a definition that runs on one host only.
func on(host string) func(map[string]any) {
	return rig.With("constraints", []any{[]any{"hostname", "CLUSTER", host}})
}

// pinned starts instances on every host, which stay there whatever happens, and says where to reach them.
func (r *rack) pinned(each int) []target {
	r.Helper()
	for _, h := range r.Hosts {
		r.berth.Create(r.berth.App("on-"+h.Name, webImage, each, rig.HTTPCheck("/healthz"), on(h.Name)))
	}
	r.berth.Settle(2 * time.Minute)
	var found []target
	for _, h := range r.Hosts {
		for _, task := range r.tasks("on-" + h.Name) {
			if task.Host != h.Name {
				r.Errorf("%s is on %s", task.ID, task.Host)
			}
			found = append(found, target{task.Address(), h.Name})
		}
	}
	if len(found) != each*len(r.Hosts) {
		r.Fatalf("there are %v", found)
	}
	return found
}

func (r *rack) tasks(app string) []rig.Task {
	r.Helper()
	tasks, err := r.berth.Tasks(r.berth.AppID(app))
	if err != nil {
		r.Fatal(err)
	}
	return tasks
}

// one is the app's only task, once it runs.
func (r *rack) one(app string, limit time.Duration) rig.Task {
	r.Helper()
	var task rig.Task
	rig.Eventually(r, limit, app+" runs", func() error {
		tasks, err := r.berth.Tasks(r.berth.AppID(app))
		if err != nil {
			return err
		}
		if len(tasks) != 1 || tasks[0].State != "TASK_RUNNING" {
			return fmt.Errorf("its tasks are %+v; queue: %s", tasks, r.berth.Queue())
		}
		task = tasks[0]
		return nil
	})
	return task
}

// login logs in to an instance from the office, once.
func (r *rack) login(address string) (hostKey, hostName string, err error) {
	l, err := rig.DialFrom(r.Context(), r.Office().Dial, address, r.auth)
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	hostName, err = l.Run("hostname")
	return l.HostKey, hostName, err
}

// container is the app's one container on a host by its Docker Engine: its id and when it was started.
func (r *rack) container(h *lab.Host, app string) (id string, started time.Time) {
	r.Helper()
	id, err := h.Docker(r.Context(), "ps", "-q", "--no-trunc", "--filter", "label=berth.app="+r.berth.AppID(app))
	if err != nil || len(strings.Fields(id)) != 1 {
		r.Fatalf("containers of %s on %s: %q, %v", app, h.Name, id, err)
	}
	text, err := h.Docker(r.Context(), "inspect", "--format", "{{.State.StartedAt}}", id)
	if err == nil {
		started, err = time.Parse(time.RFC3339Nano, text)
	}
	if err != nil {
		r.Fatal(err)
	}
	return id, started
}

// checked asks `berth ip check`, which must find nothing, at the latest when what ended while a `berth net` was away has been
// noticed: within 40 s of its start, as docs/networking.md says.
func (r *rack) checked() {
	r.Helper()
	rig.Eventually(r, time.Minute, "berth ip check finds nothing", func() error {
		if out, err := r.berth.TryCLI(r.Context(), nil, "ip", "check"); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// TestLab: what is on any of three hosts is reached from the office through BIRD; it keeps its address and host key on another
// host; and nothing that dies by itself, or with a host, takes away more than that host.
func TestLab(t *testing.T) {
	r := newRack(t)
	targets := r.pinned(2)
	t.Run("reach", func(t *testing.T) { r.in(t).reach(targets) })
	t.Run("move", func(t *testing.T) { r.in(t).move() })
	for _, part := range parts {
		t.Run("kill "+strings.ReplaceAll(part, "/", " "), func(t *testing.T) { r.in(t).kill(targets, part) })
	}
	t.Run("declared dead", func(t *testing.T) { r.in(t).declaredDead(targets) })
	r.checked()
}

// reach logs in to every instance from the office.
func (r *rack) reach(targets []target) {
	keys := map[string]string{}
	for _, to := range targets {
		key, name, err := r.login(to.Address)
		if err != nil {
			r.Errorf("SSH to %s on %s: %v", to.Address, to.Host, err)
			continue
		}
		if other := keys[key]; other != "" {
			r.Errorf("%s and %s have the same host key", other, to.Address)
		}
		keys[key] = to.Address
		if !strings.HasPrefix(name, "on-"+to.Host+"-") {
			r.Errorf("%s on %s says that it is %s", to.Address, to.Host, name)
		}
	}
	// And from one host's containers to another's.
	from, to := targets[0], targets[len(targets)-1]
	h, err := r.Host(from.Host)
	if err != nil {
		r.Fatal(err)
	}
	out, err := h.Docker(r.Context(), "ps", "-q", "--filter", "label=berth.app="+r.berth.AppID("on-"+from.Host))
	if err != nil {
		r.Fatal(err)
	}
	if out, err := h.Docker(r.Context(), "exec", strings.Fields(out)[0], "ssh-keyscan", "-T", "5", to.Address); err != nil {
		r.Errorf("from a container on %s to %s on %s: %v %s", from.Host, to.Address, to.Host, err, out)
	}
}

// moveLimit is how soon after its start on another host a container must be reached from the office.
const moveLimit = 3 * time.Second

// move kills an instance while its host has become full, so that it must go to another one.
func (r *rack) move() {
	big := rig.With("cpus", 6)
	r.berth.Create(r.berth.App("mover", webImage, 1, big, rig.With("backoffSeconds", 4)))
	r.berth.Settle(time.Minute)
	before := r.one("mover", time.Minute)
	var key, name string
	rig.Eventually(r, 30*time.Second, "sshd of the instance answers", func() (err error) {
		key, name, err = r.login(before.Address())
		return err
	})
	old := r.hostOf(before)
	r.berth.Create(r.berth.App("filler", baseImage, 1, big, on(old.Name))) // waits for the room
	defer r.berth.Settle(time.Minute)
	defer r.berth.Want(200, "DELETE", "/v2/apps"+r.berth.AppID("filler")+"?force=true", nil, nil)
	defer r.berth.Want(200, "DELETE", "/v2/apps"+r.berth.AppID("mover")+"?force=true", nil, nil)
	id, _ := r.container(old, "mover")
	if _, err := old.Docker(r.Context(), "kill", id); err != nil {
		r.Fatal(err)
	}
	r.comesBack(before, key, name)
}

// comesBack waits for an instance on another host: with the same address, host key and name, and soon.
func (r *rack) comesBack(before rig.Task, key, name string) {
	r.Helper()
	var reached time.Time
	var key2, name2 string
	rig.Eventually(r, time.Minute, "the instance can be reached again", func() (err error) {
		key2, name2, err = r.login(before.Address())
		reached = time.Now()
		return err
	})
	after := r.one(path.Base(before.AppID), time.Minute)
	_, started := r.container(r.hostOf(after), path.Base(before.AppID))
	if after.Host == before.Host || after.Address() != before.Address() || key2 != key || name2 != name {
		r.Errorf("on %s it was %s %s %s; on %s it is %s %s %s", before.Host, before.Address(), name, key, after.Host, after.Address(), name2, key2)
	}
	took := reached.Sub(started)
	r.Logf("from %s to %s: reached by SSH from the office %s after its container's start", before.Host, after.Host, took.Round(10*time.Millisecond))
	if took > moveLimit {
		r.Errorf("it was reached %s after its container's start, want %s", took, moveLimit)
	}
}

// declaredDead: the instances of a host that lost its power start elsewhere as soon as an operator says that it is off.
func (r *rack) declaredDead(targets []target) {
	r.berth.Create(r.berth.App("survivor", webImage, 1))
	r.berth.Settle(time.Minute)
	before := r.one("survivor", time.Minute)
	var key, name string
	rig.Eventually(r, 30*time.Second, "sshd of the instance answers", func() (err error) {
		key, name, err = r.login(before.Address())
		return err
	})
	if err := r.Kill(r.Context(), before.Host); err != nil {
		r.Fatal(err)
	}
	r.berth.CLI("host", "dead", before.Host, "--yes")
	r.comesBack(before, key, name)
	if err := r.Start(r.Context(), before.Host); err != nil {
		r.Fatal(err)
	}
	if err := r.Ready(r.Context()); err != nil {
		r.Error(err)
	}
	r.alive(targets)
	if now := r.one("survivor", time.Minute); now.Host == before.Host {
		r.Errorf("it went back to %s", now.Host)
	}
	if left, err := r.hostOf(before).Docker(r.Context(), "ps", "-q", "--filter", "label=berth.app="+before.AppID); err != nil || left != "" {
		r.Errorf("what is left of it on %s: %q %v", before.Host, left, err)
	}
	r.berth.Want(200, "DELETE", "/v2/apps"+before.AppID+"?force=true", nil, nil)
	r.berth.Settle(time.Minute)
}

func (r *rack) hostOf(task rig.Task) *lab.Host {
	r.Helper()
	h, err := r.Host(task.Host)
	if err != nil {
		r.Fatal(err)
	}
	return h
}

// parts are what is killed: processes of h1, BIRD, and h2 as a whole.
var parts = []string{"h1/agent", "h1/net", "h1/dockerd", "tor", "h2"}

// kill kills parts at one moment and starts them again, under load. Only what was on a host that was killed may be lost.
func (r *rack) kill(targets []target, killed ...string) {
	dead := ""
	outage := 4 * time.Second
	for _, part := range killed {
		if !strings.Contains(part, "/") && part != "tor" {
			dead, outage = part, 13*time.Second // peers need the hold time of 9 s
		}
	}
	l := startLoad(r.Context(), r.Office(), targets)
	defer l.end()
	pause(time.Second)
	r.all(killed, r.Kill)
	at := time.Now()
	pause(outage)
	if dead != "" {
		r.forgotten(dead, killed)
	}
	r.all(killed, r.Start)
	if err := r.Ready(r.Context()); err != nil {
		r.Error(err)
	}
	back := time.Now()
	pause(time.Second)
	l.end()
	r.Logf("%s; away for %s", l, back.Sub(at).Round(100*time.Millisecond))
	if lost := l.of(dead, false); len(lost) > 0 {
		r.Errorf("%d requests were lost to hosts that live:%s", len(lost), some(lost))
	}
	if dead == "" {
		return
	}
	if len(l.of(dead, true)) == 0 {
		r.Errorf("no request to %s was lost, so it was not dead", dead)
	}
	r.alive(targets)
}

// all does something to all parts at once.
func (r *rack) all(parts []string, do func(context.Context, string) error) {
	r.Helper()
	errs := make(chan error, len(parts))
	for _, part := range parts {
		go func() { errs <- do(r.Context(), part) }()
	}
	var err error
	for range parts {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		r.Fatal(err)
	}
}

// forgotten: the router and the other hosts have no route to what was on a dead host any more. Where nobody is there to take
// them away, routes stay: those to hosts that live are needed.
func (r *rack) forgotten(dead string, killed []string) {
	r.Helper()
	for _, place := range append([]string{"tor"}, names(r.Hosts)...) {
		if place == dead || slices.Contains(killed, place) || slices.Contains(killed, place+"/net") {
			continue
		}
		space, err := r.Space(place)
		if err != nil {
			r.Fatal(err)
		}
		routes, err := space.Run(r.Context(), "ip", "route", "show", "root", lab.PoolCIDR)
		if err != nil {
			r.Fatal(err)
		}
		h, _ := r.Host(dead)
		if strings.Contains(routes, "via "+h.Address()+" ") {
			r.Errorf("%s still has routes via %s, which is dead:\n%s", place, dead, routes)
		}
	}
}

func names(hosts []*lab.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}

// alive waits until every target answers again.
func (r *rack) alive(targets []target) {
	r.Helper()
	rig.Eventually(r, 90*time.Second, "every instance answers again", func() error {
		for _, to := range targets {
			if _, err := r.Office().Run(r.Context(), "curl", "-sf", "-m", "2", "http://"+to.Address+"/healthz"); err != nil {
				return fmt.Errorf("%w; queue: %s", err, r.berth.Queue())
			}
		}
		return nil
	})
	r.berth.Settle(time.Minute)
}

// pause lets time pass that is part of what is tested: how long something is away.
func pause(d time.Duration) { <-time.After(d) }

// TestLabIsTakenOnce: a second start in the same place is refused, and an end of what is only half there is none the less one.
func TestLabIsTakenOnce(t *testing.T) {
	requireReal(t, "docker", "bird")
	dir := filepath.Join(t.TempDir(), "lab")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := lab.Options{Dir: dir, Name: "ith" + strconv.Itoa(os.Getpid()), Berth: binary}
	if _, err := lab.Up(ctx, o); err == nil {
		t.Fatal("it started although its time was over")
	}
	if _, err := lab.Open(dir); !errors.Is(err, lab.ErrNone) {
		t.Errorf("a start that failed left %v", err)
	}
}
