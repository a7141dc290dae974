package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

func TestAssign(t *testing.T) {
	document := spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "t1", CPUs: 0.5}, {TaskID: "t2", CPUs: 0}}}
	label := func(task, cpus string) map[string]string {
		return map[string]string{spec.LabelTask: task, spec.LabelCPUs: cpus}
	}
	for _, c := range []struct {
		name   string
		labels map[string]string
		period time.Duration
		quota  time.Duration // 0: left alone
		source string
	}{
		{"the document wins", label("t1", "2"), 0, 50 * time.Millisecond, FromDocument},
		{"the document says none", label("t2", "2"), 0, 0, ""},
		{"a label alone", label("t3", "0.2"), 0, 20 * time.Millisecond, FromLabel},
		{"no task", map[string]string{spec.LabelCPUs: "0.333"}, 0, 33300 * time.Microsecond, FromLabel},
		{"another period", label("t1", ""), 50 * time.Millisecond, 25 * time.Millisecond, FromDocument},
		{"below the kernel's least", label("t3", "0.001"), 0, time.Millisecond, FromLabel},
		{"not ours", nil, 0, 0, ""},
		{"nonsense", label("t3", "half"), 0, 0, ""},
		{"infinite", label("t3", "Inf"), 0, 0, ""},
		{"negative", label("t3", "-1"), 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Assign(document, []Container{{ID: "c", Labels: c.labels, Period: c.period}})
			if c.quota == 0 {
				if len(got) != 0 {
					t.Errorf("got %+v, want nothing", got)
				}
				return
			}
			if len(got) != 1 || got[0].Quota != c.quota || got[0].Source != c.source {
				t.Errorf("got %+v, want %v from the %s", got, c.quota, c.source)
			}
		})
	}
}

func TestRepair(t *testing.T) {
	want := Assignment{Quota: 20 * time.Millisecond, Period: DefaultPeriod, Source: FromLabel}
	got := []string{
		Repair(want, want.Quota, want.Period),
		Repair(want, 0, want.Period),
		Repair(want, 80*time.Millisecond, want.Period),
		Repair(want, 10*time.Millisecond, 50*time.Millisecond),
	}
	if d := cmp.Diff([]string{
		"", "it had no quota, container label wants 0.2 CPUs", "it had 0.8 CPUs, container label wants 0.2 CPUs",
		"its period was 50ms, it was created with 100ms",
	}, got); d != "" {
		t.Errorf("reasons (-want +got):\n%s", d)
	}
}

func TestAssignedQuotaIsTheShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cpus := rapid.Float64Range(0.01, 512).Draw(t, "cpus")
		got := Assign(spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "t", CPUs: cpus}}},
			[]Container{{ID: "c", Labels: map[string]string{spec.LabelTask: "t"}}})
		if len(got) != 1 {
			t.Fatalf("%d assignments", len(got))
		}
		share := float64(got[0].Quota) / float64(got[0].Period)
		if d := share - cpus; d > 1e-5 || d < -1e-5 {
			t.Fatalf("share %v of %v", share, cpus)
		}
		if why := Repair(got[0], got[0].Quota, got[0].Period); why != "" {
			t.Fatalf("its own quota needs repair: %s", why)
		}
	})
}

// The containers of a pod have quotas of their own; its sandbox has the one of its label.
func TestPodQuotas(t *testing.T) {
	doc := spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "p", CPUs: 0.8, Containers: []spec.SeatContainer{{Name: "web", TaskID: "p.web", CPUs: 0.5}}}}}
	got := Assign(doc, []Container{
		{ID: "1", Labels: map[string]string{spec.LabelTask: "p", spec.LabelCPUs: "0.1"}},
		{ID: "2", Labels: map[string]string{spec.LabelTask: "p.web", spec.LabelCPUs: "0.4"}},
	})
	if len(got) != 2 || got[0].Cores != 0.1 || got[0].Source != FromLabel || got[1].Cores != 0.5 || got[1].Source != FromDocument {
		t.Errorf("got %+v", got)
	}
}
