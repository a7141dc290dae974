package scheduler

import (
	"testing"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

// TestShare: what each host gets of a large app in any case goes there together; a small one is spread instance by instance.
func TestShare(t *testing.T) {
	const hosts = 500
	for _, c := range []struct {
		name                string
		instances, together int
	}{
		{"large", 8 * hosts, 7},
		{"less than one a host", hosts - 1, 1},
		{"within the window", window, window / hosts},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, now := crowded(t, 0, hosts)
			app := &spec.App{ID: "/big", Cmd: "sleep 1000", Instances: c.instances, CPUs: 0.01, Mem: 1, Version: now, LastConfigChange: now}
			s.state.Apps[app.ID], s.state.Versions[app.ID] = app, []*spec.App{app}
			s.touchApp(app.ID)
			for i := range hosts {
				s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(hosts+i, i, 1)}})
			}
			s.decide(now)
			launched := 0
			for host := range s.byHost {
				n := len(s.byHost[host])
				if launched += n; n > c.together {
					t.Errorf("%s got %d at once, should get %d", host, n, c.together)
				}
			}
			if most := launched/c.together + 1; launched != min(window, c.instances) || len(s.byHost) > most {
				t.Errorf("%d went to %d hosts, should go to %d", launched, len(s.byHost), most)
			}
		})
	}
}
