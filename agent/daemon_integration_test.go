//go:build integration

package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// privateDaemon is a Docker Engine of the test's own, in a network namespace of its own, so that it can be restarted and
// cannot touch the machine's packet filter.
type privateDaemon struct {
	t         *testing.T
	dir, host string
	netns     string
	daemon    *exec.Cmd
}

func newPrivateDaemon(t *testing.T, name string) *privateDaemon {
	t.Helper()
	const dockerd = "/usr/sbin/dockerd"
	if _, err := os.Stat(dockerd); err != nil || os.Getuid() != 0 {
		t.Skipf("needs root and %s: %v", dockerd, err)
	}
	dir, err := os.MkdirTemp("/tmp", name) // short, as socket paths are at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	d := &privateDaemon{t: t, dir: dir, host: "unix://" + filepath.Join(dir, "docker.sock"), netns: name}
	d.sh("ip netns add " + name)
	containerd := exec.Command("containerd", "--root", filepath.Join(dir, "cd"), "--state", filepath.Join(dir, "cds"), "--address", filepath.Join(dir, "containerd.sock"))
	if err := containerd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.end(os.Interrupt)
		_ = containerd.Process.Signal(os.Interrupt)
		_ = containerd.Wait()
		d.sh("ip netns del " + name)
		// dockerd mounts its folder over itself and leaves the mount when live-restore is on.
		d.sh("for m in $(awk '{print $5}' /proc/self/mountinfo | grep ^" + dir + " | sort -r); do umount -l $m; done; rm -rf " + dir)
	})
	return d
}

func (d *privateDaemon) sh(line string) {
	d.t.Helper()
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		d.t.Errorf("%s: %v: %s", line, err, out)
	}
}

// start runs the daemon and returns how long its API needed to answer.
func (d *privateDaemon) start() time.Duration {
	d.t.Helper()
	in := func(name string) string { return filepath.Join(d.dir, name) }
	d.daemon = exec.Command("nsenter", "--net=/run/netns/"+d.netns, "/usr/sbin/dockerd", "--data-root", in("data"), "--exec-root", in("exec"),
		"--pidfile", in("pid"), "-H", d.host, "--containerd", in("containerd.sock"), "--live-restore", "--bridge", "none", "--cgroup-parent", "/"+d.netns)
	began := time.Now()
	if err := d.daemon.Start(); err != nil {
		d.t.Fatal(err)
	}
	ping := exec.Command("sh", "-c", "while ! curl -sf --unix-socket "+in("docker.sock")+" http://d/_ping >/dev/null; do sleep 0.05; done")
	timer := time.AfterFunc(time.Minute, func() { _ = ping.Process.Kill() })
	defer timer.Stop()
	if err := ping.Run(); err != nil {
		d.t.Fatalf("the private daemon does not answer: %v", err)
	}
	return time.Since(began)
}

func (d *privateDaemon) end(with os.Signal) {
	if d.daemon != nil {
		_ = d.daemon.Process.Signal(with)
		_ = d.daemon.Wait()
		d.daemon = nil
	}
}

// A daemon that restarts, orderly or not, finds its running containers on their addresses, and nobody else gets them.
func TestDaemonRestart(t *testing.T) {
	d := newPrivateDaemon(t, "agt-two")
	d.start()
	r := newReal(t, d.host, "agt-two", "10.213.72.0/24")
	if out, err := r.run("a", r.address(10)); err != nil {
		t.Fatal(out)
	}
	pid := r.must("inspect", "-f", "{{.State.Pid}}", "agt-two-a")
	for name, with := range map[string]os.Signal{"orderly": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			d.end(with)
			if took := d.start(); took > 10*time.Second {
				t.Errorf("the daemon needed %v, as if nobody had answered for its addresses", took)
			}
			if now := r.must("inspect", "-f", "{{.State.Pid}}", "agt-two-a"); now != pid {
				t.Errorf("the container was process %s and is %s", pid, now)
			}
			out, err := r.run("b", r.address(10))
			if err == nil || !strings.Contains(out, `held by container "agt-two-a"`) {
				t.Errorf("got %v: %s", err, out)
			}
			r.must("rm", "-f", "agt-two-b")
			if out, err := exec.Command("nsenter", "--net=/run/netns/agt-two", "bash", "-c", "cat < /dev/tcp/10.213.72.10/7").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "10.213.72.1:") {
				t.Errorf("the container answers %v: %s", err, out)
			}
		})
	}
}
