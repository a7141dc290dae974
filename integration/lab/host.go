package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Host is one of the three. Its files are in a folder of its name; the rest of the file system is the machine's.
type Host struct {
	Name   string
	lab    *Lab
	number int
}

// What the scheduler may use of a host: the instances mostly do nothing, so it is more than the machine has.
const hostResources = "cpus=8,mem=16384"

// Space is its network namespace.
func (h *Host) Space() Space { return Space(h.lab.o.Name + "-" + h.Name) }

// Address is its own, on the switch.
func (h *Host) Address() string { return fmt.Sprintf("192.0.2.%d", 10+h.number) }

func (h *Host) path(elements ...string) string {
	return h.lab.path(append([]string{h.Name}, elements...)...)
}

// Engine is the address of its Docker Engine on the machine's file system. The scheduler uses another, on the switch.
func (h *Host) Engine() string { return "unix://" + h.path("docker.sock") }

func (h *Host) endpoint() string {
	return fmt.Sprintf("%s=tcp://%s:2375,%s,rack=r%d,state-dir=%s", h.Name, h.Address(), hostResources, h.number, h.path("state"))
}

// Docker runs a docker command with its engine.
func (h *Host) Docker(ctx context.Context, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, "docker", append([]string{"--host", h.Engine()}, args...)...))
}

// Boot starts the host, for the first time or after Crash: what Docker has is still there, and no container runs.
func (h *Host) Boot(ctx context.Context) error {
	if err := h.Space().add(ctx); err != nil {
		return err
	}
	if err := h.lab.plug(ctx, h.Name, h.Space(), h.Address()); err != nil {
		return err
	}
	if err := ip(ctx, []string{"-n", string(h.Space()), "route", "add", "default", "via", routerAddress}); err != nil {
		return err
	}
	for _, d := range []Daemon{h.containerd(), h.Net(), h.Dockerd()} {
		if err := d.Start(ctx); err != nil {
			return err
		}
	}
	// An agent that finds its pool at once reports a host that can be used at once; else only 10 s later.
	err := eventually(ctx, 60*time.Second, h.Name+" has its pool", func() error {
		_, err := h.Docker(ctx, "network", "inspect", "--format", "x", Pool)
		return err
	})
	if err != nil {
		return err
	}
	return h.Agent().Start(ctx)
}

