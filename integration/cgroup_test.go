//go:build integration

package integration

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// cgroupValue reads one figure of a process's control group, from outside: file1 on cgroup v1, else field of file2 on v2.
func cgroupValue(pid int, controller, file1, file2, field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, name := range strings.Split(parts[1], ",") {
			if name == controller {
				return readInt(filepath.Join("/sys/fs/cgroup", controller, parts[2], file1), "")
			}
		}
	}
	_, path, ok := strings.Cut(strings.TrimSpace(string(text)), "0::")
	if !ok {
		return 0, fmt.Errorf("process %d has no %s control group", pid, controller)
	}
	return readInt(filepath.Join("/sys/fs/cgroup", path, file2), field)
}

// readInt reads the only number of a file, the one behind a name, or the first of a line.
func readInt(file, field string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if field != "" && len(words) == 2 && words[0] == field {
			return strconv.ParseInt(words[1], 10, 64)
		}
		if field == "" && len(words) > 0 {
			return strconv.ParseInt(words[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %q", file, field)
}

// cpuUsed is the time that the instance has used so far.
func cpuUsed(t *testing.T, pid int) time.Duration {
	t.Helper()
	used, err := cgroupValue(pid, "cpuacct", "cpuacct.usage", "cpu.stat", "usage_usec")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cpuacct"); err != nil {
		return time.Duration(used) * time.Microsecond
	}
	return time.Duration(used)
}

func cpuQuota(t *testing.T, pid int) time.Duration {
	t.Helper()
	quota, err := cgroupValue(pid, "cpu", "cpu.cfs_quota_us", "cpu.max", "")
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(quota) * time.Microsecond
}

// TestQuotaIsHard: a busy loop gets its share, not more, although the machine has time left, and not less.
func TestQuotaIsHard(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary})
	b.Create(b.App("busy", baseImage, 1, rig.With("cpus", 0.2), rig.With("cmd", "while :; do :; done")))
	busy := b.Running(b.AppID("busy"), 1, 30*time.Second)[0]

	// The upper bound holds always. On a machine that has no time left for anyone the lower one cannot, so it has three tries.
	var share float64
	for range 3 {
		began, before := time.Now(), cpuUsed(t, busy.PID)
		<-time.After(10 * time.Second)
		used, took := cpuUsed(t, busy.PID)-before, time.Since(began)
		share = used.Seconds() / took.Seconds()
		t.Logf("used %.4f of a CPU over %v", share, took)
		if share >= 0.2*0.98 {
			break
		}
	}
	if math.Abs(share-0.2) > 0.2*0.02 {
		t.Errorf("used %.4f of a CPU, want 0.200 +-2 %%", share)
	}
	if ps := b.CLI("ps"); !strings.Contains(ps, "0.2") {
		t.Errorf("berth ps does not tell the quota:\n%s", ps)
	}
}
