package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/cpuquota"
	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/monitor"
	"github.com/berth-project/berth/spec"
)

// What a host with many instances is made of here: a control group, a network namespace, a sleeping process, and services as S6
// would show them. Containers of an engine would be the same to the agent's eye, and take minutes to start.
const (
	hostContainers = 300
	hostServices   = 5
)

// measureMonitor measures what keeping an eye on 300 containers costs: the monitor and the quota keeper in a process of their own,
// scraped once an interval as a Prometheus would, in the form of `go test -bench`.
func measureMonitor(t *bench, every time.Duration, intervals int) {
	dir, err := os.MkdirTemp("", "berth-bench-monitor-")
	if err != nil {
		t.Fatalf("make a folder: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	all := sleepers(t, dir, hostContainers)
	list := filepath.Join(dir, "containers.json")
	b, err := json.Marshal(all)
	if err == nil {
		err = os.WriteFile(list, b, 0o600)
	}
	if err != nil {
		t.Fatalf("write the list of containers: %v", err)
	}
	address := freePort(t)
	cmd := exec.CommandContext(t.ctx, "/proc/self/exe", "-monitor-child", list, "-monitor-every", every.String(), "-monitor-address", address)
	cmd.Stderr, cmd.Dir = os.Stderr, dir
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the monitor: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var first, last map[string]float64
	for deadline := time.Now().Add(time.Minute); ; {
		if first, err = scrape(t.ctx, address); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the monitor does not answer: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	began := time.Now()
	for range intervals {
		time.Sleep(every)
		if last, err = scrape(t.ctx, address); err != nil {
			t.Fatalf("scrape the monitor: %v", err)
		}
	}
	if n := last["instances"]; n != hostContainers {
		t.Fatalf("%v of %d containers were measured", n, hostContainers)
	}
	cpu := (last["berth_agent_cpu_seconds_total"] - first["berth_agent_cpu_seconds_total"]) / time.Since(began).Seconds()
	fmt.Printf("BenchmarkMonitor/containers=%d/every=%v 1 %.2f %%-of-a-core %.1f MB-resident %.1f ms/sample\n",
		hostContainers, every, 100*cpu, last["berth_agent_resident_memory_bytes"]/1e6, 1000*last["berth_agent_sample_duration_seconds"])
}

// sleepers starts the processes and puts each into a control group.
func sleepers(t *bench, dir string, n int) []docker.Container {
	root, parent := sleeperRoot(t, dir), fmt.Sprintf("/berth-bench-%d", os.Getpid())
	places := groupPlaces(t, parent)
	var all []docker.Container
	for i := range n {
		id := fmt.Sprintf("%064x", i+1)
		cmd := exec.CommandContext(t.ctx, "/sleep", "100000")
		cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatalf("start a process: %v", err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		for _, place := range places {
			group := filepath.Join(place, id)
			err := os.Mkdir(group, 0o755)
			if err == nil {
				err = os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
			}
			if err != nil {
				t.Fatalf("make a control group: %v", err)
			}
		}
		all = append(all, docker.Container{
			ID: id, Name: fmt.Sprintf("bench-%d", i), Running: true, Pid: cmd.Process.Pid, StartedAt: time.Now(), CgroupParent: parent,
			Labels: map[string]string{spec.LabelApp: fmt.Sprintf("/bench/app-%d", i/10), spec.LabelSeat: strconv.Itoa(i % 10), spec.LabelTask: id, spec.LabelCPUs: "0.5"},
		})
	}
	return all
}

// sleeperRoot is a file tree with nothing but sleep, and services as s6-supervise shows them.
func sleeperRoot(t *bench, dir string) string {
	root := filepath.Join(dir, "root")
	out, err := exec.CommandContext(t.ctx, "ldd", "/bin/sleep").Output()
	if err != nil {
		t.Fatalf("see what sleep needs: %v", err)
	}
	put := func(name string, b []byte) {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, b, 0o755)
		}
		if err != nil {
			t.Fatalf("make the processes' root: %v", err)
		}
	}
	for _, name := range append(regexp.MustCompile(`/\S+`).FindAllString(string(out), -1), "/bin/sleep") {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("read what sleep needs: %v", err)
		}
		if name == "/bin/sleep" {
			name = "/sleep"
		}
		put(name, b)
	}
	status := make([]byte, 35)
	binary.BigEndian.PutUint64(status, uint64(1<<62+10+time.Now().Unix()))
	binary.BigEndian.PutUint64(status[24:], 7)
	status[34] = 4
	for i := range hostServices {
		put(fmt.Sprintf("run/service/s%d/supervise/status", i), status)
	}
	return root
}

// groupPlaces makes the parent group in every hierarchy that the agent reads.
func groupPlaces(t *bench, parent string) []string {
	hierarchies := []string{""}
	if _, err := os.Stat(cgroup.DefaultRoot + "/cgroup.controllers"); err != nil {
		hierarchies = []string{"cpu", "cpuacct", "memory", "pids", "blkio"}
	} else if err := os.WriteFile(cgroup.DefaultRoot+"/cgroup.subtree_control", []byte("+cpu +memory +pids +io"), 0o644); err != nil {
		t.Fatalf("enable the controllers: %v", err)
	}
	var places []string
	seen := map[string]bool{}
	for _, h := range hierarchies {
		base, err := filepath.EvalSymlinks(filepath.Join(cgroup.DefaultRoot, h))
		if err != nil || seen[base] {
			continue
		}
		seen[base] = true
		place := base + parent
		if err := os.Mkdir(place, 0o755); err != nil {
			t.Fatalf("make a control group: %v", err)
		}
		t.Cleanup(func() { removeGroups(place) })
		if h == "" {
			if err := os.WriteFile(place+"/cgroup.subtree_control", []byte("+cpu +memory +pids +io"), 0o644); err != nil {
				t.Fatalf("enable the controllers: %v", err)
			}
		}
		places = append(places, place)
	}
	return places
}

// removeGroups removes a group with those below it. Their processes have just ended; the kernel may take a moment to see that.
func removeGroups(place string) {
	for range 50 {
		below, _ := filepath.Glob(place + "/*/cgroup.procs")
		for _, procs := range below {
			_ = syscall.Rmdir(filepath.Dir(procs))
		}
		if syscall.Rmdir(place) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// runMonitor is the process that is measured.
func runMonitor(ctx context.Context, list, address string, every time.Duration) error {
	b, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	var all []docker.Container
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	var inventory watch.Value[docker.Snapshot]
	inventory.Set(docker.Snapshot{Connected: true, Containers: all})
	var state watch.Value[spec.HostState]
	groups, err := cgroup.Open("", "")
	if err != nil {
		return err
	}
	log := logrus.New()
	log.SetLevel(logrus.WarnLevel)
	keeper, err := cpuquota.New(cpuquota.Options{State: &state, Inventory: &inventory, Groups: groups, Log: log})
	if err != nil {
		return err
	}
	m, err := monitor.New(monitor.Options{
		State: &state, Inventory: &inventory, Groups: groups, Socket: filepath.Join(filepath.Dir(list), "zabbix.sock"), Host: "bench", Version: "bench",
		Usage: keeper.Usage(), Every: every, Outputs: monitor.Outputs{Metrics: address}, Log: log,
	})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- keeper.Run(ctx) }()
	if err := m.Run(ctx); err != nil {
		return err
	}
	return <-failed
}

func freePort(t *bench) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
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
