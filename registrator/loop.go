package registrator

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/spec"
)

// loop is the state of Run; only Run's goroutine touches it. Calls to Consul run in goroutines and come back as results.
type loop struct {
	r       *Registrator
	ctx     context.Context // Run's; ends the calls
	log     *logrus.Entry
	results chan func(now time.Time)

	seenState, seenInventory <-chan struct{} // close when there is something newer than what was looked at

	state   spec.HostState
	running []services.Container
	others  []services.Container // that no document names
	// lingering are such containers by id, of which little is known now, or that failed: what they have registered stays as it is.
	lingering map[string]bool
	unclear   map[string]bool // the names of those
	known     bool            // the first state and the first inventory are here; before, nothing may be removed
	stale     bool            // what is wanted has to be decided anew
	host      netip.Addr      // where the Consul agent says that this host is
	admitted  map[string]bool
	wanted    map[string]services.Service
	withheld  map[claim]services.Withheld

	// actual is what Consul has, as far as we know: the last listing plus what was written since.
	actual   map[string]services.Registered
	foreign  map[string]bool
	told     map[string]bool   // the wanted ones among foreign, once the log has them
	legacy   map[string]string // Registrator's ids -> the container's name
	troubles map[trouble]bool  // that the log has
	listed   bool              // actual and foreign are real
	listing  bool              // a listing is under way
	dirty    map[string]bool   // ids written since that listing began: its news of them is old
	reach    reach
	listNext time.Time

	busy map[string]bool // ids with a write under way; one at a time each
	// unsure are registrations that Consul may have carried out, or may still do, without our knowing: those under way and
	// those that ended without a definite answer. They stay until a later write of the id is answered or the list has them.
	unsure  map[claim]bool
	adding  int // registrations and TTL updates among them
	leaving int // removals among them
	retries map[string]retry
	ttl     map[string]ttlState
	drains  map[string]*drain
	asking  int // questions to the catalog about drains
}

// claim is one task's claim on a service id. Two tasks of one seat, the one that drains and its successor, have the same ids.
type claim struct {
	id, task string // the task, or the container, as services.Holder tells it
}

// reach is whether the agent answers. It starts unknown, so that the first answer is logged.
type reach int

const (
	unknown reach = iota
	reachable
	unreachable
)

type retry struct {
	failures int
	at       time.Time
}

type ttlState struct {
	passing bool
	at      time.Time
}

func newLoop(ctx context.Context, r *Registrator) *loop {
	return &loop{
		r: r, ctx: ctx, log: r.log(), results: make(chan func(time.Time)),
		host: r.o.HostAddress, lingering: map[string]bool{}, unclear: map[string]bool{}, legacy: map[string]string{}, troubles: map[trouble]bool{},
		admitted: map[string]bool{}, wanted: map[string]services.Service{}, withheld: map[claim]services.Withheld{},
		actual: map[string]services.Registered{}, foreign: map[string]bool{}, told: map[string]bool{}, dirty: map[string]bool{},
		busy: map[string]bool{}, unsure: map[claim]bool{}, retries: map[string]retry{}, ttl: map[string]ttlState{}, drains: map[string]*drain{},
	}
}

// look takes in the newest state and inventory. While the Docker Engine is away its last known containers count.
func (l *loop) look(state spec.HostState, snapshot docker.Snapshot) {
	l.state, l.stale = state, true
	named := state.Document.Version > 0 || state.Document.Host != "" || l.r.o.Alone
	l.known = l.known || named && snapshot.Connected
	l.running = l.running[:0]
	broken := brokenPods(state.Document, snapshot)
	for _, c := range snapshot.Containers {
		if task := c.Labels[spec.LabelTask]; c.Running && c.Stopping.IsZero() && task != "" && !broken[task] {
			l.running = append(l.running, services.Container{Task: task, Addresses: c.Addresses})
		}
	}
	l.lookAtOthers(snapshot)
}

// brokenPods are the tasks of pods that have lost a container. The sandbox that holds such a pod's address runs on until the
// other containers have ended, but its clients must not come any more. A container that ended well is none of them.
func brokenPods(document spec.HostDocument, snapshot docker.Snapshot) map[string]bool {
	pod := map[string]string{}
	for _, seat := range document.Seats {
		for _, c := range seat.Containers {
			pod[c.TaskID] = seat.TaskID
		}
	}
	broken := map[string]bool{}
	for _, c := range snapshot.Containers {
		task, ours := pod[c.Labels[spec.LabelTask]]
		if ours && !c.Running && c.State != "created" && (c.ExitCode != 0 || c.Partial) {
			broken[task] = true
		}
	}
	return broken
}

