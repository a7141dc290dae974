package scheduler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

// world is a small working engine with hosts: it offers, launches, kills and reconciles. Tasks change state when the test
// says so, or by themselves in auto mode. It outlives the schedulers that a test starts over it.
type world struct {
	mu      sync.Mutex // guards all below; schedulers call from their own goroutines
	hosts   map[string]*worldHost
	tasks   map[string]*worldTask
	offers  map[string]string // offer id -> host
	nextID  int
	session chan mesos.Event // nil while nobody is subscribed
	sup     bool
	refused map[string]time.Time
	grew    map[string]bool // hosts on which more became free since their offer
	log     []string
	auto    bool
	silent  bool // questions wait in asked
	asked   []mesos.TaskRef
	check   func() // called after every change of a task
	// launched and stopping are called when a task begins, and before it is told to end.
	launched, stopping func(*worldTask)
	uuid               int
}

type worldHost struct {
	name       string
	cpus, mem  float64
	attributes map[string]string
	away       bool // the engine does not reach it
}

type worldTask struct {
	spec.Launch
	host    string
	state   string
	address string
	seat    spec.SeatID
	killed  bool
	// Of a pod's container: the instance and its name. A container that fails or is killed ends the others.
	pod, container string
}

// owner is the scheduler's id of the task.
func (t *worldTask) owner() string {
	if t.pod != "" {
		return t.pod
	}
	return t.TaskID
}

func newWorld() *world {
	return &world{hosts: map[string]*worldHost{}, tasks: map[string]*worldTask{}, offers: map[string]string{}, refused: map[string]time.Time{}, grew: map[string]bool{}}
}

func (w *world) say(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// said takes the lines written since the last call.
func (w *world) said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.log
	w.log = nil
	return out
}

// Run implements Engine.
func (w *world) Run(ctx context.Context, events chan<- mesos.Event) error {
	// The queue has no bound worth meeting: a send never blocks under the lock.
	ch := make(chan mesos.Event, 10000)
	w.mu.Lock()
	w.session, w.sup = ch, false
	clear(w.offers)
	clear(w.refused)
	ch <- mesos.Subscribed{FrameworkID: "f-1", Master: "world", Version: "1"}
	w.offer()
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		if w.session == ch {
			w.session = nil
		}
		w.mu.Unlock()
	}()
	retry := time.NewTicker(5 * time.Second) // refusals time out
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry.C:
			w.mu.Lock()
			w.offer()
			w.mu.Unlock()
		case ev := <-ch:
			select {
			case events <- ev:
			case <-ctx.Done():
				return ctx.Err()
			}
			// The bubble's clock moves when all else stands still: the scheduler has done what follows from this event before
			// the next one comes, so a scenario's lines have one order only.
			time.Sleep(time.Nanosecond)
		}
	}
}

// calm waits until nothing moves any more: no event is on its way.
func calm() {
	time.Sleep(time.Microsecond) // a thousand events
	synctest.Wait()
}

func (w *world) send(ev mesos.Event) {
	if w.session != nil {
		w.session <- ev
	}
}

// offer offers what is free on each host without an outstanding offer.
func (w *world) offer() {
	if w.session == nil || w.sup {
		return
	}
	out := map[string]bool{}
	for _, h := range w.offers {
		out[h] = true
	}
	var all []spec.Offer
	for _, name := range slices.Sorted(maps.Keys(w.hosts)) {
		if out[name] || time.Now().Before(w.refused[name]) {
			continue
		}
		h := w.hosts[name]
		if h.away {
			continue
		}
		o := spec.Offer{AgentID: "a-" + name, Host: name, Attributes: h.attributes, CPUs: h.cpus, Mem: h.mem, Disk: 1e6, Ports: []spec.PortRange{{Begin: 31000, End: 32000}}}
		for _, t := range w.tasks {
			if t.host == name && !spec.TerminalState(t.state) {
				o.CPUs -= t.CPUs
				o.Mem -= t.Mem
			}
		}
		w.nextID++
		o.ID = fmt.Sprintf("o%d", w.nextID)
		w.offers[o.ID] = name
		delete(w.grew, name)
		all = append(all, o)
	}
	if len(all) > 0 {
		w.send(mesos.Offers{Offers: all})
	}
}

