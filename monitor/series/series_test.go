package series

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/monitor/figures"
)

// whole has something of everything.
func whole(task string) *figures.Snapshot {
	return &figures.Snapshot{At: time.Unix(1_700_000_000, 0), Version: "1.2.3", Host: figures.Host{Name: "h1"}, Instances: []figures.Instance{{
		App: "/prod/web", Task: task, Version: task, Address: task, Instance: task, Managed: true, Health: figures.Healthy, Started: time.Unix(1_600_000_000, 0),
		Checks: []figures.Check{{Protocol: "TCP", Target: task, Health: figures.Healthy}},
		Figures: &figures.Figures{
			CPU: figures.CPU{Quota: 1, Base: 1, Weight: 1, Advice: 1}, Memory: figures.Memory{Limit: 1}, Pids: figures.Pids{Limit: 1},
			Networks: []figures.Interface{{Name: "eth0"}}, Services: []figures.Service{{Name: "sshd"}},
		},
	}, {App: "/prod/web", Seat: 1, State: figures.Starting, Health: figures.Unknown}}}
}

// TestDocumented: docs/monitoring.md names every metric, and no other.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range Families() {
		if known[f.Name] = true; !strings.Contains(string(b), "| `"+f.Name+"` |") {
			t.Errorf("%s is not in docs/monitoring.md", f.Name)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(berth_[a-z0-9_]+)`").FindAllStringSubmatch(string(b), -1) {
		if !known[m[1]] {
			t.Errorf("docs/monitoring.md tells of %s, which is not there", m[1])
		}
	}
}

func TestNamesAreConventional(t *testing.T) {
	seen := map[string]bool{}
	good := regexp.MustCompile(`^berth_(instance|container|service|host|agent)_[a-z0-9_]+[a-z0-9]$`)
	for _, f := range Families() {
		total := strings.TrimSuffix(f.Name, "_total")
		switch {
		case !good.MatchString(f.Name) || seen[f.Name]:
			t.Errorf("%s is no name, or there twice", f.Name)
		case (f.Kind == Counter) != (total != f.Name):
			t.Errorf("%s: counters, and they alone, end with _total", f.Name)
		case f.Unit != "" && !strings.HasSuffix(total, "_"+f.Unit):
			t.Errorf("%s does not end with its unit %s", f.Name, f.Unit)
		case f.Help == "" || !strings.HasSuffix(f.Help, ".") || !slices.IsSorted(f.Labels):
			t.Errorf("%s: %q, %q", f.Name, f.Help, f.Labels)
		}
		seen[f.Name] = true
		some := 0
		f.Each(whole("t1"), func(i *figures.Instance, _ float64, values ...string) {
			if some++; len(values) != len(f.Labels) || (i != nil) != (f.Of == OfInstance) {
				t.Errorf("%s: labels %q, values %q", f.Name, f.Labels, values)
			}
		})
		if some == 0 {
			t.Errorf("%s has no value", f.Name)
		}
	}
}

// TestANewTaskMakesNoNewSeries but one of each info: history goes on, and a database is not filled by deployments.
func TestANewTaskMakesNoNewSeries(t *testing.T) {
	ids := func(s *figures.Snapshot) map[string]bool {
		all := map[string]bool{}
		for _, f := range Families() {
			f.Each(s, func(i *figures.Instance, _ float64, values ...string) {
				id := f.Name + strings.Join(values, ",")
				if i != nil {
					id += i.Key().String()
				}
				all[id] = true
			})
		}
		return all
	}
	before, after := ids(whole("t1")), ids(whole("t2"))
	var changed []string
	for id := range after {
		if !before[id] {
			changed = append(changed, id)
		}
	}
	if len(changed) != 1 || !strings.HasPrefix(changed[0], "berth_instance_info") {
		t.Errorf("new series: %q", changed)
	}
}
