package mesos_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/mesos/mesostest"
	"github.com/berth-project/berth/spec"
)

// inBubble runs a test with a master in memory and time that passes by itself. The jitter is at its largest: pauses are
// exactly 0.1 s, 0.2 s, 0.4 s ...
func inBubble(t *testing.T, opts mesos.Options, f func(t *testing.T, m *mesostest.Master, r *running)) {
	synctest.Test(t, func(t *testing.T) {
		m := mesostest.New(mesostest.Options{AutoRun: true})
		if len(opts.Masters) == 0 {
			opts.Masters = []string{"m1:5050"}
		}
		if opts.Transport == nil {
			opts.Transport = m.Transport()
		}
		opts.Rand = func() float64 { return 1 }
		r := start(t, opts)
		defer m.Close()
		defer r.end()
		f(t, m, r)
	})
}

func TestASilentMasterIsGivenUp(t *testing.T) {
	inBubble(t, mesos.Options{}, func(t *testing.T, m *mesostest.Master, r *running) {
		next[mesos.Subscribed](r)
		time.Sleep(10 * time.Minute) // heartbeats only: the session stands
		if !m.Subscribed() {
			t.Fatal("the session ended although heartbeats came")
		}
		m.Silence(true)
		began := time.Now()
		d := next[mesos.Disconnected](r)
		if !errors.Is(d.Err, mesos.ErrSilent) || d.Retry != 100*time.Millisecond {
			t.Errorf("got %+v", d)
		}
		if took := time.Since(began); took < 30*time.Second || took > 45*time.Second {
			t.Errorf("took %s, want at most 3 heartbeats", took)
		}
		// Also while the answer to SUBSCRIBE does not come.
		if d := next[mesos.Disconnected](r); !errors.Is(d.Err, mesos.ErrSilent) {
			t.Errorf("got %+v", d)
		}
		m.Silence(false)
		again := next[mesos.Subscribed](r)
		if last := m.Calls()[len(m.Calls())-1]; last.Subscribe.ID != again.FrameworkID || last.FrameworkID != again.FrameworkID {
			t.Errorf("subscribed again as %+v", last)
		}
	})
}

func TestASlowOwnerIsNotASilentMaster(t *testing.T) {
	inBubble(t, mesos.Options{}, func(t *testing.T, m *mesostest.Master, r *running) {
		next[mesos.Subscribed](r)
		m.Offer(host1)
		time.Sleep(time.Hour) // the owner does not read
		next[mesos.Offers](r)
		synctest.Wait()
		if !m.Subscribed() {
			t.Error("the session ended")
		}
	})
}

func TestBackoffGrowsAndALongSessionResetsIt(t *testing.T) {
	inBubble(t, mesos.Options{}, func(t *testing.T, m *mesostest.Master, r *running) {
		m.Refuse("SUBSCRIBE", http.StatusServiceUnavailable, "no leader")
		if _, ok := (<-r.events).(mesos.Subscribed); ok { // Run may have been quicker than Refuse
			m.DropStream()
			next[mesos.Disconnected](r)
		}
		var last time.Duration
		for range 12 {
			d := next[mesos.Disconnected](r)
			var call *mesos.CallError
			if !errors.As(d.Err, &call) || call.Status != 503 || call.Body != "no leader" {
				t.Fatalf("got %v", d.Err)
			}
			if d.Retry < last || d.Retry > 30*time.Second {
				t.Errorf("%s after %s", d.Retry, last)
			}
			last = d.Retry
		}
		if last != 30*time.Second {
			t.Errorf("the pause grew to %s only", last)
		}
		m.Refuse("SUBSCRIBE", 0, "")
		next[mesos.Subscribed](r)
		m.DropStream()
		if d := next[mesos.Disconnected](r); d.Retry != 30*time.Second {
			t.Errorf("a session of no length made the pause %s", d.Retry)
		}
		next[mesos.Subscribed](r)
		time.Sleep(31 * time.Second)
		m.DropStream()
		if d := next[mesos.Disconnected](r); d.Retry != 100*time.Millisecond {
			t.Errorf("after a long session the pause is %s", d.Retry)
		}
	})
}

func TestTwoSchedulersOfOneFrameworkMakeNoStorm(t *testing.T) {
	inBubble(t, mesos.Options{}, func(t *testing.T, m *mesostest.Master, r *running) {
		id := next[mesos.Subscribed](r).FrameworkID
		other := start(t, mesos.Options{Masters: []string{"m1:5050"}, Transport: m.Transport(), Framework: mesos.Framework{ID: id}})
		defer other.end()
		deadline := time.After(10 * time.Minute)
		takenOver := 0
		for over := false; !over; {
			select {
			case e := <-r.events:
				if d, ok := e.(mesos.Disconnected); ok && errors.Is(d.Err, mesos.ErrFailedOver) {
					takenOver++
				}
			case <-other.events:
			case <-deadline:
				over = true
			}
		}
		if takenOver == 0 || takenOver > 40 {
			t.Errorf("taken over %d times in ten minutes", takenOver)
		}
	})
}

