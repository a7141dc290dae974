package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/mesos/mesostest"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// TestBreaks lets the scheduler, through its real Mesos client, work with a master on which everything breaks
// that a master's world has been seen to break: updates and calls are lost, doubled and late, streams are cut or fall silent, masters fail
// over and know nothing for a while, hosts freeze and come back, agents restart or are shut down, offers are split and rescinded,
// another scheduler takes the stream, launches are refused, commits fail and the scheduler dies. What must always hold is
// in (*breakage).check; once the faults end everything becomes as it is wanted.
// BERTH_SEED replays a failure; BERTH_ROUNDS asks for more schedules; BERTH_VERBOSE writes what happens.
func TestBreaks(t *testing.T) { breakRounds(t, 25) }

func breakRounds(t *testing.T, rounds int) {
	if n, err := strconv.Atoi(os.Getenv("BERTH_ROUNDS")); err == nil {
		rounds = n
	}
	first := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("BERTH_SEED"), 10, 64); err == nil {
		first, rounds = n, 1
	}
	t.Logf("seeds %d and on", first)
	for i := range rounds {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) {
			b := newBreakage(t, seed)
			defer b.end()
			b.put()
			b.faults(30)
			b.calm()
			b.settle()
			b.spoke()
		})
	}
}

// breakage is one schedule of faults.
type breakage struct {
	t      *testing.T
	seed   uint64
	rnd    *rand.Rand
	master *mesostest.Master
	store  *store.Memory
	log    *logrus.Logger
	pools  []spec.Pool
	// steady: nobody changes the app, so nothing may be stopped.
	steady, float bool
	version, n    int

	s      *Scheduler
	client *mesos.Client
	cancel context.CancelFunc
	done   chan error

	mu     sync.Mutex // guards all below
	dice   *rand.Rand // of what happens in other goroutines
	rough  bool       // messages have fates
	busy   map[string]bool
	fenced map[string]bool // tasks whose host withdrew their addresses, being cut off for long
	wrong  []string
}

const breakHosts = 4

// fenceIn is how long a host is cut off before it withdraws the addresses of its containers.
const fenceIn = 5 * time.Minute

func newBreakage(t *testing.T, seed uint64) *breakage {
	b := &breakage{
		t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 2)), dice: rand.New(rand.NewPCG(seed, 3)), store: store.NewMemory(), rough: true,
		pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/26")}}, busy: map[string]bool{}, fenced: map[string]bool{}, log: logrus.New(),
	}
	b.log.SetOutput(io.Discard)
	if os.Getenv("BERTH_VERBOSE") != "" {
		b.log.SetOutput(os.Stderr)
	}
	b.steady, b.float, b.n = b.rnd.IntN(2) == 0, b.rnd.IntN(4) == 0, 1+b.rnd.IntN(6)
	b.master = mesostest.New(mesostest.Options{
		AutoRun: true,
		Pause:   func() time.Duration { return b.chance(4000) * time.Millisecond },
		Fate:    func() mesostest.Fate { return b.fate(true) },
		Deny:    func(spec.Launch) bool { return b.roughly(30) },
		Split:   func() bool { return b.roughly(3) },
		Watch:   func(live []mesostest.Container) { b.doubled(live) },
	})
	for i := range breakHosts {
		b.master.AddAgent(agentOf(i, 0))
	}
	b.start()
	return b
}

func agentOf(host, generation int) spec.Offer {
	return spec.Offer{AgentID: fmt.Sprintf("a%d-%d", host, generation), Host: fmt.Sprintf("h%d", host), CPUs: 1, Mem: 4096, Disk: 10000,
		Ports: []spec.PortRange{{Begin: 31000, End: 31999}}}
}

// chance is a random number below n, for any goroutine.
func (b *breakage) chance(n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Duration(b.dice.IntN(n))
}

// roughly is true one time in n while things break.
func (b *breakage) roughly(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rough && b.dice.IntN(n) == 0
}

