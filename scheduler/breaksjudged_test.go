package scheduler

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/mesos/mesostest"
	"github.com/berth-project/berth/spec"
)

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
