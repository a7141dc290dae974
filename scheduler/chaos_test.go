package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/health"
	"github.com/berth-project/berth/spec"
)

// TestChaos lets a world do what it likes while the scheduler crashes, commits fail and tasks die during rolling updates,
// scalings and host drains. At every change: no seat and no address has two live tasks, and the healthy ones are at least as many as the
// floor whenever only the rollout or a drain takes them down. In the end everything is as wanted, nothing is on a host that is drained, and kept seats have the addresses of
// the beginning.
// BERTH_SEED replays a failure; BERTH_ROUNDS asks for more rounds.
func TestChaos(t *testing.T) {
	rounds := 20
	if n, err := strconv.Atoi(os.Getenv("BERTH_ROUNDS")); err == nil {
		rounds = n
	}
	first := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("BERTH_SEED"), 10, 64); err == nil {
		first, rounds = n, 1
	}
	for i := range rounds {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
		if t.Failed() {
			t.Fatalf("replay with BERTH_SEED=%d", seed)
		}
	}
}

func chaos(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := newPlay(t)
	defer func() { p.stop() }()
	if rnd.IntN(2) == 0 { // addresses come from blocks, with the hosts known
		p.stop()
		p.pools, p.bgp = []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/26"), BlockSize: 28}}, &spec.BGP{AS: 64512}
		p.start()
	}
	n, identity := 1+rnd.IntN(5), []string{"seat", "float"}[rnd.IntN(2)]
	isPod := rnd.IntN(3) == 0
	p.w.mu.Lock()
	for _, h := range []string{"h1", "h2"} {
		p.w.hosts[h] = &worldHost{name: h, cpus: 100, mem: 100000}
		p.hosts[h] = true
	}
	p.w.check = func() {
		if err := p.w.doubled(); err != nil {
			t.Error(err)
		}
	}
	p.w.mu.Unlock()
	p.report()
	put := func(version int) {
		min := []float64{0, 0.5, 1}[rnd.IntN(3)]
		body := fmt.Sprintf(`{"id":"/web","cmd":"v%d","instances":%d,"cpus":0.1,"labels":{"BERTH_IDENTITY":"%s"},"healthChecks":[{"protocol":"TCP","maxConsecutiveFailures":0}],
			"upgradeStrategy":{"minimumHealthCapacity":%g,"maximumOverCapacity":%d}}`, version, n, identity, min, rnd.IntN(2))
		send := p.put
		if isPod {
			send = p.pod
			body = fmt.Sprintf(`{"id":"/web","labels":{"BERTH_IDENTITY":"%s"},"networks":[{"mode":"container","name":"p"}],"containers":[
				{"name":"a","exec":{"command":{"shell":"v%d"}},"resources":{"cpus":0.1,"mem":32},"endpoints":[{"name":"h","containerPort":80}],"healthCheck":{"tcp":{"endpoint":"h"},"maxConsecutiveFailures":0}},
				{"name":"b","exec":{"command":{"shell":"b"}},"resources":{"cpus":0.1,"mem":32}}],
				"scaling":{"kind":"fixed","instances":%d},"scheduling":{"upgrade":{"minimumHealthCapacity":%g,"maximumOverCapacity":%d}}}`, identity, version, n, min, rnd.IntN(2))
		}
		for send(body, true) != nil {
			p.revive() // the scheduler died before the change was durable: ask again, as a client does
		}
	}
	put(0)
	settle(t, p, rnd, 0)
	addresses := map[spec.SeatID]string{}
	for _, x := range p.w.alive() {
		addresses[x.seat] = x.address
	}
	for version := 1; version <= 3; version++ {
		if rnd.IntN(3) == 0 {
			n = 1 + rnd.IntN(5)
		}
		put(version)
		settle(t, p, rnd, 6)
		for _, x := range p.w.alive() {
			if drained(p, x.host) {
				t.Errorf("%s is on %s, which is drained", x.seat, x.host)
			}
		}
	}
	for _, x := range p.w.alive() {
		if want, ok := addresses[x.seat]; ok && identity == "seat" && want != x.address {
			t.Errorf("seat %s moved from %s to %s", x.seat, want, x.address)
		}
	}
}

// drained says whether a host is being drained.
func drained(p *play, host string) (yes bool) {
	_ = p.s.do(context.Background(), func() { _, yes = p.s.state.Drains[host] })
	return yes
}

