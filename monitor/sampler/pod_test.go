package sampler

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/monitor/figures"
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
	plus(&sum, "web", &two)
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
	if plus(&sum, "", &free); sum.Memory.Limit != 0 || sum.CPU.Quota != 0 {
		t.Errorf("something unlimited in it: %+v", sum)
	}
	before := sum
	if plus(&sum, "", nil); !cmp.Equal(sum, before) {
		t.Error("a container without figures")
	}
}
