package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func settings(g *Group) (Settings, error) { return new(Reader).Settings(g, AllParts()) }

// kept is a copy of the group with files that stay open.
func kept(g *Group) *Group {
	k := *g
	k.KeepOpen()
	return &k
}

// seeSettings reads a group's settings, and checks that files kept open show the same.
func seeSettings(t *testing.T, g *Group, k *Group) Settings {
	t.Helper()
	s, err := settings(g)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := settings(k); err != nil || again != s {
		t.Errorf("kept open: %+v, %v; opened anew: %+v", again, err, s)
	}
	s.weight, s.v2 = 0, false
	return s
}

// testSettings reads, changes and removes what the fixtures have: half of the default weight, 256 MiB, no limit of processes.
func testSettings(t *testing.T, g *Group) {
	t.Helper()
	k := kept(g)
	defer k.Close()
	want := Settings{
		Quota: Quota{Time: 20 * time.Millisecond, Period: DefaultPeriod}, Weight: 512, MemoryLimit: 256 << 20,
		CanBurst: true, CanWeight: true, CanMemory: true, CanPids: true,
	}
	if g.cpu.v2 {
		want.Weight = 501 // the fewest shares that are the weight 20
	}
	sameSettings(t, want, seeSettings(t, g, k))
	if s, err := settings(k); err != nil || !s.HasWeight(512) || s.HasWeight(2048) {
		t.Errorf("weight %d, %v; it is 512", s.Weight, err)
	}
	if err := errors.Join(g.SetBurst(10*time.Millisecond), g.SetWeight(DefaultShares), g.SetMemoryLimit(64<<20), g.SetPidsLimit(100)); err != nil {
		t.Fatal(err)
	}
	want.Burst, want.Weight, want.MemoryLimit, want.PidsLimit = 10*time.Millisecond, DefaultShares, 64<<20, 100
	sameSettings(t, want, seeSettings(t, g, k))
	if s, err := new(Reader).Settings(k, Parts{Memory: true}); err != nil || s.MemoryLimit != 64<<20 || s.Quota != want.Quota || s.CanBurst || s.CanPids {
		t.Errorf("of all parts only the memory limit: %+v, %v", s, err)
	}
	if err := g.SetPidsLimit(0); err != nil {
		t.Fatal(err)
	}
	want.PidsLimit = 0
	if g.memory.v2 { // version 1's kernel turns -1 into a large number, a file does not
		if err := g.SetMemoryLimit(0); err != nil {
			t.Fatal(err)
		}
		want.MemoryLimit = 0
	}
	sameSettings(t, want, seeSettings(t, g, k))
}

// A file of a group that is gone says so when it is read (here it is one of a process that has ended, as ESRCH and ENODEV mean the
// same); when the group is there anew, so is its file.
func TestKeptFilesAreOpenedAnew(t *testing.T) {
	root := tree(t, v2Files("", "docker/"+id))
	fs, err := Open(root, "")
	if err != nil {
		t.Fatal(err)
	}
	g, err := fs.ByDocker(id, "")
	if err != nil {
		t.Fatal(err)
	}
	g.KeepOpen()
	defer g.Close()
	program := exec.Command("sleep", "60")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(g.cpu.dir, "cpu.max")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(file), os.Symlink(filepath.Join("/proc", strconv.Itoa(program.Process.Pid), "stat"), file)); err != nil {
		t.Fatal(err)
	}
	var r Reader
	if _, err := r.file(g.cpu, "cpu.max"); err != nil {
		t.Fatal(err)
	}
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait()
	if _, err := r.file(g.cpu, "cpu.max"); !errors.Is(err, ErrNotFound) || len(g.cpu.open) != 0 {
		t.Errorf("gone: %v, open are %v", err, g.cpu.open)
	}
	if err := errors.Join(os.Remove(file), os.WriteFile(file, text, 0o644)); err != nil {
		t.Fatal(err)
	}
	if s, err := r.Settings(g, AllParts()); err != nil || s.Quota.Cores() != 0.2 {
		t.Errorf("there again: %+v, %v", s, err)
	}
}

