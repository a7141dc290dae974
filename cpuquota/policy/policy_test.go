package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func label(task, cpus string) map[string]string {
	return map[string]string{spec.LabelTask: task, spec.LabelCPUs: cpus}
}

func TestSources(t *testing.T) {
	document := spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "t1", CPUs: 0.5}, {TaskID: "t2", CPUs: 0}}}
	marathon := []string{"MARATHON_APP_RESOURCE_CPUS=0.3"}
	for _, c := range []struct {
		name   string
		c      Container
		rules  Rules
		quota  time.Duration // 0: left alone
		source string
	}{
		{"the document wins", Container{Labels: label("t1", "2")}, Rules{}, 50 * time.Millisecond, FromDocument},
		{"the document says none", Container{Labels: label("t2", "2")}, Rules{}, 0, ""},
		{"a label alone", Container{Labels: label("t3", "0.2")}, Rules{}, 20 * time.Millisecond, FromLabel},
		{"no task", Container{Labels: label("", "0.333")}, Rules{}, 33300 * time.Microsecond, FromLabel},
		{"another period", Container{Labels: label("t1", ""), Period: 50 * time.Millisecond}, Rules{}, 25 * time.Millisecond, FromDocument},
		{"below the kernel's least", Container{Labels: label("t3", "0.001")}, Rules{}, time.Millisecond, FromLabel},
		{"not ours", Container{}, Rules{}, 0, ""},
		{"nonsense", Container{Labels: label("t3", "half")}, Rules{}, 0, ""},
		{"infinite", Container{Labels: label("t3", "Inf")}, Rules{}, 0, ""},
		{"negative", Container{Labels: label("t3", "-1")}, Rules{}, 0, ""},
		{"docker run --cpus", Container{NanoCPUs: 666666666}, Rules{}, 66666 * time.Microsecond, FromCreation},
		{"docker run --cpu-quota", Container{Quota: 30 * time.Millisecond, Period: 60 * time.Millisecond}, Rules{}, 30 * time.Millisecond, FromCreation},
		{"a label before the creation", Container{Labels: label("", "0.4"), NanoCPUs: 1e9}, Rules{}, 40 * time.Millisecond, FromLabel},
		{"another Marathon's task", Container{Env: marathon, Name: "mesos-1", Shares: 1024}, Rules{}, 30 * time.Millisecond, FromMarathon},
		{"whose quota Mesos sets itself", Container{Env: marathon, Quota: 20 * time.Millisecond}, Rules{}, 20 * time.Millisecond, FromCreation},
		{"a task of another framework", Container{Name: "mesos-1", Shares: 204}, Rules{}, 20 * time.Millisecond, FromShares},
		{"shares of docker run", Container{Name: "web", Shares: 204}, Rules{}, 0, ""},
		{"Marathon left alone", Container{Env: marathon, Name: "mesos-1", Shares: 204}, Rules{NoMarathon: true}, 0, ""},
		{"Marathon left alone, but not what Mesos set", Container{Env: marathon, Quota: 20 * time.Millisecond}, Rules{NoMarathon: true}, 20 * time.Millisecond, FromCreation},
		{"floor", Container{Labels: label("", "0.02")}, Rules{Floor: 0.05}, 5 * time.Millisecond, FromLabel},
		{"ceiling", Container{Labels: label("t1", "")}, Rules{Ceiling: 0.3}, 30 * time.Millisecond, FromDocument},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Assign(document, []Container{c.c}, c.rules, start)
			if len(got) != 1 || got[0].Quota != c.quota || got[0].Source != c.source {
				t.Errorf("got %+v, want %v from the %s", got, c.quota, c.source)
			}
		})
	}
}

