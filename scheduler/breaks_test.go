package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
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
