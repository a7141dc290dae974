package cgroup

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const id = "6f1b0c6a1d7e4a0f9d8f7c1b2a3948576655443322110ffeeddccbbaa9988776"

// tree writes files below a fresh folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// v1Files are a container's files on a version 1 host; cpu and cpuacct are the folders of these hierarchies.
func v1Files(cpu, cpuacct, group string) map[string]string {
	return map[string]string{
		cpu + group + "/cpu.cfs_quota_us":           "20000\n",
		cpu + group + "/cpu.cfs_period_us":          "100000\n",
		cpu + group + "/cpu.stat":                   "nr_periods 100\nnr_throttled 25\nthrottled_time 5000000\nnr_bursts 0\nburst_time 0\n",
		cpu + group + "/cpu.cfs_burst_us":           "0\n",
		cpu + group + "/cpu.shares":                 "512\n",
		"pids" + group + "/pids.max":                "max\n",
		cpuacct + group + "/cpuacct.usage":          "2500000000\n",
		"memory" + group + "/memory.usage_in_bytes": "104857600\n",
		"memory" + group + "/memory.stat":           "cache 1\ninactive_file 1\ntotal_inactive_file 4857600\n",
		"memory" + group + "/memory.limit_in_bytes": "268435456\n",
		"pids" + group + "/pids.current":            "7\n",
		"systemd" + group + "/cgroup.procs":         "",
	}
}

func v2Files(base, group string) map[string]string {
	return map[string]string{
		base + "cgroup.controllers":      "cpu memory pids\n",
		base + group + "/cpu.max":        "20000 100000\n",
		base + group + "/cpu.max.burst":  "0\n",
		base + group + "/cpu.weight":     "20\n",
		base + group + "/pids.max":       "max\n",
		base + group + "/cpu.stat":       "usage_usec 2500000\nuser_usec 1\nsystem_usec 1\nnr_periods 100\nnr_throttled 25\nthrottled_usec 5000\n",
		base + group + "/memory.current": "104857600\n",
		base + group + "/memory.stat":    "anon 1\ninactive_file 4857600\n",
		base + group + "/memory.max":     "268435456\n",
		base + group + "/pids.current":   "7\n",
	}
}

func merge(ms ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range ms {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// without leaves files out whose names begin so.
func without(m map[string]string, prefix string) map[string]string {
	maps.DeleteFunc(m, func(name, _ string) bool { return strings.HasPrefix(name, prefix) })
	return m
}

// stats are what a group has used, from all that can be read of it.
func stats(g *Group) (Stats, error) {
	d, err := new(Reader).Read(g)
	return d.Stats, err
}

var want = Stats{
	CPU: 2500 * time.Millisecond, Periods: 100, Throttled: 25, ThrottledTime: 5 * time.Millisecond,
	Memory: 100<<20 - 4857600, Pids: 7,
}

func TestLayouts(t *testing.T) {
	v1Line := func(path string) string {
		return "9:name=systemd:/elsewhere\n8:pids:" + path + "\n4:memory:" + path + "\n2:cpu,cpuacct:" + path + "\n"
	}
	for _, c := range []struct {
		name, parent, membership string
		files                    map[string]string
		mode                     Mode
	}{
		{"v1 cgroupfs", "", v1Line("/docker/" + id), v1Files("cpu", "cpuacct", "/docker/"+id), V1},
		{"v1 joined hierarchies", "", v1Line("/docker/" + id), v1Files("cpu,cpuacct", "cpu,cpuacct", "/docker/"+id), V1},
		{"v1 systemd", "", v1Line("/system.slice/docker-" + id + ".scope"), v1Files("cpu", "cpuacct", "/system.slice/docker-"+id+".scope"), V1},
		{"v1 nested slice", "apps-web.slice", v1Line("/apps.slice/apps-web.slice/docker-" + id + ".scope"),
			v1Files("cpu,cpuacct", "cpu,cpuacct", "/apps.slice/apps-web.slice/docker-"+id+".scope"), V1},
		{"v1 joined the other way", "", v1Line("/docker/" + id), v1Files("cpuacct,cpu", "cpuacct,cpu", "/docker/"+id), V1},
		{"v1 parent", "/mesos", v1Line("/mesos/" + id), v1Files("cpu", "cpuacct", "/mesos/"+id), V1},
		{"v2 cgroupfs", "", "0::/docker/" + id + "\n", v2Files("", "docker/"+id), V2},
		{"v2 systemd", "", "0::/system.slice/docker-" + id + ".scope\n", v2Files("", "system.slice/docker-"+id+".scope"), V2},
		{"v2 nested slice", "apps-web.slice", "0::/apps.slice/apps-web.slice/docker-" + id + ".scope\n",
			v2Files("", "apps.slice/apps-web.slice/docker-"+id+".scope"), V2},
		{"v2 parent", "/mesos", "0::/mesos/" + id + "\n", v2Files("", "mesos/"+id), V2},
		{"v2 slice with cgroupfs", "apps.slice", "0::/apps.slice/" + id + "\n", v2Files("", "apps.slice/"+id), V2},
		{"hybrid systemd", "", v1Line("/system.slice/docker-"+id+".scope") + "0::/system.slice/docker-" + id + ".scope\n",
			merge(v1Files("cpu,cpuacct", "cpu,cpuacct", "/system.slice/docker-"+id+".scope"),
				map[string]string{"unified/cgroup.controllers": "\n", "unified/system.slice/docker-" + id + ".scope/cgroup.procs": ""}), Hybrid},
		{"hybrid with pids unified", "", "4:memory:/docker/" + id + "\n2:cpu,cpuacct:/docker/" + id + "\n0::/docker/" + id + "\n",
			without(merge(v1Files("cpu", "cpuacct", "/docker/"+id), map[string]string{"unified/cgroup.controllers": "pids\n",
				"unified/docker/" + id + "/pids.current": "7\n", "unified/docker/" + id + "/pids.max": "max\n"}), "pids/"), Hybrid},
		{"hybrid", "", v1Line("/docker/"+id) + "0::/\n",
			merge(v1Files("cpu", "cpuacct", "/docker/"+id), map[string]string{"unified/cgroup.controllers": "\n", "unified/docker/" + id + "/cgroup.procs": ""}), Hybrid},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, err := Open(tree(t, c.files), tree(t, map[string]string{"42/cgroup": c.membership}))
			if err != nil {
				t.Fatal(err)
			}
			if fs.mode != c.mode {
				t.Errorf("mode %s, want %s", fs.mode, c.mode)
			}
			byPid, err := fs.ByPid(42, id)
			if err != nil {
				t.Fatal(err)
			}
			byID, err := fs.ByDocker(id, c.parent)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(byPid, byID) {
				t.Errorf("by pid %+v, by id %+v", byPid, byID)
			}
			got, err := new(Reader).Read(byID)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got.Stats); d != "" {
				t.Errorf("stats (-want +got):\n%s", d)
			}
			if got.MemoryLimit != 256<<20 || got.Quota.Cores() != 0.2 || !got.HasWeight(512) {
				t.Errorf("it has the settings %+v", got.Settings)
			}
			testQuota(t, byID)
			testSettings(t, byID)
		})
	}
}

