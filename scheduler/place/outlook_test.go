package place

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/spec"
)

func TestOutlook(t *testing.T) {
	host := func(name, zone string, cpus, mem float64) Known {
		return Known{Host: name, CPUs: cpus, Mem: mem, Disk: 100, Fields: Fields(spec.Offer{Host: name, Zone: zone})}
	}
	two := []Known{host("h1", "a", 2, 1000), host("h2", "b", 4, 1000)}
	for _, c := range []struct {
		name  string
		app   spec.App
		spare int
		hosts []Known
		want  string
	}{
		{"fits", spec.App{Instances: 6, CPUs: 1, Mem: 10}, 0, two, ""},
		{"nobody knows", spec.App{Instances: 6, CPUs: 100}, 0, nil, ""},
		{"scaled to nothing", spec.App{CPUs: 100}, 0, two, ""},
		{"no host is large enough", spec.App{Instances: 1, CPUs: 1, Mem: 4096}, 0, two,
			"no host known now can ever run /web: h1: memory: 4096 MiB wanted, the host has 1000 MiB; h2: memory: 4096 MiB wanted, the host has 1000 MiB"},
		{"gpus", spec.App{Instances: 1, GPUs: 1}, 0, two[:1], "no host known now can ever run /web: h1: gpus: 1 wanted, the host has 0"},
		{"too many in all", spec.App{Instances: 7, CPUs: 1}, 0, two, "of 7 instances of /web at most 6 can run at the same time on the 2 hosts known now"},
		{"unique", spec.App{Instances: 3, CPUs: 1, Constraints: []spec.Constraint{{Field: "hostname", Operator: "UNIQUE"}}}, 0, two,
			"of 3 instances of /web at most 2 can run at the same time on the 2 hosts known now (constraint hostname UNIQUE)"},
		{"max per", spec.App{Instances: 5, CPUs: 0.1, Constraints: []spec.Constraint{{Field: "@zone", Operator: "MAX_PER", Value: "2"}}}, 0, two,
			"of 5 instances of /web at most 4 can run at the same time on the 2 hosts known now (constraint @zone MAX_PER 2)"},
		{"cluster", spec.App{Instances: 5, CPUs: 1, Constraints: []spec.Constraint{{Field: "@zone", Operator: "CLUSTER"}}}, 0, two,
			"of 5 instances of /web at most 4 can run at the same time on the 2 hosts known now (constraint @zone CLUSTER)"},
		{"like nothing", spec.App{Instances: 1, Constraints: []spec.Constraint{{Field: "rack", Operator: "LIKE", Value: "r.*"}}}, 0, two[:1],
			"no host known now can ever run /web: h1: constraint rack LIKE: the host has no such attribute"},
		{"a rolling update has no room", spec.App{Instances: 2, CPUs: 1, Constraints: []spec.Constraint{{Field: "hostname", Operator: "UNIQUE"}}}, 1, two,
			"a rolling update of /web needs room for 3 instances at a time, and the 2 hosts known now have room for 2: it would wait; a minimumHealthCapacity below 1 lets it replace instances in place"},
		{"costs nothing", spec.App{Instances: 1000}, 1000, two, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.app.ID = "/web"
			if got := strings.Join(Outlook(&c.app, c.spare, c.hosts), "\n"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