func TestStartup(t *testing.T) {
	labels := map[string]string{spec.AppLabelStartup: "2x30s", spec.AppLabelBurst: "200ms", spec.AppLabelWeight: "300"}
	document := spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "t", CPUs: 0.5, Labels: labels}}}
	at := func(c Container, r Rules, after time.Duration) Assignment {
		c.Started = start
		return Assign(document, []Container{c}, r, start.Add(after))[0]
	}
	ours := Container{Labels: label("t", "0.5"), Shares: 512}
	marathon := Container{Env: []string{"MARATHON_APP_RESOURCE_CPUS=0.5", "MARATHON_APP_LABEL_BERTH_CPU_STARTUP=2x30s"}}
	plain := Container{NanoCPUs: 5e8, Labels: map[string]string{spec.AppLabelStartup: "2x30s"}}
	for _, c := range []struct {
		name  string
		got   Assignment
		cores float64
		until time.Duration // 0: no allowance
	}{
		{"at once", at(ours, Rules{}, 0), 1, 30 * time.Second},
		{"just before its end", at(ours, Rules{}, 30*time.Second-1), 1, 30 * time.Second},
		{"at its end", at(ours, Rules{}, 30*time.Second), 0.5, 0},
		{"long after", at(ours, Rules{}, time.Hour), 0.5, 0},
		{"a clock that was set back", at(ours, Rules{}, -time.Hour), 0.5, 0},
		{"the ceiling holds", at(ours, Rules{Ceiling: 0.7}, 0), 0.7, 30 * time.Second},
		{"another Marathon's", at(marathon, Rules{}, 0), 1, 30 * time.Second},
		{"docker run", at(plain, Rules{}, 0), 1, 30 * time.Second},
	} {
		until := time.Time{}
		if c.until > 0 {
			until = start.Add(c.until)
		}
		if c.got.Cores != c.cores || c.got.Base != 0.5 || !c.got.Until.Equal(until) {
			t.Errorf("%s: %+v, want %v cores until %v", c.name, c.got, c.cores, until)
		}
	}
	if a := at(ours, Rules{}, 0); a.Burst != 100*time.Millisecond || a.Weight != 300 {
		t.Errorf("burst %v, weight %d; want all of the quota, and the label's", a.Burst, a.Weight)
	}
	if a := Assign(document, []Container{ours}, Rules{}, start)[0]; a.Cores != 0.5 {
		t.Errorf("%v cores for a container of unknown age", a.Cores)
	}
}

func TestCompare(t *testing.T) {
	want := Assignment{Quota: 20 * time.Millisecond, Period: DefaultPeriod, Source: FromLabel, Burst: 5 * time.Millisecond, Weight: 300, Memory: 64 << 20, Pids: 100}
	right := Have{
		Quota: want.Quota, Period: want.Period, Burst: want.Burst, Weight: 300, Memory: want.Memory, Pids: want.Pids,
		CanBurst: true, CanWeight: true, CanMemory: true, CanPids: true, WeightRight: true,
	}
	lenient := want
	lenient.Lenient = true
	var got []string
	ask := func(a Assignment, change func(*Have)) {
		h := right
		change(&h)
		line := ""
		for _, c := range Compare(a, h) {
			line += string(c.Setting) + ": " + c.Reason + "; "
		}
		got = append(got, line)
	}
	ask(want, func(*Have) {})
	ask(want, func(h *Have) { h.Quota = 0 })
	ask(want, func(h *Have) { h.Quota = 80 * time.Millisecond })
	ask(want, func(h *Have) { h.Quota, h.Period = 10*time.Millisecond, 50*time.Millisecond })
	ask(want, func(h *Have) { h.Burst, h.WeightRight, h.Weight = 0, false, 1024 })
	ask(want, func(h *Have) { h.Memory, h.Pids = 96<<20, 0 })
	ask(want, func(h *Have) { h.Memory = 0 })
	ask(want, func(h *Have) { *h = Have{Quota: want.Quota, Period: want.Period} })
	ask(lenient, func(h *Have) { h.Quota, h.Burst, h.WeightRight = 80*time.Millisecond, 0, false })
	ask(lenient, func(h *Have) { h.Quota = 0 })
	ask(Assignment{}, func(*Have) {})
	if d := cmp.Diff([]string{
		"", "CPU quota: it had no quota, container label wants 0.2 CPUs; ", "CPU quota: it had 0.8 CPUs, container label wants 0.2 CPUs; ",
		"CPU quota: its period was 50ms, it was created with 100ms; ",
		"CPU burst: it was 0s, the app wants 5ms; CPU weight: it was 1024, wanted are 300 shares; ",
		"memory limit: it was 96 MiB, the container was created with 64 MiB; pids limit: it was unlimited, the container was created with 100; ",
		"memory limit: it was unlimited, the container was created with 64 MiB; ",
		"", "", "CPU quota: it had no quota, container label wants 0.2 CPUs; ", "",
	}, got); d != "" {
		t.Errorf("reasons (-want +got):\n%s", d)
	}
}

// A task that the document does not know has its quota from whoever does; nobody else changes it while it has one.
func TestTasksOfOthers(t *testing.T) {
	for version, lenient := range map[uint64]bool{0: false, 7: true} {
		got := Assign(spec.HostDocument{Version: version}, []Container{{ID: "c", Labels: label("t", "0.2")}, {ID: "d", NanoCPUs: 1e9}}, Rules{}, start)
		if got[0].Lenient != lenient || got[1].Lenient {
			t.Errorf("document %d: %+v", version, got)
		}
	}
}

func TestAssignedQuotaIsTheShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cpus := rapid.Float64Range(0.01, 512).Draw(t, "cpus")
		got := Assign(spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "t", CPUs: cpus}}},
			[]Container{{ID: "c", Labels: map[string]string{spec.LabelTask: "t"}}}, Rules{}, start)
		if len(got) != 1 {
			t.Fatalf("%d assignments", len(got))
		}
		share := float64(got[0].Quota) / float64(got[0].Period)
		if d := share - cpus; d > 1e-5 || d < -1e-5 {
			t.Fatalf("share %v of %v", share, cpus)
		}
		if why := Compare(got[0], Have{Quota: got[0].Quota, Period: got[0].Period}); len(why) != 0 {
			t.Fatalf("its own quota needs repair: %v", why)
		}
	})
}

// Whatever is asked for, the quota is within the bounds, an allowance gives at least the base and ends when it says so, and
// what was decided for now stays decided until then.
func TestEveryAssignmentIsWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rules{Floor: rapid.Float64Range(0, 1).Draw(t, "floor"), NoMarathon: rapid.Bool().Draw(t, "no marathon")}
		if rapid.Bool().Draw(t, "has a ceiling") {
			r.Ceiling = r.Floor + rapid.Float64Range(0.01, 8).Draw(t, "ceiling")
		}
		c := Container{
			Started: start, Labels: map[string]string{}, Shares: rapid.Int64Range(0, 1<<20).Draw(t, "shares"), Name: rapid.SampledFrom([]string{"web", "mesos-1"}).Draw(t, "name"),
			Quota:  time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "quota")) * time.Microsecond,
			Period: time.Duration(rapid.SampledFrom([]int64{0, 1000, 50_000, 1_000_000}).Draw(t, "period")) * time.Microsecond,
		}
		for key, values := range map[string][]string{
			spec.LabelCPUs: {"", "0.001", "0.2", "70000", "1e300", "x"}, spec.AppLabelStartup: {"", "2x30s", "64x1h", "0x1s"},
			spec.AppLabelBurst: {"", "50ms", "1m", "-1s"}, spec.AppLabelWeight: {"", "2", "300", "1000000"},
		} {
			c.Labels[key] = rapid.SampledFrom(values).Draw(t, key)
		}
		now := start.Add(time.Duration(rapid.Int64Range(-int64(2*time.Hour), int64(2*time.Hour)).Draw(t, "age")))
		a := Assign(spec.HostDocument{}, []Container{c}, r, now)[0]
		if a.Base == 0 {
			if a.Quota != 0 || a.Burst != 0 || !a.Until.IsZero() {
				t.Fatalf("no base, but %+v", a)
			}
			return
		}
		top := r.Ceiling
		if top == 0 {
			top = 64 * maxCores
		}
		if a.Base < r.Floor || a.Cores < a.Base || a.Cores > top || a.Quota < MinQuota || a.Burst > a.Quota || a.Weight > 1<<20 {
			t.Fatalf("out of bounds: %+v", a)
		}
		if a.Until.IsZero() {
			if a.Cores != a.Base {
				t.Fatalf("more than the base without an end: %+v", a)
			}
			return
		}
		if !a.Until.After(now) {
			t.Fatalf("ended before %v: %+v", now, a)
		}
		if b := Assign(spec.HostDocument{}, []Container{c}, r, a.Until.Add(-1))[0]; b != a {
			t.Fatalf("%+v became %+v before its end", a, b)
		}
		if b := Assign(spec.HostDocument{}, []Container{c}, r, a.Until)[0]; b.Cores != a.Base || !b.Until.IsZero() {
			t.Fatalf("%+v did not end: %+v", a, b)
		}
	})
}

// The containers of a pod have quotas of their own; its sandbox has the one of its label.
func TestPodQuotas(t *testing.T) {
	doc := spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "p", CPUs: 0.8, Containers: []spec.SeatContainer{{Name: "web", TaskID: "p.web", CPUs: 0.5}}}}}
	got := Assign(doc, []Container{
		{ID: "1", Labels: map[string]string{spec.LabelTask: "p", spec.LabelCPUs: "0.1"}},
		{ID: "2", Labels: map[string]string{spec.LabelTask: "p.web", spec.LabelCPUs: "0.4"}},
	}, Rules{}, start)
	if len(got) != 2 || got[0].Cores != 0.1 || got[0].Source != FromLabel || got[1].Cores != 0.5 || got[1].Source != FromDocument {
		t.Errorf("got %+v", got)
	}
}