// testQuota reads, changes, removes and restores a quota of 0.2 cores.
func testQuota(t *testing.T, g *Group) {
	t.Helper()
	start := Quota{Time: 20 * time.Millisecond, Period: 100 * time.Millisecond}
	for _, q := range []Quota{start, {Time: 75 * time.Millisecond, Period: 50 * time.Millisecond}, {Period: 50 * time.Millisecond}, start} {
		if q != start {
			if err := g.SetQuota(q); err != nil {
				t.Fatal(err)
			}
		}
		if q == start {
			if err := g.SetQuota(Quota{Time: start.Time}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := g.Quota()
		if err != nil {
			t.Fatal(err)
		}
		if got != q {
			t.Errorf("quota %+v, want %+v", got, q)
		}
	}
	if start.Cores() != 0.2 || (Quota{Period: time.Second}).Cores() != 0 {
		t.Error("cores")
	}
}

func TestGoneContainers(t *testing.T) {
	root := tree(t, v2Files("", "docker/"+id))
	fs, err := Open(root, tree(t, map[string]string{"42/cgroup": "0::/docker/" + id, "43/cgroup": "0::/../outer\n", "44/cgroup": "nonsense\n"}))
	if err != nil {
		t.Fatal(err)
	}
	g, err := fs.Find(42, id, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "docker", id)); err != nil {
		t.Fatal(err)
	}
	_, readErr := stats(g)
	_, pidErr := fs.ByPid(42, id)
	_, outerErr := fs.ByPid(43, id)
	_, noneErr := fs.ByPid(41, id)
	_, idErr := fs.ByDocker(id, "")
	_, settingsErr := settings(g)
	for what, err := range map[string]error{
		"settings": settingsErr, "read": readErr, "pid": pidErr, "outer": outerErr, "none": noneErr, "id": idErr, "set": g.SetQuota(Quota{Time: time.Second}),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", what, err)
		}
	}
	if _, err := fs.ByPid(44, id); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a broken membership: %v", err)
	}
	if _, err := fs.ByDocker("../../etc", ""); err == nil {
		t.Error("a path was taken for a container id")
	}
	if _, err := Open(t.TempDir(), ""); err == nil {
		t.Error("an empty folder was taken for control groups")
	}
}

func TestUnlimitedMemoryIsZero(t *testing.T) {
	for _, text := range []string{"max\n", "9223372036854771712\n", "18446744073709551615\n"} {
		if got, err := parseLimit([]byte(text)); err != nil || got != 0 {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"9:name=systemd:/x\n0::/a\n", "20000 100000\n", "max 100000\n", "nr_periods 1\nusage_usec 2\n", "9223372036854771712\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseMax(b); err == nil && (q.Time < 0 || q.Period <= 0) {
			t.Errorf("cpu.max %q: %+v", b, q)
		}
		if n, err := parseLimit(b); err == nil && n < 0 {
			t.Errorf("limit %q: %d", b, n)
		}
		if m, err := parseMembership(b); err == nil {
			for c, path := range m {
				if path == "" || path[0] != '/' {
					t.Errorf("membership %q: %q at %q", b, c, path)
				}
			}
		}
		eachFlat(b, func([]byte, uint64) {})
		parseBlkio(b)
		parseIOStat(b)
	})
}

func BenchmarkRead(b *testing.B) {
	g := realGroup(b)
	for b.Loop() {
		if _, err := stats(g); err != nil {
			b.Skip(err)
		}
	}
}
