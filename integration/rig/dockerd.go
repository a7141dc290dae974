package rig

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Network makes a plain bridge network, which goes away at the end with every container on it.
func (e *Engine) Network(bits int) (name string, cidr netip.Prefix) {
	e.t.Helper()
	name, cidr = freshName(), freeRange(e.t, bits)
	e.t.Cleanup(func() {
		ctx, cancel := outlive(e.t, time.Minute)
		defer cancel()
		if ids := e.ids(ctx, e.t, "ps", "-aq", "--filter", "network="+name); len(ids) > 0 {
			_, _ = e.try(ctx, append([]string{"rm", "-f"}, ids...)...) // the network's removal tells
		}
		if _, err := e.try(ctx, "network", "rm", name); err != nil {
			e.t.Errorf("%v", err)
		}
	})
	e.Docker("network", "create", "--subnet", cidr.String(), name)
	return name, cidr
}

// StartEngine runs a Docker Engine of the test's own, with live-restore, that may be killed. It keeps its hands off the
// machine's packet filter.
func StartEngine(t TB, images ...string) *Engine {
	t.Helper()
	return startEngine(t, "", images...)
}

// StartEngineIn is StartEngine in a network namespace that plays a host of its own: there the engine makes its bridge and its
// packet filter as on a real host, and the machine's are not touched.
func StartEngineIn(t TB, space string, images ...string) *Engine {
	t.Helper()
	return startEngine(t, space, images...)
}

// cleanupLimit is how long one step of tidying up may take.
const cleanupLimit = time.Minute

// startEngine runs one in a network namespace, "" for the machine's own.
func startEngine(t TB, space string, images ...string) *Engine {
	t.Helper()
	dir := tempDir(t)
	e := &Engine{t: t, daemon: &daemon{dir: dir, host: "unix://" + dir + "/docker.sock", space: space}}
	t.Cleanup(e.cleanup)
	// Without a configuration of its own containerd would read the machine's.
	config := e.daemon.config()
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		t.Fatalf("write %s: %v", config, err)
	}
	e.startContainerd()
	if space == "" {
		e.ownBridge()
	}
	e.Start()
	for _, image := range images {
		save := exec.CommandContext(t.Context(), "docker", "save", image)
		load := e.command(t.Context(), "load", "-q")
		load.Stdin = must(save.StdoutPipe())(t, "save %s", image)
		if err := save.Start(); err != nil {
			t.Fatalf("save %s: %v", image, err)
		}
		if out, err := load.CombinedOutput(); err != nil {
			t.Fatalf("load %s: %v: %s", image, err, out)
		}
		if err := save.Wait(); err != nil {
			t.Fatalf("save %s: %v", image, err)
		}
	}
	return e
}

func (d *daemon) config() string { return d.dir + "/containerd.toml" }

func (e *Engine) startContainerd() {
	e.t.Helper()
	e.containerd = e.daemon.start(e.t, "containerd", "--config", e.daemon.config(), "--address", e.dir+"/containerd.sock",
		"--root", e.dir+"/containerd/root", "--state", e.dir+"/containerd/state")
}

// Reboot does to the engine and its containers what a power cut of the machine does, and starts the engine again, which
// starts the containers that are to run always.
func (e *Engine) Reboot() {
	e.t.Helper()
	e.Kill9()
	e.killShims()
	_ = e.containerd.Process.Kill()
	_ = e.containerd.Wait()
	e.startContainerd()
	e.Start()
}

