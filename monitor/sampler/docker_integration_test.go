//go:build integration

package sampler

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/realtest"
	"github.com/berth-project/berth/monitor/figures"
)

const (
	realImage = "berth/base:bookworm"
	realName  = "berth-it-sampler"
)

// command runs docker and returns what it says.
func command(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(realtest.Run(t, nil, "docker", args...))
}

// TestRealContainer compares what is measured of a container of the base image with what the kernel and the engine say.
func TestRealContainer(t *testing.T) {
	c := realtest.Docker(t, realImage)
	groups, err := cgroup.Open("", "")
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	s, err := New(Options{Groups: groups, Every: time.Second, Window: time.Minute, Host: "h1", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_ = exec.Command("docker", "rm", "-f", realName).Run() // of a test that was killed
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", realName).Run() })
	command(t, "run", "-d", "--name", realName, "--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "300", "--cpu-shares", "512",
		"-e", "MARATHON_APP_ID=/it/sampler", realImage)
	look := func() figures.Instance {
		t.Helper()
		container, err := c.Inspect(t.Context(), realName)
		if err != nil {
			t.Fatal(err)
		}
		got := s.Pass(Sources{Inventory: docker.Snapshot{Connected: true, Containers: []docker.Container{container}}, DataDir: "/"}, true)
		if len(got.Instances) != 1 || got.Instances[0].Figures == nil {
			t.Fatalf("got %+v", got.Instances)
		}
		return got.Instances[0]
	}
	until := func(what string, ok func(figures.Instance) bool) figures.Instance {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			if i := look(); ok(i) {
				return i
			} else if ctx.Err() != nil {
				t.Fatalf("%s: never; last %+v, %+v", what, i, i.Figures)
			}
			<-tick.C
		}
	}
	i := until("cron, sshd and syslog are up, and sshd listens", func(i figures.Instance) bool {
		up := map[string]bool{}
		for _, s := range i.Services {
			up[s.Name] = s.Up && s.Ready && s.Want && s.Pid > 1
		}
		return up["cron"] && up["sshd"] && up["syslog"] && i.Sockets.TCP >= 2 // of both families
	})
	if i.App != "/it/sampler" || i.Seat != 0 || i.Instance != realName || i.Address == "" || i.Restarts != 0 || i.CPU.Quota != 0.5 || i.CPU.Base != 0.5 ||
		i.CPU.Weight < 500 || i.CPU.Weight > 530 || i.Memory.Limit != 64<<20 || i.Pids.Limit != 300 || i.CPU.Seconds <= 0 || i.Uptime <= 0 {
		t.Errorf("got %+v, %+v", i, i.Figures)
	}
	againstKernel(t, look)
	againstEngine(t, look)

	_ = exec.Command("docker", "exec", realName, "sh", "-c", "tail /dev/zero").Run() // it is killed
	killed := until("the kill is counted", func(i figures.Instance) bool { return i.Memory.OOMKills >= 1 })
	command(t, "restart", "-t", "1", realName)
	if i := look(); i.Restarts != 1 || i.Memory.OOMKills < killed.Memory.OOMKills || i.Uptime > 60 {
		t.Errorf("after the restart: %d restarts, %d kills, up for %v s", i.Restarts, i.Memory.OOMKills, i.Uptime)
	}
}

// againstKernel compares the interface with what a program inside sees, before and after.
func againstKernel(t *testing.T, look func() figures.Instance) {
	t.Helper()
	inside := func(name string) uint64 {
		n, err := strconv.ParseUint(command(t, "exec", realName, "cat", "/sys/class/net/eth0/statistics/"+name), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	rx, tx := inside("rx_bytes"), inside("tx_bytes")
	i := look()
	if len(i.Networks) != 1 || i.Networks[0].Name != "eth0" {
		t.Fatalf("networks %+v", i.Networks)
	}
	if n := i.Networks[0]; n.RxBytes < rx || n.TxBytes < tx || n.RxBytes > inside("rx_bytes") || n.TxBytes > inside("tx_bytes") {
		t.Errorf("%+v is not between what the container saw before and after", n)
	}
}

// againstEngine compares with docker stats, once.
func againstEngine(t *testing.T, look func() figures.Instance) {
	t.Helper()
	var stats struct{ MemUsage, PIDs string }
	if err := json.Unmarshal([]byte(command(t, "stats", "--no-stream", "--format", "{{json .}}", realName)), &stats); err != nil {
		t.Fatal(err)
	}
	i := look()
	pids, err := strconv.ParseFloat(stats.PIDs, 64)
	if err != nil || math.Abs(pids-float64(i.Pids.Current)) > 3 {
		t.Errorf("%d processes and threads, docker stats says %s", i.Pids.Current, stats.PIDs)
	}
	used, _, _ := strings.Cut(stats.MemUsage, " ")
	mib, err := strconv.ParseFloat(strings.TrimSuffix(used, "MiB"), 64)
	if err != nil || math.Abs(mib-float64(i.Memory.Used)/(1<<20)) > max(1, 0.2*mib) {
		t.Errorf("%.2f MiB used, docker stats says %s", float64(i.Memory.Used)/(1<<20), stats.MemUsage)
	}
}
