package scheduler

import (
	"context"
	"errors"
	"fmt"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

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