// start runs one daemon whose output goes to the engine's log.
func (d *daemon) start(t TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	log := must(os.OpenFile(d.dir+"/engine.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))(t, "make the engine's log")
	defer log.Close()
	cmd := exec.Command(name, args...)
	if d.space != "" { // with containerd; not "ip netns exec", which would give each process mounts of its own
		cmd = exec.Command("nsenter", append([]string{"--net=/run/netns/" + d.space, name}, args...)...)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return cmd
}

// Start runs the engine, for the first time or after Kill9, and waits until it answers.
func (e *Engine) Start() {
	e.t.Helper()
	_ = os.Remove(e.dir + "/docker.pid") // a killed engine leaves it, and the id may be someone else's by now
	args := []string{"--host", e.host, "--data-root", e.dir + "/data", "--exec-root", e.dir + "/exec",
		"--containerd", e.dir + "/containerd.sock", "--pidfile", e.dir + "/docker.pid", "--live-restore=" + strconv.FormatBool(!e.daemon.holds)}
	if e.space == "" {
		args = append(args, "--bridge", e.daemon.bridge, "--iptables=false", "--ip-masq=false", "--ip-forward=false")
	}
	e.cmd = e.daemon.start(e.t, dockerd(), args...)
	Eventually(e.t, 30*time.Second, "the test's own Docker Engine answers", func() error {
		_, err := e.try(e.t.Context(), "version")
		return err
	})
}

// LiveRestore says whether containers live on while the engine is away, as they do at first; it holds from the next Start on.
func (e *Engine) LiveRestore(on bool) { e.daemon.holds = !on }

// ownBridge makes the default bridge of this engine. With "--bridge none" dockerd would delete docker0, which is the
// machine's own engine's.
func (e *Engine) ownBridge() {
	e.t.Helper()
	name, cidr := freshName(), freeRange(e.t, 28)
	for _, args := range [][]string{
		{"link", "add", name, "type", "bridge"},
		{"addr", "add", netip.PrefixFrom(cidr.Addr().Next(), cidr.Bits()).String(), "dev", name},
		{"link", "set", name, "up"},
	} {
		if out, err := e.ip(e.t.Context(), args...); err != nil {
			e.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
		e.daemon.bridge = name
	}
}

// ip runs a command where the engine's interfaces are.
func (d *daemon) ip(ctx context.Context, args ...string) ([]byte, error) {
	if d.space != "" {
		args = append([]string{"-n", d.space}, args...)
	}
	return exec.CommandContext(ctx, "ip", args...).CombinedOutput()
}

// dockerd finds the server where Debian puts it, which is not on everybody's PATH.
func dockerd() string {
	if _, err := os.Stat("/usr/sbin/dockerd"); err == nil {
		return "/usr/sbin/dockerd"
	}
	return "dockerd"
}

// Kill9 ends the engine; its containers live on.
func (e *Engine) Kill9() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

// Freeze stops the engine where it is, so that it answers nobody and closes nothing, until Thaw.
func (e *Engine) Freeze() { _ = e.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen engine go on.
func (e *Engine) Thaw() { _ = e.cmd.Process.Signal(syscall.SIGCONT) }

// cleanup removes all containers, stops the engine, and gives back what it mounted.
func (e *Engine) cleanup() {
	ctx, cancel := outlive(e.t, cleanupLimit)
	defer cancel()
	if ids := e.ids(ctx, e.t, "ps", "-aq"); len(ids) > 0 {
		if _, err := e.try(ctx, append([]string{"rm", "-f"}, ids...)...); err != nil {
			e.t.Errorf("%v", err)
		}
	}
	for _, d := range []*exec.Cmd{e.cmd, e.containerd} {
		if d != nil {
			_ = d.Process.Signal(syscall.SIGTERM)
			_ = d.Wait()
		}
	}
	if e.t.Failed() {
		e.t.Logf("log of the test's own engine:\n%s", tail(e.dir+"/engine.log", 60))
	}
	e.killShims()
	if e.daemon.bridge != "" {
		if out, err := e.ip(ctx, "link", "delete", e.daemon.bridge); err != nil {
			e.t.Errorf("delete bridge %s: %v: %s", e.daemon.bridge, err, out)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], e.dir+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
}

// killShims ends what an engine that did not answer any more has left: each container's first process is the child of a
// shim that was told this engine's folder.
func (e *Engine) killShims() {
	for pid, cmdline := range processes("cmdline") {
		if !strings.Contains(cmdline, "-address\x00"+e.dir+"/") {
			continue
		}
		for child, stat := range processes("stat") {
			// "PID (name) state PPID ...": the name may hold anything, so the last bracket counts.
			if f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]); len(f) > 1 && f[1] == strconv.Itoa(pid) {
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes reads one file of every process.
func processes(file string) map[int]string {
	found := map[int]string{}
	names, _ := filepath.Glob("/proc/[0-9]*/" + file)
	for _, name := range names {
		pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
		if text, err := os.ReadFile(name); err == nil {
			found[pid] = string(text)
		}
	}
	return found
}