func (b *breakage) fate(twice bool) mesostest.Fate {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.rough {
		return mesostest.Fate{}
	}
	switch b.dice.IntN(20) {
	case 0:
		return mesostest.Fate{Lost: true}
	case 1:
		return mesostest.Fate{Deaf: true}
	case 2:
		return mesostest.Fate{Twice: twice}
	case 3:
		return mesostest.Fate{Late: time.Duration(b.dice.IntN(40)) * time.Second}
	}
	return mesostest.Fate{}
}

func (b *breakage) newClient(id string) *mesos.Client {
	c, err := mesos.New(mesos.Options{
		Masters: []string{"m1:5050"}, Framework: mesos.Framework{ID: id}, Log: b.log,
		Rand: func() float64 { return float64(b.chance(1000)) / 1000 },
		Transport: mesostest.Flaky{Next: b.master.Transport(), Fate: func(call string) mesostest.Fate {
			return b.fate(call != "ACCEPT") // no transport repeats a POST that is not idempotent
		}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *breakage) start() {
	state, err := b.store.Load(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.client = b.newClient(state.FrameworkID)
	b.s, err = New(Options{Store: b.store, State: state, Engine: b.client, Events: api.NewLog(1000), Pools: b.pools, Log: b.log, FenceAfter: fenceIn,
		Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats", VolumesDir: "/volumes"}, AddressRest: time.Minute})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan error, 1)
	go func(s *Scheduler, done chan error) { done <- s.Run(ctx) }(b.s, b.done)
	b.report()
}

func (b *breakage) crash() {
	b.cancel()
	<-b.done
}

// revive starts the scheduler again if it ended by itself.
func (b *breakage) revive() {
	synctest.Wait()
	select {
	case <-b.s.stopped:
		b.crash()
		b.start()
		synctest.Wait()
	default:
	}
}

// put sends the app as it is wanted now, as a client does: until it is taken.
func (b *breakage) put() {
	identity := map[bool]string{true: "float", false: "seat"}[b.float]
	p := &play{t: b.t}
	for {
		p.s = b.s
		err := p.put(fmt.Sprintf(`{"id":"/web","cmd":"v%d","instances":%d,"cpus":0.5,"mem":64,"maxLaunchDelaySeconds":10,"labels":{"BERTH_IDENTITY":"%s"},
			"unreachableStrategy":{"inactiveAfterSeconds":60,"expungeAfterSeconds":120}}`, b.version, b.n, identity), true)
		if err == nil {
			return
		}
		if !errors.Is(err, errStopped) {
			b.t.Fatal(err)
		}
		b.revive()
	}
}

// report is what the hosts' own agents say, as long as the scheduler can be reached.
func (b *breakage) report() {
	state, err := b.store.Load(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	cut := map[string]bool{}
	reports := map[string]*spec.HostReport{}
	for i := range breakHosts {
		name := agentOf(i, 0).Host
		reports[name] = &spec.HostReport{Host: name, Networks: map[string]string{"p": ""}}
	}
	for _, c := range b.master.Containers() {
		host := hostOfAgent(c.Launch.AgentID)
		cut[host] = cut[host] || !c.Cut.IsZero()
		if state.Tasks[c.Launch.TaskID] == nil {
			_, addr := identityOf(c.Launch)
			reports[host].Held = append(reports[host].Held, spec.Held{Address: addr, By: "task " + c.Launch.TaskID})
		}
	}
	for i := range breakHosts {
		if name := agentOf(i, 0).Host; !cut[name] {
			_ = b.s.Report(context.Background(), *reports[name]) // one that died in this moment hears it from the next report
		}
	}
}

func hostOfAgent(id string) string {
	host, _, _ := strings.Cut(id, "-")
	return "h" + strings.TrimPrefix(host, "a")
}

// identityOf are the seat and the address that a container has.
func identityOf(l spec.Launch) (seat spec.SeatID, addr netip.Addr) {
	for _, p := range l.Parameters {
		if p.Key == "ip" {
			addr = netip.MustParseAddr(p.Value)
		}
		if k, v, _ := strings.Cut(p.Value, "="); k == spec.LabelSeat {
			fmt.Sscan(v, &seat.Index)
		} else if k == spec.LabelApp {
			seat.App = spec.AppID(v)
		}
	}
	return seat, addr
}

// fault says that something must never be.
func (b *breakage) fault(format string, args ...any) {
	b.wrong = append(b.wrong, fmt.Sprintf("%s: ", time.Now().Format("15:04:05"))+fmt.Sprintf(format, args...))
}

func (b *breakage) note(format string, args ...any) {
	b.log.Info("=== " + time.Now().Format("15:04:05") + " " + fmt.Sprintf(format, args...))
}

// doubled: no seat and no address has two live containers, except those whose hosts are cut off for so long that they
// withdrew their addresses.
func (b *breakage) doubled(live []mesostest.Container) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seats, addrs := map[spec.SeatID]string{}, map[netip.Addr]string{}
	for _, c := range live {
		id := c.Launch.TaskID
		if !c.Cut.IsZero() && time.Since(c.Cut) >= fenceIn {
			b.fenced[id] = true
		}
		if b.fenced[id] {
			continue
		}
		seat, addr := identityOf(c.Launch)
		if other, ok := seats[seat]; ok {
			b.fault("seat %s lives twice: %s and %s", seat, other, id)
		}
		if other, ok := addrs[addr]; ok {
			b.fault("address %s lives twice: %s and %s", addr, other, id)
		}
		seats[seat], addrs[addr] = id, id
	}
}

// offersHeld bounds how long an offer may be out: what the scheduler holds it for, and calls that are lost twice.
const offersHeld = 100 * time.Second

// check holds what is against what must always be.
func (b *breakage) check() {
	live := b.master.Containers()
	b.doubled(live)
	state, err := b.store.Load(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range live {
		// One that was given up came back: it stays withdrawn until it is killed.
		if t := state.Tasks[c.Launch.TaskID]; t == nil && !b.fenced[c.Launch.TaskID] {
			b.fault("%s lives and is not in the store", c.Launch.TaskID)
		} else if t != nil && c.Cut.IsZero() {
			delete(b.fenced, c.Launch.TaskID)
		}
	}
	for _, t := range state.Tasks {
		if b.steady && !b.float && !t.KillWanted.IsZero() && !strings.HasPrefix(t.KillReason, "not running after") {
			b.fault("%s is stopped although nobody wanted that: %s", t.ID, t.KillReason)
		}
	}
	for id, since := range b.master.OffersOut() {
		if d := time.Since(since); d > offersHeld && b.master.Subscribed() && !b.busy["stream"] {
			b.fault("offer %s is out for %s", id, d)
		}
	}
	if len(b.wrong) > 0 {
		b.fatal("%s", strings.Join(slices.Compact(b.wrong), "\n"))
	}
}

func (b *breakage) fatal(format string, args ...any) {
	b.t.Fatalf(format+"\nreplay with BERTH_SEED=%d", append(args, b.seed)...)
}

// later ends something that was begun; until then what is busy is left alone.
func (b *breakage) later(what string, after time.Duration, f func()) {
	b.mu.Lock()
	b.busy[what] = true
	b.mu.Unlock()
	time.AfterFunc(after, func() {
		f()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.busy, what)
	})
}

func (b *breakage) isBusy(what string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.busy[what]
}

func (b *breakage) pass(most time.Duration) {
	time.Sleep(time.Duration(b.rnd.Int64N(int64(most))))
	b.revive()
	b.report()
	synctest.Wait()
	b.check()
}

// faults lets n things go wrong.
func (b *breakage) faults(n int) {
	generation := map[int]int{}
	seconds := func(most int) time.Duration { return time.Duration(1+b.rnd.IntN(most)) * time.Second }
	for range n {
		host := b.rnd.IntN(breakHosts)
		agent, busy := agentOf(host, generation[host]).AgentID, fmt.Sprintf("h%d", host)
		switch b.rnd.IntN(14) {
		case 0:
			b.note("the stream is closed")
			b.master.DropStream()
		case 1:
			b.note("the stream is cut")
			b.master.CutStream()
		case 2:
			if b.isBusy("stream") {
				break
			}
			d := seconds(120)
			b.note("the stream is silent for %s", d)
			b.master.Silence(true)
			b.later("stream", d, func() { b.master.Silence(false) })
		case 3:
			b.failover(generation, seconds)
		case 4:
			if !b.isBusy(busy) {
				b.freeze(agent, busy, seconds(89+b.rnd.IntN(900)))
			}
		case 5:
			if b.isBusy(busy) {
				break
			}
			b.note("agent %s is shut down", agent)
			generation[host]++
			next := agentOf(host, generation[host])
			b.master.ShutDown(agent)
			b.later(busy, seconds(60), func() { b.master.AddAgent(next) })
		case 6:
			b.note("the scheduler dies")
			b.crash()
			time.Sleep(seconds(30))
			b.start()
		case 7:
			if b.isBusy("stream") {
				break
			}
			b.rival(seconds(30))
		case 8:
			for id := range b.master.OffersOut() {
				b.note("offer %s is rescinded", id)
				b.master.Rescind(id)
				break
			}
		case 9:
			if live := b.master.Containers(); len(live) > 0 {
				x := live[b.rnd.IntN(len(live))]
				b.note("task %s fails", x.Launch.TaskID)
				b.master.Update(spec.TaskStatus{TaskID: x.Launch.TaskID, State: "TASK_FAILED", Message: "Container exited with status 137"})
			}
		case 10:
			if !b.steady {
				b.n, b.version = 1+b.rnd.IntN(6), b.version+b.rnd.IntN(2)
				b.note("the app becomes v%d with %d instances", b.version, b.n)
				b.put()
			}
		case 11:
			call := []string{"ACCEPT", "KILL", "DECLINE", "RECONCILE", "ACKNOWLEDGE", "REVIVE", "SUPPRESS", "SUBSCRIBE"}[b.rnd.IntN(8)]
			if !b.isBusy(call) {
				b.note("%s is refused", call)
				b.master.Refuse(call, 503, "busy")
				b.later(call, seconds(20), func() { b.master.Refuse(call, 0, "") })
			}
		case 13:
			if b.isBusy(busy) {
				break
			}
			b.note("agent %s restarts", agent)
			b.master.RestartAgent(agent)
			b.later(busy, 3700*time.Millisecond+b.chance(2300)*time.Millisecond, func() { b.master.Reregister(agent) })
		case 12:
			b.note("a commit fails")
			b.store.FailCommit(1+b.rnd.IntN(4), errors.New("disk is gone"))
		}
		for range 1 + b.rnd.IntN(8) {
			b.pass(8 * time.Second)
		}
	}
}

// failover is a new master, to which the agents come back one by one.
func (b *breakage) failover(generation map[int]int, seconds func(int) time.Duration) {
	b.note("the master fails over")
	b.master.Restart()
	for i := range breakHosts {
		busy := fmt.Sprintf("h%d", i)
		if b.isBusy(busy) {
			continue // it comes back when what happens to it is over
		}
		agent := agentOf(i, generation[i]).AgentID
		b.later(busy, seconds(100), func() { b.master.Reregister(agent) })
	}
}

// freeze cuts a host off; the master notices after 89 seconds.
func (b *breakage) freeze(agent, busy string, d time.Duration) {
	b.note("%s freezes for %s", agent, d)
	b.master.Freeze(agent)
	if d <= 89*time.Second { // not noticed
		b.later(busy, d, func() { b.master.Thaw(agent); b.master.Reregister(agent) })
		return
	}
	b.later(busy+" in between", 89*time.Second, func() { b.master.Unreachable(agent) })
	b.later(busy, d, func() { b.master.Reregister(agent) })
}

// rival is another scheduler that takes the framework over for a while.
func (b *breakage) rival(d time.Duration) {
	b.note("another scheduler takes the stream for %s", d)
	ctx, cancel := context.WithTimeout(context.Background(), d)
	c, events := b.newClient(b.client.FrameworkID()), make(chan mesos.Event)
	go func() {
		for {
			select {
			case <-events:
			case <-ctx.Done():
				return
			}
		}
	}()
	b.mu.Lock()
	b.busy["stream"] = true
	b.mu.Unlock()
	go func() {
		defer cancel()
		_ = c.Run(ctx, events) // ends with its context
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.busy, "stream")
	}()
}

// calm ends the faults, and waits for what they began.
func (b *breakage) calm() {
	b.note("calm")
	b.mu.Lock()
	b.rough = false
	b.mu.Unlock()
	b.store.FailCommit(0, nil)
	for {
		b.mu.Lock()
		n := len(b.busy)
		b.mu.Unlock()
		if n == 0 {
			return
		}
		b.pass(10 * time.Second)
	}
}

// settle waits until everything is as it is wanted.
func (b *breakage) settle() {
	var why string
	for range 400 {
		b.pass(10 * time.Second)
		if why = b.unsettled(); why == "" {
			return
		}
	}
	b.fatal("not settled: %s", why)
}

// maxAsks bounds how often a scheduler asks about tasks in one round, which is a quarter of an hour and some dozens of sessions.
const maxAsks = 250

// spoke holds what the scheduler said against what a real master wants to hear: questions with agents, else a task on an
// agent that is away is answered as unknown; acknowledgements of what has an id; and no flood of questions.
func (b *breakage) spoke() {
	asks := 0
	for _, c := range b.master.Calls() {
		switch c.Type {
		case "RECONCILE":
			asks++
			for _, r := range c.Reconcile {
				if r.AgentID == "" {
					b.fatal("asked about %s without its agent", r.TaskID)
				}
			}
		case "ACKNOWLEDGE":
			if len(c.UUID) == 0 || c.AgentID == "" {
				b.fatal("acknowledged what needs none: %s", c.TaskID)
			}
		case "KILL":
			if c.AgentID == "" {
				b.fatal("killed %s without its agent", c.TaskID)
			}
		}
	}
	if asks > maxAsks {
		b.fatal("%d questions about tasks", asks)
	}
}

func (b *breakage) unsettled() string {
	state, err := b.store.Load(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	live := b.master.Containers()
	switch {
	case len(state.Deployments) > 0:
		return fmt.Sprintf("%d deployments run", len(state.Deployments))
	case len(live) != b.n || len(state.Tasks) != b.n:
		return fmt.Sprintf("%d containers and %d tasks of %d", len(live), len(state.Tasks), b.n)
	case !b.master.Suppressed() || len(b.master.OffersOut()) > 0:
		return fmt.Sprintf("suppressed: %t, %d offers out", b.master.Suppressed(), len(b.master.OffersOut()))
	}
	for _, c := range live {
		t := state.Tasks[c.Launch.TaskID]
		seat, addr := identityOf(c.Launch)
		switch {
		case t == nil || t.Rung != spec.Running || !t.UnreachableSince.IsZero() || c.State != "TASK_RUNNING":
			return fmt.Sprintf("%s is %s: %+v", c.Launch.TaskID, c.State, t)
		case !t.ConfigVersion.Equal(state.Apps["/web"].LastConfigChange):
			return t.ID + " is outdated"
		case t.Seat != seat || t.Address != addr:
			return fmt.Sprintf("%s has seat %s and %s, and holds %s and %s", t.ID, t.Seat, t.Address, seat, addr)
		case !b.float && seat.Index >= b.n:
			return fmt.Sprintf("seat %s is not wanted", seat)
		}
	}
	return ""
}

func (b *breakage) end() {
	b.crash()
	b.master.Close()
	time.Sleep(time.Minute) // for what is late
}
