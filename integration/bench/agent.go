package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// settling is how long the agent has after its start, so that what is measured is what a host pays for good: longer than the keeper's
// window, and than the first comparisons with the engine and with Consul.
const settling = 35 * time.Second

// measureAgent measures what the whole agent costs on a host with 300 containers: the program itself, `berth agent --alone`, with quotas,
// Consul and monitor, its figures scraped once an interval as a Prometheus would. What it uses is what the kernel counted of its process.
// Of the world around it Consul is real, and so are the processes in control groups and network namespaces; only the engine is a double.
func measureAgent(t *bench, binary string, every time.Duration, intervals int) {
	dir, err := os.MkdirTemp("", "berth-bench-agent-")
	if err != nil {
		t.Fatalf("make a folder: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	consul := rig.StartConsul(t)
	a := startAgent(t, binary, dir, consul, every)
	var first, last map[string]float64
	rig.Eventually(t, time.Minute, "all containers are measured and registered", func() error {
		if first, err = scrape(t.ctx, a.metrics); err != nil {
			return err
		}
		services, err := consul.API.Agent().Services()
		if err == nil && (first["instances"] != hostContainers || len(services) != hostContainers) {
			err = fmt.Errorf("%v are measured and %d registered of %d", first["instances"], len(services), hostContainers)
		}
		return err
	})
	pause(t, settling)
	began, before := time.Now(), a.used(t)
	for range intervals {
		pause(t, every)
		if last, err = scrape(t.ctx, a.metrics); err != nil {
			t.Fatalf("scrape the agent: %v", err)
		}
	}
	if n := last["instances"]; n != hostContainers {
		t.Fatalf("%v of %d containers were measured", n, hostContainers)
	}
	cpu := (a.used(t) - before).Seconds() / time.Since(began).Seconds()
	fmt.Printf("BenchmarkAgent/containers=%d/every=%v 1 %.2f %%-of-a-core %.1f MB-resident %.1f MB-at-most %.1f MB-without-program %.1f ms/sample\n",
		hostContainers, every, 100*cpu, a.memory(t, "VmRSS"), a.memory(t, "VmHWM"), a.memory(t, "RssAnon"), 1000*last["berth_agent_sample_duration_seconds"])
}

func pause(t *bench, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		t.Fatalf("%v", t.ctx.Err())
	}
}

// runningAgent is the process that is measured.
type runningAgent struct {
	pid     int
	metrics string // host:port
}

// startAgent starts it as an operator does, beside an engine with 300 containers.
func startAgent(t *bench, binary, dir string, consul *rig.Consul, every time.Duration) *runningAgent {
	engine := serveEngine(t, dir, sleepers(t, dir, hostContainers))
	a := &runningAgent{metrics: "127.0.0.1:" + strconv.Itoa(rig.FreePort(t))}
	cmd := exec.CommandContext(t.ctx, binary, "agent", "--alone", "--hostname", "bench", "--docker-host", engine, "--consul", consul.Address,
		"--metrics-listen", a.metrics, "--monitor-interval", every.String(), "--log-level", "warn",
		"--state-dir", filepath.Join(dir, "state"), "--run-dir", filepath.Join(dir, "run"))
	cmd.Stderr, cmd.Dir = os.Stderr, dir
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the agent: %v", err)
	}
	a.pid = cmd.Process.Pid
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return a
}

// userTick is the unit of times in /proc, the same on all of Linux's architectures.
const userTick = time.Second / 100

// used is the CPU time that the process has used so far, its own and the kernel's for it.
func (a *runningAgent) used(t *bench) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.pid))
	if err != nil {
		t.Fatalf("see what the agent uses: %v", err)
	}
	// "PID (name) state PPID ...": the name may hold anything, so the last bracket counts. utime and stime are the 14th and 15th.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var sum time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatalf("see what the agent uses: %v", err)
		}
		sum += time.Duration(n) * userTick
	}
	return sum
}

// memory is a line of the process's status, in MB.
func (a *runningAgent) memory(t *bench, name string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.pid))
	if err != nil {
		t.Fatalf("see what the agent uses: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == name+":" {
			kib, err := strconv.ParseFloat(words[1], 64)
			if err != nil {
				t.Fatalf("see what the agent uses: %v", err)
			}
			return kib * 1024 / 1e6
		}
	}
	t.Fatalf("the agent's status has no %s", name)
	return 0
}

// scrape reads the agent's own figures, and counts the instances that were measured.
func scrape(ctx context.Context, address string) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	out := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), "{")
		_, value, _ := strings.Cut(rest, "} ")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case strings.HasPrefix(name, "berth_agent_"):
			out[name] = n
		case name == "berth_instance_up":
			out["instances"] += n
		}
	}
	return out, nil
}
