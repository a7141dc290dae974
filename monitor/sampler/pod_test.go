package sampler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/spec"
)

func TestPodIsTheSumOfItsContainers(t *testing.T) {
	one := figures.Figures{
		CPU: figures.CPU{Used: 0.1, Quota: 0.2, Share: 0.5}, Memory: figures.Memory{Used: 10, Limit: 100}, Pids: figures.Pids{Current: 2},
		Networks: []figures.Interface{{Name: "eth0", RxBytes: 7}}, Services: make([]figures.Service, 0, 4),
	}
	two := figures.Figures{
		CPU: figures.CPU{Used: 0.25, Quota: 0.3, Share: 0.25}, Memory: figures.Memory{Used: 5, Limit: 50}, Pids: figures.Pids{Current: 1},
		Networks: []figures.Interface{{Name: "eth0", RxBytes: 7}}, Services: []figures.Service{{Name: "nginx", Up: true}},
	}
	sum := one
	pod := &tracked{}
	pod.add(&sum, "web", &tracked{figures: &two})
	want := figures.Figures{
		CPU: figures.CPU{Used: 0.35, Quota: 0.5, Share: 0.5}, Memory: figures.Memory{Used: 15, Limit: 150}, Pids: figures.Pids{Current: 3},
		Networks: one.Networks, Services: []figures.Service{{Name: "web/nginx", Up: true}},
	}
	if d := cmp.Diff(want, sum); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(one.Services[:1:1]) != 1 || one.Services[:1][0].Name != "" || two.Services[0].Name != "nginx" {
		t.Errorf("the containers' own figures were changed: %+v, %+v", one.Services[:1], two.Services)
	}
	free := two
	free.Memory.Limit, free.CPU.Quota = 0, 0
	if pod.add(&sum, "", &tracked{figures: &free}); sum.Memory.Limit != 0 || sum.CPU.Quota != 0 {
		t.Errorf("something unlimited in it: %+v", sum)
	}
	before := sum
	if pod.add(&sum, "never ran", nil); !cmp.Equal(sum, before) {
		t.Error("a container without figures")
	}
}

// TestPodsCountersNeverGoBack while its sandbox runs: when one of its containers ends, cannot be read or is started again.
func TestPodsCountersNeverGoBack(t *testing.T) {
	m := newMachine(t)
	for _, id := range []string{"box", "web", "log"} {
		m.group(id, 1)
	}
	at := time.Now().Add(-time.Hour)
	container := func(id, task string) docker.Container {
		labels := map[string]string{spec.LabelApp: "/pod", spec.LabelSeat: "0", spec.LabelTask: task}
		return docker.Container{ID: id, Name: id, Running: true, Pid: 42, StartedAt: at, Labels: labels}
	}
	box, web, log := container("box", "pod"), container("web", "pod.web"), container("log", "pod.log")
	state := spec.HostState{Document: spec.HostDocument{Version: 1, Seats: []spec.HostSeat{{
		Seat: spec.SeatID{App: "/pod"}, TaskID: "pod", Containers: []spec.SeatContainer{{Name: "web", TaskID: "pod.web"}, {Name: "log", TaskID: "pod.log"}},
	}}}}
	check := func(what string, seconds float64, kills, reads uint64, memory int64, all ...docker.Container) {
		t.Helper()
		got := m.pass(state, all...).Instances
		if len(got) != 1 || got[0].Figures == nil {
			t.Fatalf("%s: %+v", what, got)
		}
		f := got[0].Figures
		if f.CPU.Seconds != seconds || f.Memory.OOMKills != kills || f.IO.Reads != reads || f.Memory.Used != memory {
			t.Errorf("%s: %v s, %d kills, %d reads, %d bytes", what, f.CPU.Seconds, f.Memory.OOMKills, f.IO.Reads, f.Memory.Used)
		}
	}
	check("all three", 6, 3, 6, 150000000, box, web, log)
	check("one has ended", 6, 3, 6, 100000000, box, web)
	m.write(m.root, "docker/web/cpu.max", "nonsense that cannot be read")
	check("one cannot be read", 6, 3, 6, 50000000, box, web)
	m.group("web", 0)
	m.write(m.root, "docker/web/cpu.stat", "usage_usec 500000")
	web.StartedAt = at.Add(time.Minute)
	check("one was started again", 6.5, 3, 8, 100000000, box, web)
	m.write(m.root, "docker/web/cpu.stat", "usage_usec 750000")
	check("it goes on", 6.75, 3, 8, 100000000, box, web)
}