func (w *world) connected() error {
	if w.session == nil {
		return mesos.ErrDisconnected
	}
	return nil
}

// Accept implements Engine.
func (w *world) Accept(_ context.Context, ids []string, launches []spec.Launch, _ time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.connected(); err != nil {
		return err
	}
	host, ok := w.offers[ids[0]]
	for _, id := range ids {
		if w.offers[id] != host {
			ok = false
		}
		delete(w.offers, id)
	}
	for _, l := range launches {
		if !ok {
			for _, l := range append(l.Members, l)[:max(1, len(l.Members))] {
				w.status(&worldTask{Launch: l, state: "TASK_DROPPED"}, "invalid offers")
			}
			continue
		}
		t := &worldTask{Launch: l, host: host, state: "TASK_STAGING"}
		for _, p := range l.Parameters {
			if p.Key == "ip" {
				t.address = p.Value
			}
			if k, v, _ := strings.Cut(p.Value, "="); k == spec.LabelSeat {
				fmt.Sscan(v, &t.seat.Index)
			} else if k == spec.LabelApp {
				t.seat.App = spec.AppID(v)
			}
		}
		group, with := []*worldTask{t}, ""
		if len(l.Members) > 0 {
			group = nil
			for _, m := range l.Members {
				group = append(group, &worldTask{Launch: m, host: host, state: t.state, address: t.address, seat: t.seat, pod: l.TaskID, container: m.Name})
				with += " " + m.Name
			}
			with = " with" + with
		}
		w.say("launch %s on %s as %s, %s%s", t.seat, host, hostname(l), t.address, with)
		for _, t := range group {
			if w.tasks[t.TaskID] != nil {
				panic("a task id is used twice")
			}
			w.tasks[t.TaskID] = t
			if w.launched != nil {
				w.launched(t)
			}
		}
		for _, t := range group {
			if w.auto {
				w.set(t, "TASK_RUNNING", "")
			}
		}
	}
	w.changed()
	w.offer()
	return nil
}

func hostname(l spec.Launch) string {
	for _, p := range l.Parameters {
		if p.Key == "hostname" {
			return p.Value
		}
	}
	return "?"
}

func (w *world) changed() {
	if w.check != nil {
		w.check()
	}
}

// set moves a task and tells the scheduler.
func (w *world) set(t *worldTask, state, message string) {
	t.state = state
	if spec.TerminalState(state) {
		delete(w.refused, t.host) // more is free now than was refused, or is offered
		w.grew[t.host] = true
	}
	w.status(t, message)
	w.changed()
	if t.pod == "" || !spec.TerminalState(state) || state == "TASK_FINISHED" {
		return
	}
	for _, o := range w.live() {
		if o.pod == t.pod && !o.killed {
			if o.killed = true; w.auto {
				w.set(o, "TASK_KILLED", "")
			}
		}
	}
}

func (w *world) status(t *worldTask, message string) {
	w.uuid++
	w.send(mesos.Update{Status: spec.TaskStatus{TaskID: t.TaskID, AgentID: "a-" + t.host, State: t.state, Message: message, Timestamp: time.Now(), ContainerID: "c-" + t.TaskID, UUID: fmt.Appendf(nil, "%d", w.uuid)}})
}

// Decline implements Engine.
func (w *world) Decline(_ context.Context, ids []string, refuse time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if h, ok := w.offers[id]; ok {
			if delete(w.offers, id); !w.grew[h] {
				w.refused[h] = time.Now().Add(refuse)
			}
		}
	}
	return w.connected()
}

