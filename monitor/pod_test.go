package monitor

import (
	"testing"
	"time"

	"github.com/berth-project/berth/internal/cgroup"
)

func TestPodIsTheSumOfItsContainers(t *testing.T) {
	one := &figures{stats: cgroup.Stats{Memory: 10, MemoryLimit: 100, Pids: 2}, quota: cgroup.Quota{Time: 20 * time.Millisecond, Period: 100 * time.Millisecond}, cpu: 0.1, throttled: 0.5, ownNet: true, traffic: traffic{in: 7}}
	two := &figures{stats: cgroup.Stats{Memory: 5, MemoryLimit: 50, Pids: 1}, quota: cgroup.Quota{Time: 15 * time.Millisecond, Period: 50 * time.Millisecond}, cpu: 0.2, throttled: 0.25, traffic: traffic{in: 7}}
	sum := one.plus(two)
	if sum.stats.Memory != 15 || sum.stats.MemoryLimit != 150 || sum.stats.Pids != 3 || decimal(sum.cpu) != "0.3" || decimal(sum.quota.Cores()) != "0.5" || sum.throttled != 0.5 {
		t.Errorf("got %+v", sum)
	}
	if sum.traffic.in != 7 || !sum.ownNet || one.stats.Memory != 10 {
		t.Errorf("the network is the sandbox's: %+v", sum)
	}
	free := *two
	free.stats.MemoryLimit, free.quota = 0, cgroup.Quota{}
	if sum := one.plus(&free); sum.stats.MemoryLimit != 0 || sum.quota.Cores() != 0 {
		t.Errorf("something unlimited in it: %+v", sum)
	}
	if one.plus(nil) != one {
		t.Error("a container without figures")
	}
}