// Kept files leave descriptors for others.
func TestKeptFilesAreBounded(t *testing.T) {
	var before, few syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few = before
	few.Cur = 64
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }()
	fs, err := Open(tree(t, v2Files("", "docker/"+id)), "")
	if err != nil {
		t.Fatal(err)
	}
	var r Reader
	kept := 0
	for range 20 {
		g, err := fs.ByDocker(id, "")
		if err != nil {
			t.Fatal(err)
		}
		g.KeepOpen()
		defer g.Close()
		for range 2 {
			if s, err := r.Settings(g, AllParts()); err != nil || s.Quota.Cores() != 0.2 {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		for _, p := range g.places() {
			kept += len(p.open)
		}
	}
	if kept == 0 || kept > 32 {
		t.Errorf("%d files are kept open of 64 descriptors", kept)
	}
}

func sameSettings(t *testing.T, want, got Settings) {
	t.Helper()
	if got != want {
		t.Errorf("settings %+v, want %+v", got, want)
	}
}

// A unified group for which controllers are not enabled has no limit, rather than an error; only setting one is an error.
func TestMissingControllers(t *testing.T) {
	fs, err := Open(tree(t, map[string]string{
		"cgroup.controllers":         "cpuset io\n",
		"docker/" + id + "/cpu.stat": "usage_usec 2500000\nuser_usec 1\nsystem_usec 1\n",
	}), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := fs.ByDocker(id, "")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := stats(g); err != nil || s != (Stats{CPU: 2500 * time.Millisecond}) {
		t.Errorf("stats %+v, %v", s, err)
	}
	if q, err := g.Quota(); err != nil || q.Cores() != 0 {
		t.Errorf("quota %+v, %v", q, err)
	}
	if s, err := settings(g); err != nil || s != (Settings{v2: true}) {
		t.Errorf("settings %+v, %v", s, err)
	}
	for what, err := range map[string]error{
		"quota": g.SetQuota(Quota{Time: time.Second}), "burst": g.SetBurst(time.Millisecond),
		"weight": g.SetWeight(2), "set memory": g.SetMemoryLimit(1), "set pids": g.SetPidsLimit(1),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", what, err)
		}
	}
}

// An engine that has a place of its own for all groups is followed there. The process that a container had may be another's by now,
// whose group is none of our business, and neither is the root of a hierarchy that the engine does not use.
func TestFindByProcess(t *testing.T) {
	files := merge(v1Files("cpu", "cpuacct", "/custom/"+id), v1Files("cpu", "cpuacct", "/system.slice/ssh.service"))
	files["pids/pids.current"] = "900"
	line := func(path, pids string) string {
		return "8:pids:" + pids + "\n4:memory:" + path + "\n2:cpu,cpuacct:" + path + "\n"
	}
	root := tree(t, files)
	fs, err := Open(root, tree(t, map[string]string{
		"42/cgroup": line("/custom/"+id, "/"), "43/cgroup": line("/system.slice/ssh.service", "/system.slice/ssh.service"),
	}))
	if err != nil {
		t.Fatal(err)
	}
	g, err := fs.Find(42, id, "")
	if err != nil || g.cpu.dir != filepath.Join(root, "cpu/custom", id) || g.pids.dir != "" {
		t.Errorf("found %+v, %v", g, err)
	}
	if g, err := fs.Find(43, id, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("found another's group %+v, %v", g, err)
	}
}

// A process of another cgroup namespace shows a path that climbs out of ours; its container is still found by its id, as is
// one whose init, such as systemd, moved its first process into a group of its own.
func TestNamespacesAndInits(t *testing.T) {
	scope := "system.slice/docker-" + id + ".scope"
	for _, c := range []struct {
		name, membership string
		byPid            bool
	}{
		{"another namespace", "0::/../../" + scope + "\n", false},
		{"an init's own group", "0::/" + scope + "/init.scope\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t, merge(v2Files("", scope), map[string]string{scope + "/init.scope/cpu.stat": ""}))
			fs, err := Open(root, tree(t, map[string]string{"42/cgroup": c.membership}))
			if err != nil {
				t.Fatal(err)
			}
			if g, err := fs.ByPid(42, id); (err == nil) != c.byPid || c.byPid && g.cpu.dir != filepath.Join(root, scope) {
				t.Errorf("by pid: %+v, %v", g, err)
			}
			g, err := fs.Find(42, id, "")
			if err != nil || g.cpu.dir != filepath.Join(root, scope) {
				t.Errorf("found %+v, %v", g, err)
			}
		})
	}
}