// Kill implements Engine.
func (w *world) Kill(_ context.Context, id, _ string, grace time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.connected(); err != nil {
		return err
	}
	t := w.tasks[id]
	if t == nil || spec.TerminalState(t.state) {
		w.send(mesos.Update{Status: spec.TaskStatus{TaskID: id, State: "TASK_GONE", Reason: "REASON_RECONCILIATION", Timestamp: time.Now()}})
		return nil
	}
	w.say("kill %s (grace %s)", t.name(), grace)
	if w.stopping != nil {
		w.stopping(t)
	}
	for _, o := range w.tasks {
		o.killed = o.killed || o == t || t.pod != "" && o.pod == t.pod
	}
	if w.auto {
		w.set(t, "TASK_KILLED", "")
		w.offer()
	}
	return nil
}

// Acknowledge implements Engine.
func (w *world) Acknowledge(context.Context, ...spec.TaskStatus) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.connected()
}

// Reconcile implements Engine.
func (w *world) Reconcile(_ context.Context, refs []mesos.TaskRef) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.connected(); err != nil {
		return err
	}
	if w.silent {
		w.asked = append(w.asked, refs...)
		return nil
	}
	for _, r := range refs {
		st := spec.TaskStatus{TaskID: r.TaskID, AgentID: r.AgentID, State: "TASK_GONE", Reason: "REASON_RECONCILIATION", Timestamp: time.Now()}
		if t := w.tasks[r.TaskID]; t != nil {
			st.State = t.state
		}
		w.send(mesos.Update{Status: st})
	}
	return nil
}

// Suppress implements Engine.
func (w *world) Suppress(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sup = true
	return w.connected()
}

// Revive implements Engine.
func (w *world) Revive(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sup = false
	clear(w.refused)
	w.offer()
	return w.connected()
}

// live are the tasks that are not over, by seat.
func (w *world) live() []*worldTask {
	var out []*worldTask
	for _, t := range w.tasks {
		if !spec.TerminalState(t.state) {
			out = append(out, t)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].seat != out[j].seat {
			return out[i].seat.Less(out[j].seat)
		}
		return out[i].TaskID < out[j].TaskID
	})
	return out
}

// alive is live for callers without the lock.
func (w *world) alive() []*worldTask {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live()
}

func (t *worldTask) name() string {
	if t.container != "" {
		return t.seat.String() + ":" + t.container
	}
	return t.seat.String()
}

// find is the live task of a seat (SEAT:CONTAINER of a pod's), rather one that can be reached.
func (w *world) find(seat string) (*worldTask, error) {
	seat, container, _ := strings.Cut(seat, ":")
	id, err := spec.ParseSeatID(seat)
	if err != nil {
		return nil, err
	}
	var lost *worldTask
	for _, t := range slices.Backward(w.live()) {
		mine := t.seat == id && (container == "" || container == t.container)
		switch {
		case mine && t.state != "TASK_UNREACHABLE":
			return t, nil
		case mine:
			lost = t
		}
	}
	if lost == nil {
		return nil, errors.New("no live task in " + seat)
	}
	return lost, nil
}

// doubled says what must never be: two live tasks of a seat, or two with one address.
func (w *world) doubled() error {
	seats, addrs := map[spec.SeatID]string{}, map[string]spec.SeatID{}
	for _, t := range w.live() {
		if other, ok := seats[t.seat]; ok && other == t.pod {
			continue // another container of the same instance
		} else if ok {
			return fmt.Errorf("seat %s runs twice: %s and %s", t.seat, other, t.TaskID)
		}
		if other, ok := addrs[t.address]; ok {
			return fmt.Errorf("address %s is used by %s and %s", t.address, other, t.seat)
		}
		if _, err := netip.ParseAddr(t.address); err != nil {
			return fmt.Errorf("seat %s has no address: %w", t.seat, err)
		}
		seats[t.seat], addrs[t.address] = t.owner(), t.seat
	}
	return nil
}