func TestARemovedFrameworkEndsRun(t *testing.T) {
	for name, remove := range map[string]func(*mesostest.Master, *running){
		"by the master":            func(m *mesostest.Master, _ *running) { m.RemoveFramework() },
		"torn down by this client": func(_ *mesostest.Master, r *running) { check(r.t.(*testing.T), r.Teardown(r.t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mesostest.New(mesostest.Options{})
				defer m.Close()
				r := start(t, mesos.Options{Masters: []string{"m1"}, Transport: m.Transport()})
				defer r.stop()
				next[mesos.Subscribed](r)
				remove(m, r)
				e := <-r.events
				if _, ok := e.(mesos.Disconnected); ok { // after a teardown the next attempt finds out
					e = <-r.events
				}
				if removed, ok := e.(mesos.FrameworkRemoved); !ok || removed.Message != "Framework has been removed" {
					t.Fatalf("got %T %+v", e, e)
				}
				if err := <-r.done; !errors.Is(err, mesos.ErrFrameworkRemoved) {
					t.Errorf("got %v", err)
				}
				if err := r.Revive(t.Context()); !errors.Is(err, mesos.ErrDisconnected) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestOtherErrorsOfTheMasterAreTold(t *testing.T) {
	inBubble(t, mesos.Options{}, func(t *testing.T, m *mesostest.Master, r *running) {
		next[mesos.Subscribed](r)
		m.Error("Role 'x' is not present in the master's --roles")
		var refused *mesos.MasterError
		if d := next[mesos.Disconnected](r); !errors.As(d.Err, &refused) || refused.Message == "" {
			t.Errorf("got %v", d.Err)
		}
		next[mesos.Subscribed](r)
	})
}

// cluster is a leader, a master that redirects to it, and one that redirects to itself.
func cluster() mesostest.Mux {
	leader, follower, circle := mesostest.New(mesostest.Options{}), mesostest.New(mesostest.Options{}), mesostest.New(mesostest.Options{})
	follower.Redirect("//leader:5050" + mesostest.Path) // as Mesos writes it: without a scheme
	circle.Redirect("//circle:5050" + mesostest.Path)
	return mesostest.Mux{"leader:5050": leader, "follower:5050": follower, "circle:5050": circle}
}

func TestTheLeaderIsFound(t *testing.T) {
	for name, list := range map[string][]string{
		"at once":                 {"leader:5050"},
		"by redirect":             {"http://follower:5050"},
		"by the list":             {"gone:5050", "leader:5050"},
		"by both, after a circle": {"circle:5050", "follower:5050" + mesostest.Path},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, mesos.Options{Masters: list, Transport: cluster()})
				defer r.end()
				e := <-r.events
				for range list {
					if _, ok := e.(mesos.Disconnected); ok {
						e = <-r.events
					}
				}
				if sub, ok := e.(mesos.Subscribed); !ok || sub.Master != "http://leader:5050" {
					t.Fatalf("got %T %+v", e, e)
				}
				check(t, r.Revive(t.Context()))
			})
		})
	}
}