// An agent in a container of its own has the host's groups below another root, and the host's processes below another proc.
func TestNoHierarchyOfThatController(t *testing.T) {
	fs, err := Open(tree(t, without(v1Files("cpu", "cpuacct", "/docker/"+id), "memory/")), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := fs.ByDocker(id, "")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := stats(g); err != nil || s.Memory != 0 || s.Pids != 7 {
		t.Errorf("stats %+v, %v", s, err)
	}
	if err := os.Remove(filepath.Join(g.cpu.dir, "cpu.cfs_burst_us")); err != nil {
		t.Fatal(err)
	}
	if s, err := settings(g); err != nil || s.CanBurst || s.CanMemory || !s.CanPids || !s.CanWeight {
		t.Errorf("settings on an old kernel without the memory controller: %+v, %v", s, err)
	}
}

func TestWeights(t *testing.T) {
	// The values of runc's own tests, and of the curve's: both ends, and the defaults onto each other.
	for shares, want := range map[int64][2]int64{2: {1, 1}, 1024: {39, 100}, 262144: {10000, 10000}, 1: {1, 1}, 1 << 30: {10000, 10000}} {
		if got := [2]int64{weightOf(shares), curvedWeightOf(shares)}; got != want {
			t.Errorf("%d shares are the weights %v, want %v", shares, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		weight := rapid.Int64Range(minWeight, maxWeight).Draw(t, "weight")
		if got := weightOf(sharesOf(weight)); got != weight {
			t.Fatalf("the weight %d is %d shares, which are the weight %d", weight, sharesOf(weight), got)
		}
		a, b := rapid.Int64Range(minShares, maxShares).Draw(t, "a"), rapid.Int64Range(minShares, maxShares).Draw(t, "b")
		if a <= b && (weightOf(a) > weightOf(b) || curvedWeightOf(a) > curvedWeightOf(b)) {
			t.Fatalf("%d shares weigh more than %d", a, b)
		}
	})
}

// realGroup makes a group on this machine, where that is possible.
func realGroup(b *testing.B) *Group {
	b.Helper()
	fs, err := Open("", "")
	if err != nil {
		b.Skip(err)
	}
	name := "/berth-bench-" + strconv.Itoa(os.Getpid())
	for _, hierarchy := range []string{"cpu", "cpuacct", "memory", "pids", "blkio"} {
		if fs.mode == V2 {
			hierarchy = ""
		}
		dir := filepath.Join(fs.root, hierarchy, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			b.Skip(err)
		}
		b.Cleanup(func() { _ = os.Remove(dir) })
	}
	g := fs.group(func(string, bool) string { return name })
	if g == nil {
		b.Skip("no group")
	}
	return g
}

// BenchmarkCompare reads what the keeper compares of each container once a second.
func BenchmarkCompare(b *testing.B) {
	k := kept(realGroup(b))
	defer k.Close()
	for b.Loop() {
		if _, err := settings(k); err != nil {
			b.Fatal(err)
		}
	}
}
