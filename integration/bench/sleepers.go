package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/berth-project/berth/internal/cgroup"
)

// What a host with many instances is made of here: a control group, a network namespace, a sleeping process, and services as S6
// would show them. Containers of an engine would be the same to the agent's eye, and take minutes to start.
const (
	hostContainers = 300
	hostServices   = 5
)

// sleeper is one of them.
type sleeper struct {
	id, name string
	pid      int
	started  time.Time
	parent   string // of its control group
}

// sleepers starts the processes and puts each into a control group.
func sleepers(t *bench, dir string, n int) []sleeper {
	root, parent := sleeperRoot(t, dir), fmt.Sprintf("/berth-bench-%d", os.Getpid())
	places := groupPlaces(t, parent)
	var all []sleeper
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
		all = append(all, sleeper{id, fmt.Sprintf("bench-%d", i), cmd.Process.Pid, time.Now(), parent})
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
