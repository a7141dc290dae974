package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// scripted answers probes as the test says, and keeps when they came.
type scripted struct {
	mu    sync.Mutex
	err   error
	hang  bool // until the timeout
	at    map[string][]time.Time
	most  int // at the same moment
	now   int
	takes time.Duration

	answer spec.ProbeResponse
}

func (s *scripted) Probe(ctx context.Context, t Target, _ spec.Probe) (spec.ProbeResponse, error) {
	s.mu.Lock()
	if s.at == nil {
		s.at = map[string][]time.Time{}
	}
	s.at[t.TaskID] = append(s.at[t.TaskID], time.Now())
	s.now++
	s.most = max(s.most, s.now)
	err, hang, takes, answer := s.err, s.hang, s.takes, s.answer
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.now--; s.mu.Unlock() }()
	if takes > 0 {
		time.Sleep(takes)
	}
	if hang {
		<-ctx.Done()
		return answer, ctx.Err()
	}
	return answer, err
}

func (s *scripted) say(err error) { s.mu.Lock(); s.err = err; s.mu.Unlock() }

func (s *scripted) times(task string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[task]
}

func start(t *testing.T, p Prober, concurrency int) *Manager {
	t.Helper()
	log, _ := test.NewNullLogger()
	m, err := New(Options{Prober: p, Concurrency: concurrency, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = m.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; synctest.Wait() })
	return m
}

func result1(t *testing.T, m *Manager, task string) spec.CheckHealth {
	t.Helper()
	r, _ := m.Results().Get()
	if len(r[task]) != 1 {
		t.Fatalf("results of %s: %+v", task, r)
	}
	return r[task][0]
}

func target(task string, since time.Time) Target {
	return Target{TaskID: task, Container: "c", Address: netip.MustParseAddr("10.0.0.2"), Since: since, Probes: []spec.Probe{
		{Protocol: "TCP", Port: 80, GracePeriod: time.Minute, Interval: 10 * time.Second, Timeout: 2 * time.Second},
	}}
}

func TestGoLiveAndFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{err: errors.New("connection refused")}
		m := start(t, s, 0)
		m.Set([]Target{target("a", time.Now())})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		at := s.times("a")
		if d := at[1].Sub(at[0]); d != fastest { // at once, and again soon
			t.Errorf("the second probe came after %v", d)
		}
		if d := at[len(at)-1].Sub(at[len(at)-2]); d != fast { // then every second
			t.Errorf("the pause is still %v", d)
		}
		if h := result1(t, m, "a"); h.Known || h.Alive || h.ConsecutiveFailures != 0 || h.LastFailureCause != "connection refused" {
			t.Errorf("in the grace period: %+v", h)
		}
		s.say(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if h := result1(t, m, "a"); !h.Alive || !h.Known || h.FirstSuccess.IsZero() {
			t.Errorf("after a success: %+v", h)
		}
		before := len(s.times("a"))
		time.Sleep(40 * time.Second)
		if n := len(s.times("a")) - before; n != 4 {
			t.Errorf("%d probes in 40 s of the steady state", n)
		}
		_, changed := m.Results().Get()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		select {
		case <-changed:
			t.Error("repeated successes are news")
		default:
		}
		s.say(errors.New("HTTP 503"))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if h := result1(t, m, "a"); h.Alive || h.ConsecutiveFailures != 2 || h.LastFailureCause != "HTTP 503" {
			t.Errorf("after two failures: %+v", h)
		}
		m.Set(nil)
		synctest.Wait()
		if r, _ := m.Results().Get(); len(r) != 0 {
			t.Errorf("results of nothing: %v", r)
		}
		n := len(s.times("a"))
		time.Sleep(time.Minute)
		if len(s.times("a")) != n {
			t.Error("still probed")
		}
	})
}

func TestTimeoutAndEndOfGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{hang: true}
		m := start(t, s, 0)
		m.Set([]Target{target("a", time.Now())})
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if h := result1(t, m, "a"); h.Known || h.LastFailureCause != "timeout after 2s" {
			t.Errorf("in the grace period: %+v", h)
		}
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if h := result1(t, m, "a"); !h.Known || h.ConsecutiveFailures < 2 || h.ConsecutiveFailures > 4 {
			t.Errorf("after it: %+v", h)
		}
	})
}

// hanging are instances whose checks never answer; the others' always do.
type hanging struct{}

func (hanging) Probe(ctx context.Context, t Target, _ spec.Probe) (answer spec.ProbeResponse, err error) {
	if t.TaskID[0] == 'h' {
		<-ctx.Done()
		err = ctx.Err()
	}
	return answer, err
}

// However many instances hang, the checks of others are made in time. Commands are few at a time, and hold back only each
// other.
func TestHangingChecksHoldNobodyBack(t *testing.T) {
	for protocol, others := range map[string][]string{"HTTP": {"HTTP", "TCP", "COMMAND"}, "MESOS_HTTP": {"TCP"}, "COMMAND": {"HTTP", "TCP"}} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := start(t, hanging{}, 0)
				var targets []Target
				add := func(task, protocol string) {
					one := target(task, time.Now())
					one.Probes[0].Protocol = protocol
					targets = append(targets, one)
				}
				for i := range 200 {
					add(fmt.Sprint("h", i), protocol)
				}
				m.Set(targets)
				synctest.Wait()
				for _, p := range others {
					add("good "+p, p)
				}
				m.Set(targets)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				for _, p := range others {
					if !result1(t, m, "good "+p).Alive {
						t.Errorf("%s waits for %s checks that hang", p, protocol)
					}
				}
			})
		})
	}
}