// converge starts what is to be written now and says how long nothing else can become due.
func (l *loop) converge(now time.Time) time.Duration {
	if l.known {
		if l.stale {
			l.decide()
			if l.listed { // before, the host's address may not be known
				l.complain()
			}
			l.stale = false
		}
		l.write(now)
	}
	l.acknowledge(now)
	if l.known && !l.listing && !now.Before(l.listNext) {
		l.list(now)
	}
	return l.due(now).Sub(now)
}

// decide computes the wanted services anew.
func (l *loop) decide() {
	present := map[string]bool{}
	for _, have := range l.actual {
		present[have.Meta[services.MetaTask]] = true
	}
	live := map[string]bool{}
	for _, seat := range l.state.Document.Seats {
		live[seat.TaskID] = true
		if present[services.TaskValue(seat.TaskID)] {
			l.admitted[seat.TaskID] = true
		}
	}
	maps.DeleteFunc(l.admitted, func(task string, _ bool) bool { return !live[task] })
	wanted, withheld := services.From(services.Input{
		Host: l.r.o.Host, Owner: l.r.o.Owner, State: l.state, Running: l.running, Admitted: l.admitted,
		Others: l.others, Policy: l.r.o.Others, HostAddress: l.host, HostForced: l.r.o.HostAddress.IsValid(),
	})
	clear(l.wanted)
	clear(l.withheld)
	for _, s := range wanted {
		l.wanted[s.ID] = s
		if s.Container == "" {
			l.admitted[s.Task] = true
		}
	}
	for _, w := range withheld {
		l.withheld[claim{w.ID, services.TaskValue(w.Task)}] = w
	}
}

// write starts the writes that make Consul's list the wanted one: removals first, as clients are misled by them.
func (l *loop) write(now time.Time) {
	if !l.listed || l.reach != reachable {
		return
	}
	for _, id := range l.present() {
		if _, ok := l.wanted[id]; !ok && !l.lingers(id) && l.leaving < l.r.o.Workers && l.free(id, now) {
			l.deregister(id)
		}
	}
	l.succeed(now)
	for _, id := range slices.Sorted(maps.Keys(l.wanted)) {
		if l.adding >= l.r.o.Workers {
			return
		}
		switch {
		case l.foreign[id]:
			l.tell(id)
		case l.free(id, now):
			l.writeOne(l.wanted[id], now)
		}
	}
}

// present are the ids that are in Consul, or may be, sorted.
func (l *loop) present() []string {
	ids := slices.Collect(maps.Keys(l.actual))
	for c := range l.unsure {
		if !l.foreign[c.id] {
			ids = append(ids, c.id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// tell says once that a wanted service cannot be registered.
func (l *loop) tell(id string) {
	if !l.told[id] {
		l.told[id] = true
		l.log.WithFields(logrus.Fields{"service": id, "of": l.wanted[id].Of(), "task": l.wanted[id].Task}).
			Warn("Another owner has a service with this id in Consul; leaving it alone")
	}
}

func (l *loop) writeOne(s services.Service, now time.Time) {
	have, ok := l.actual[s.ID]
	switch {
	case !ok:
		l.register(s, "new")
	case s.Differs(have) != "":
		l.register(s, s.Differs(have)+" changed")
	case l.doubtful(s.ID):
		l.register(s, "an earlier registration had no answer")
	case s.Check != nil && s.Check.TTL > 0 && s.Check.Known:
		last, ok := l.ttl[s.ID]
		if !ok || last.passing != s.Check.Passing || now.Sub(last.at) >= l.r.o.AntiEntropy {
			l.refresh(s)
		}
	}
}

// free says whether the id may be written now.
func (l *loop) free(id string, now time.Time) bool {
	return !l.busy[id] && !now.Before(l.retries[id].at)
}

// due is when the loop must look again although nothing happens.
func (l *loop) due(now time.Time) time.Time {
	next := now.Add(l.r.o.AntiEntropy)
	sooner := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	sooner(l.listNext)
	for _, r := range l.retries {
		sooner(r.at)
	}
	for _, t := range l.ttl {
		sooner(t.at.Add(l.r.o.AntiEntropy))
	}
	l.dueDrains(sooner)
	return next
}

// Waiting times after failures: they double from the first to the last.
const (
	firstWait = 500 * time.Millisecond
	lastWait  = 30 * time.Second
)

// backoff waits the longer the more often something failed, with jitter so that the hosts of a fleet do not call a
// server that comes back all at once.
func backoff(failures int) time.Duration {
	wait := lastWait
	if failures < 7 {
		wait = min(firstWait<<max(failures-1, 0), lastWait)
	}
	return wait/2 + rand.N(wait/2)
}