// toggle drains a host, or ends that of both: there is always one to go to.
func toggle(p *play, rnd *rand.Rand) {
	ctx := context.Background()
	if !drained(p, "h1") && !drained(p, "h2") {
		_, _ = p.s.DrainHost(ctx, []string{"h1", "h2"}[rnd.IntN(2)], "chaos") // one that dies meanwhile may have it, or not
		return
	}
	for _, h := range []string{"h1", "h2"} {
		_ = p.s.UndrainHost(ctx, h)
	}
}

// revive starts a scheduler again if the last one ended.
func (p *play) revive() {
	synctest.Wait()
	select {
	case <-p.s.stopped:
		<-p.done
		p.sub.Close()
		p.start()
	default:
	}
}

// settle plays on until the deployment is over, with at most faults things going wrong.
func settle(t *testing.T, p *play, rnd *rand.Rand, faults int) {
	for step := 0; ; step++ {
		p.revive()
		snap, err := p.s.Snapshot(context.Background())
		if err != nil {
			continue // it died in this moment
		}
		app := snap.Apps["/web"]
		live := p.w.alive()
		left := slices.ContainsFunc(live, func(x *worldTask) bool { return drained(p, x.host) })
		if len(snap.Deployments) == 0 && !left && len(live) == app.Instances*members(app) && len(snap.Tasks["/web"]) == app.Instances && allWell(snap.Tasks["/web"], app) {
			return
		}
		if step > 3000 {
			var state []string
			for _, x := range snap.Tasks["/web"] {
				state = append(state, fmt.Sprintf("%s %s killing=%s", x.Seat, x.Rung, x.KillReason))
			}
			t.Fatalf("no end after %d steps:\n%s\nworld: %d live, deployments: %d, queue: %+v", step, strings.Join(state, "\n"), len(live), len(snap.Deployments), snap.Queue)
		}
		fault := faults > 0 && rnd.IntN(10) == 0
		switch {
		case faults > 0 && rnd.IntN(20) == 0:
			toggle(p, rnd)
		case fault && rnd.IntN(3) == 0:
			faults--
			p.stop()
			p.start()
		case fault && rnd.IntN(2) == 0:
			faults--
			p.store.FailCommit(1+rnd.IntN(4), errors.New("disk is gone"))
		case fault && len(live) > 0:
			faults--
			p.finish(live[rnd.IntN(len(live))], "TASK_FAILED")
		case len(live) > 0 && rnd.IntN(4) > 0:
			p.move(t, live[rnd.IntN(len(live))], snap.Tasks["/web"], app)
		default:
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		}
		synctest.Wait()
		consistent(t, p.s)
	}
}

// members is how many of the engine's tasks an instance is.
func members(app *spec.App) int {
	if app.Pod == nil {
		return 1
	}
	return len(app.Pod.Containers)
}

func allWell(tasks []*spec.Task, app *spec.App) bool {
	for _, t := range tasks {
		if !health.Healthy(app, t) || !t.ConfigVersion.Equal(app.LastConfigChange) || deploy.Temporary(app, t.Seat.Index) {
			return false
		}
	}
	return true
}

func (p *play) finish(x *worldTask, state string) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.set(x, state, "chaos")
	p.w.offer()
}

// move takes one task one step on: it runs, becomes healthy, is drained, or ends after a kill.
func (p *play) move(t *testing.T, x *worldTask, known []*spec.Task, app *spec.App) {
	r := spec.HostReport{Host: x.host, Networks: map[string]string{"p": ""}}
	p.w.mu.Lock()
	killed, staging := x.killed, x.state == "TASK_STAGING"
	p.w.mu.Unlock()
	switch {
	case killed:
		p.finish(x, "TASK_KILLED")
		return
	case staging:
		p.finish(x, "TASK_RUNNING")
		return
	}
	healthy := 0
	for _, k := range known {
		if len(k.Health) > 0 && k.Health[0].Alive && k.Rung == spec.Running {
			healthy++
		}
	}
	for _, k := range known {
		switch {
		case k.ID != x.owner():
		case k.Rung == spec.Killing && !k.Drained:
			if floor, _ := deploy.Bounds(app.Instances, app.Upgrade); (strings.Contains(k.KillReason, "new version") || strings.Contains(k.KillReason, "host drain")) && k.HealthySince.IsZero() == false && healthy < floor {
				t.Errorf("%s is replaced although only %d of %d are healthy", k.Seat, healthy, floor)
			}
			r.Drained = []string{x.owner()}
		default:
			r.Health = map[string][]spec.CheckHealth{x.owner(): {{Known: true, Alive: true, LastSuccess: time.Now()}}}
		}
	}
	_ = p.s.Report(context.Background(), r) // a scheduler that died in this moment gets it again
}