// Commands are bounded apart from the rest.
func TestCommandsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{hang: true}
		m := start(t, s, 0)
		var targets []Target
		for i := range 200 {
			one := target(fmt.Sprint("t", i), time.Now())
			one.Probes[0].Protocol = "MESOS_COMMAND"
			targets = append(targets, one)
		}
		m.Set(targets)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.most != 64 {
			t.Errorf("%d commands at once", s.most)
		}
	})
}

// After a restart of the agent the containers run for long: no rush, no grace, and an undisturbed set stays undisturbed.
func TestManyLongRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{takes: 5 * time.Millisecond}
		m := start(t, s, 16)
		since := time.Now().Add(-time.Hour)
		var targets []Target
		for i := range 500 {
			targets = append(targets, target(fmt.Sprint("t", i), since))
		}
		m.Set(targets)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		r, _ := m.Results().Get()
		for id, h := range r {
			if !h[0].Alive {
				t.Fatalf("%s is not known after 1.5 s", id)
			}
		}
		s.mu.Lock()
		if s.most > 16 {
			t.Errorf("%d probes at once", s.most)
		}
		s.mu.Unlock()
		m.Set(append([]Target(nil), targets...))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		buckets := make([]int, 10)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, at := range s.at {
			if len(at) < 3 || len(at) > 4 {
				t.Fatalf("%d probes in 21.5 s", len(at))
			}
			last := at[len(at)-1]
			buckets[int(last.UnixNano()/1e9)%10]++
		}
		for i, n := range buckets {
			if n > 100 {
				t.Errorf("%d of 500 probes fall into second %d of ten", n, i)
			}
		}
	})
}

func TestNewAddressKeepsHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		m := start(t, s, 0)
		a := target("a", time.Now())
		m.Set([]Target{a})
		synctest.Wait()
		first := result1(t, m, "a")
		a.Address = netip.MustParseAddr("10.0.0.3")
		m.Set([]Target{a})
		synctest.Wait()
		if h := result1(t, m, "a"); !h.FirstSuccess.Equal(first.FirstSuccess) || !h.Alive {
			t.Errorf("got %+v", h)
		}
		a.Container = "other"
		s.say(errors.New("no"))
		m.Set([]Target{a})
		synctest.Wait()
		if h := result1(t, m, "a"); h.Alive || h.Known {
			t.Errorf("a new container inherits health: %+v", h)
		}
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		m := start(t, s, 0)
		a := target("a", time.Now())
		a.Probes[0].Delay = 7 * time.Second
		m.Set([]Target{a})
		time.Sleep(6 * time.Second)
		if len(s.times("a")) != 0 {
			t.Error("probed before the delay")
		}
		time.Sleep(2 * time.Second)
		if len(s.times("a")) == 0 {
			t.Error("not probed after the delay")
		}
	})
}

func TestNextProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		since := time.Unix(1e9, 0)
		now, grace := since, time.Duration(rapid.IntRange(0, 100).Draw(t, "grace"))*time.Second
		var h spec.CheckHealth
		failures, up := 0, false
		for _, ok := range rapid.SliceOf(rapid.Bool()).Draw(t, "outcomes") {
			now = now.Add(10 * time.Second)
			var err error
			if !ok {
				err = errors.New("no")
			}
			h = Next(h, err, now, now.Sub(since) < grace)
			switch {
			case ok:
				failures, up = 0, true
			case up || now.Sub(since) >= grace:
				failures++
			}
			if h.ConsecutiveFailures != failures || h.Alive != ok || (ok && !h.Known) {
				t.Fatalf("got %+v, want %d failures", h, failures)
			}
		}
	})
}

func TestFollowingIsInTheFutureAndWithinTheInterval(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := spec.Probe{Interval: time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "interval"))}
		began := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
		phase := phaseOf(rapid.String().Draw(t, "task"), 0, p.Interval)
		next := following(spec.CheckHealth{FirstSuccess: began}, began, began, p, phase)
		if d := next.Sub(began); d <= 0 || d > p.Interval {
			t.Fatalf("the next is %v after, the interval is %v", d, p.Interval)
		}
		if time.Duration(next.UnixNano())%p.Interval != phase {
			t.Fatalf("not at its phase %v", phase)
		}
	})
}

// A readiness check is over with its first success, also when the target becomes better known later; until then a new answer
// is news.
func TestReadinessEndsWithItsFirstSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{err: errors.New("HTTP 503"), answer: spec.ProbeResponse{Status: 503, Body: "warming up"}}
		m := start(t, s, 0)
		a := target("a", time.Now())
		a.Probes[0].Once, a.Probes[0].KeepResponse, a.Probes[0].GracePeriod = true, true, 24*time.Hour
		m.Set([]Target{a})
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if h := result1(t, m, "a"); h.Known || h.Response.Body != "warming up" {
			t.Errorf("while it warms up: %+v", h)
		}
		s.mu.Lock()
		s.err, s.answer = nil, spec.ProbeResponse{Status: 200, Body: "ready"}
		s.mu.Unlock()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if h := result1(t, m, "a"); !h.Alive || h.Response.Status != 200 {
			t.Errorf("ready: %+v", h)
		}
		n := len(s.times("a"))
		s.say(errors.New("HTTP 500"))
		a.Address = netip.MustParseAddr("10.0.0.3")
		m.Set([]Target{a})
		time.Sleep(time.Hour)
		synctest.Wait()
		if h := result1(t, m, "a"); !h.Alive || len(s.times("a")) != n {
			t.Errorf("%d probes after the success, %+v", len(s.times("a"))-n, h)
		}
	})
}