// Crash takes the host away as a loss of power does: nobody is told anything, and its namespace is gone.
func (h *Host) Crash(ctx context.Context) error {
	if err := h.Cut(ctx); err != nil {
		return err
	}
	err := eventually(ctx, 20*time.Second, "the end of "+h.Name, func() error {
		for _, d := range []Daemon{h.Agent(), h.Net(), h.Dockerd(), h.containerd()} {
			d.Signal(syscall.SIGKILL)
		}
		for _, shim := range h.shims() {
			for _, pid := range children(shim) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			_ = syscall.Kill(shim, syscall.SIGKILL)
		}
		if n := h.processes(); n > 0 {
			return fmt.Errorf("%d processes are left", n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	h.unmount()
	if err := h.Space().remove(ctx); err != nil {
		return err
	}
	_ = os.Remove("/run/docker/plugins/" + h.plugin() + ".sock") // of nobody
	// Connections that were not closed in order keep the namespace for minutes, without a name. Its cable goes with us.
	return h.unplug(ctx)
}

func (h *Host) unplug(ctx context.Context) error {
	if !h.plugged(ctx) {
		return nil
	}
	return ip(ctx, []string{"-n", string(h.lab.Fabric()), "link", "delete", h.Name})
}

// plugged says whether its cable is there.
func (h *Host) plugged(ctx context.Context) bool {
	_, err := os.Stat(h.lab.Fabric().path())
	return err == nil && h.lab.Fabric().hasLink(ctx, h.Name)
}

// shims are the parents of its containers' first processes.
func (h *Host) shims() []int { return processes("-address", h.path("containerd.sock")) }

func (h *Host) processes() int {
	n := len(h.shims())
	for _, d := range []Daemon{h.Agent(), h.Net(), h.Dockerd(), h.containerd()} {
		n += len(d.PIDs())
	}
	return n
}

// unmount gives back what Docker has mounted below the host's folder, the last first.
func (h *Host) unmount() {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], h.path()+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
}

// Cut pulls the host's cable out of the switch. Neither end is told: packets get lost.
func (h *Host) Cut(ctx context.Context) error {
	if !h.plugged(ctx) {
		return nil
	}
	return h.lab.connect(ctx, h.Name, false)
}

// Heal puts it in again.
func (h *Host) Heal(ctx context.Context) error { return h.lab.connect(ctx, h.Name, true) }

func (h *Host) containerd() Daemon {
	config := h.path("containerd.toml")
	return Daemon{
		Name: h.Name + "/containerd", lab: h.lab, space: h.Space(), program: "containerd",
		args: []string{"--config", config, "--address", h.path("containerd.sock"), "--root", h.path("containerd", "root"),
			"--state", h.path("containerd", "state"), "--log-level", "warn"},
		marks: []string{"--config", config},
		before: func() error {
			if err := os.MkdirAll(h.path(), 0o755); err != nil {
				return err
			}
			// Without a configuration of its own it would read the machine's.
			return os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600)
		},
		answers: func(ctx context.Context) error {
			conn, err := dialUnix(h.path("containerd.sock"))(ctx, "", "")
			if err == nil {
				err = conn.Close()
			}
			return err
		},
	}
}

// Dockerd is its Docker Engine, without containerd, which is a process apart as on every real host.
func (h *Host) Dockerd() Daemon {
	pidFile := h.path("docker.pid")
	return Daemon{
		Name: h.Name + "/dockerd", lab: h.lab, space: h.Space(), program: dockerd(),
		args: []string{"--host", h.Engine(), "--host", "tcp://" + h.Address() + ":2375", "--tls=false", "--data-root", h.path("docker"),
			"--exec-root", h.path("exec"), "--containerd", h.path("containerd.sock"), "--pidfile", pidFile,
			"--live-restore", "--log-level", "warn"},
		marks: []string{"--data-root", h.path("docker")},
		// One that was killed leaves its file, and the id may be another's by now.
		before:  func() error { _ = os.Remove(pidFile); return nil },
		answers: func(ctx context.Context) error { _, err := h.Docker(ctx, "version"); return err },
	}
}

// dockerd finds the server where Debian puts it, which is not on everybody's PATH.
func dockerd() string {
	if _, err := os.Stat("/usr/sbin/dockerd"); err == nil {
		return "/usr/sbin/dockerd"
	}
	return "dockerd"
}

// plugin is the name of its Docker drivers; the folder of their sockets is the machine's.
func (h *Host) plugin() string { return h.lab.o.Name + "-" + h.Name }

// common are the arguments that `berth net` and `berth agent` share.
func (h *Host) common() []string {
	return []string{"--api", h.lab.api(), "--token-file", h.lab.tokenFile(), "--hostname", h.Name, "--docker-host", h.Engine(),
		"--state-dir", h.path("state"), "--run-dir", h.path("run"), "--ipam-name", h.plugin()}
}

// Net is its `berth net`.
func (h *Host) Net() Daemon {
	args := append([]string{"net", "--network", "routed"}, h.common()...)
	return Daemon{
		Name: h.Name + "/net", lab: h.lab, space: h.Space(), program: h.lab.o.Berth, args: append(args, h.lab.o.NetFlags...),
		marks: []string{"net", h.path("state")},
		answers: func(ctx context.Context) error {
			return answers(ctx, "/run/docker/plugins/"+h.plugin()+".sock", "/NetworkDriver.GetCapabilities")
		},
	}
}

// Agent is its `berth agent`.
func (h *Host) Agent() Daemon {
	d := Daemon{
		Name: h.Name + "/agent", lab: h.lab, space: h.Space(), program: h.lab.o.Berth,
		args:  slices.Concat([]string{"agent", "--net", "external"}, h.common(), h.lab.o.AgentFlags),
		marks: []string{"agent", h.path("state")},
	}
	d.answers = func(context.Context) error { // one that was killed has left its file
		text, err := os.ReadFile(h.path("run", "agent.pid"))
		if err == nil && fmt.Sprintln(d.PIDs()) != "["+strings.TrimSpace(string(text))+"]\n" {
			err = errors.New("it is not ready yet")
		}
		return err
	}
	return d
}

// answers asks a Docker plugin.
func answers(ctx context.Context, socket, path string) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       dialUnix(socket),
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin"+path, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// ready says what it still lacks: a session with the router or another host.
func (h *Host) ready(ctx context.Context) error {
	if err := h.lab.Router.Established(ctx, h.Name); err != nil {
		return err
	}
	out, err := h.Space().Run(ctx, "ss", "-Htn", "state", "established", "( sport = :179 or dport = :179 )")
	if err != nil {
		return err
	}
	for _, other := range h.lab.Hosts {
		if other != h && !strings.Contains(out, other.Address()+":") {
			return fmt.Errorf("%s has no session with %s", h.Name, other.Name)
		}
	}
	return nil
}

// saveImages takes the images from the machine's own engine, once for all hosts.
func (l *Lab) saveImages(ctx context.Context) error {
	if len(l.o.Images) == 0 {
		return nil
	}
	_, err := output(exec.CommandContext(ctx, "docker", append([]string{"save", "-o", l.path("images.tar")}, l.o.Images...)...))
	return err
}

func (h *Host) loadImages(ctx context.Context) error {
	if len(h.lab.o.Images) == 0 {
		return nil
	}
	_, err := h.Docker(ctx, "load", "-q", "-i", filepath.Join(h.lab.o.Dir, "images.tar"))
	return err
}