func TestARedirectCannotLeadAstray(t *testing.T) {
	for _, to := range []string{"", "ftp://x/", "http://plain:5050" + mesostest.Path, "https:///nohost", "://"} {
		t.Run(to, func(t *testing.T) {
			answer := roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.URL.Scheme != "https" || r.URL.Host != "m1" {
					t.Errorf("asked %s", r.URL)
				}
				return &http.Response{StatusCode: 307, Header: http.Header{"Location": {to}}, Body: http.NoBody, Request: r}, nil
			})
			inBubble(t, mesos.Options{Masters: []string{"https://m1"}, Transport: answer}, func(t *testing.T, _ *mesostest.Master, r *running) {
				next[mesos.Disconnected](r)
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCallsWithoutASession(t *testing.T) {
	inBubble(t, mesos.Options{}, func(t *testing.T, m *mesostest.Master, r *running) {
		next[mesos.Subscribed](r)
		offer := m.Offer(host1)
		next[mesos.Offers](r)
		m.DropStream()
		next[mesos.Disconnected](r)
		ctx := t.Context()
		for name, err := range map[string]error{
			"accept":    r.Accept(ctx, []string{offer}, []spec.Launch{fullLaunch(host1)}, 0),
			"decline":   r.Decline(ctx, []string{offer}, 0),
			"kill":      r.Kill(ctx, "t", "a", 0),
			"ack":       r.Acknowledge(ctx, spec.TaskStatus{UUID: []byte{1}}),
			"reconcile": r.Reconcile(ctx, nil),
			"suppress":  r.Suppress(ctx), "revive": r.Revive(ctx), "teardown": r.Teardown(ctx),
		} {
			if !errors.Is(err, mesos.ErrDisconnected) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := len(m.Calls()); n != 1 {
			t.Errorf("%d calls were sent", n-1)
		}
		next[mesos.Subscribed](r)
		// An offer of the session before is the master's to refuse.
		check(t, r.Accept(ctx, []string{offer}, []spec.Launch{fullLaunch(host1)}, 0))
		if s := next[mesos.Update](r).Status; s.State != "TASK_DROPPED" || s.Reason != "REASON_INVALID_OFFERS" || s.UUID != nil {
			t.Errorf("got %+v", s)
		}
	})
}

func TestACallWithoutAnAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(m *mesostest.Master, cancel context.CancelFunc)
		want error
	}{
		"deadline":     {func(*mesostest.Master, context.CancelFunc) {}, context.DeadlineExceeded},
		"cancelled":    {func(_ *mesostest.Master, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"session ends": {func(m *mesostest.Master, _ context.CancelFunc) { m.DropStream() }, mesos.ErrDisconnected},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mesostest.New(mesostest.Options{})
				defer m.Close()
				stuck := hang{m.Transport(), isCall, make(chan struct{}, 1)}
				r := start(t, mesos.Options{Masters: []string{"m1"}, Transport: stuck})
				defer r.end()
				next[mesos.Subscribed](r)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				got := make(chan error)
				began := time.Now()
				go func() { got <- r.Revive(ctx) }()
				<-stuck.waiting
				go func() {
					for { // Run must not wait for this test
						select {
						case <-r.events:
						case <-ctx.Done():
							return
						}
					}
				}()
				c.end(m, cancel)
				if err := <-got; !errors.Is(err, c.want) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

func TestACallRefused(t *testing.T) {
	inBubble(t, mesos.Options{}, func(t *testing.T, m *mesostest.Master, r *running) {
		next[mesos.Subscribed](r)
		m.Refuse("KILL", http.StatusBadRequest, "no such thing\n")
		var call *mesos.CallError
		if err := r.Kill(t.Context(), "t", "a", 0); !errors.As(err, &call) || call.Call != "KILL" || call.Status != 400 || call.Body != "no such thing" {
			t.Errorf("got %v", err)
		}
		if err := r.Accept(t.Context(), []string{"o"}, []spec.Launch{{TaskID: "t", HostNet: true, Network: "n"}}, 0); err == nil {
			t.Error("a launch that cannot be was sent")
		}
	})
}

func TestEventsOfAgentsAndExecutors(t *testing.T) {
	inBubble(t, mesos.Options{}, func(t *testing.T, m *mesostest.Master, r *running) {
		next[mesos.Subscribed](r)
		m.AddAgent(host1)
		offer := next[mesos.Offers](r).Offers[0]
		check(t, r.Accept(t.Context(), []string{offer.ID}, []spec.Launch{fullLaunch(offer)}, 0))
		starting := next[mesos.Update](r).Status
		next[mesos.Offers](r)
		began := time.Now()
		if again := next[mesos.Update](r).Status; string(again.UUID) != string(starting.UUID) || time.Since(began) != 10*time.Second {
			t.Errorf("sent again after %s: %+v", time.Since(began), again)
		}
		check(t, r.Acknowledge(t.Context(), starting))
		check(t, r.Acknowledge(t.Context(), next[mesos.Update](r).Status))
		m.Unreachable("agent-1")
		if s := next[mesos.Update](r).Status; s.State != "TASK_UNREACHABLE" {
			t.Errorf("got %+v", s)
		}
		next[mesos.Rescinded](r)
		if f := next[mesos.AgentFailed](r); f.AgentID != "agent-1" {
			t.Errorf("got %+v", f)
		}
		check(t, r.Reconcile(t.Context(), nil)) // leaves it out
		check(t, r.Reconcile(t.Context(), []mesos.TaskRef{{TaskID: starting.TaskID}}))
		if s := next[mesos.Update](r).Status; s.State != "TASK_UNKNOWN" {
			t.Errorf("got %+v", s)
		}
		m.Reregister("agent-1")
		if s := next[mesos.Update](r).Status; s.State != "TASK_RUNNING" || s.Reason != "REASON_AGENT_REREGISTERED" || s.UUID != nil {
			t.Errorf("got %+v", s)
		}
		next[mesos.Offers](r)
		m.Restart()
		next[mesos.Disconnected](r)
		next[mesos.Subscribed](r)
		check(t, r.Reconcile(t.Context(), nil)) // silence until the agent is back
		m.Reregister("agent-1")
		next[mesos.Offers](r)
	})
}
