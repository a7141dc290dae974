package rig

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"syscall"
)

// Host is one of several hosts on this machine: a network namespace with a Docker Engine of its own, and of a Berth that has it
// among its Options.Hosts, a `berth agent`. The file system is the machine's.
type Host struct {
	Name   string
	Engine *Engine
	Flags  []string  // more flags of its `berth agent`
	dir    string    // holds its agent's folders
	agent  *exec.Cmd // nil: not started
}

// StartHost makes a host with these images. It goes away with the test.
func StartHost(t TB, name string, images ...string) *Host {
	t.Helper()
	space := freshName()
	t.Cleanup(func() {
		ctx, cancel := outlive(t, cleanupLimit)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "ip", "netns", "delete", space).CombinedOutput(); err != nil {
			t.Errorf("delete network namespace %s: %v: %s", space, err, out)
		}
	})
	for _, args := range [][]string{{"netns", "add", space}, {"-n", space, "link", "set", "lo", "up"}} {
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	return &Host{Name: name, Engine: startEngine(t, space, images...), dir: tempDir(t)}
}

// Connect gives the host a way to this machine, whose address on it is returned. It goes away with the host.
func (h *Host) Connect(t TB) netip.Addr {
	t.Helper()
	link := freshName()
	here := netip.AddrFrom4([4]byte{169, 254, byte(rand.IntN(250) + 4), byte(rand.IntN(60)*4 + 1)})
	for _, args := range [][]string{
		{"link", "add", link, "type", "veth", "peer", "name", "up0", "netns", h.Engine.space},
		{"addr", "add", here.String() + "/30", "dev", link}, {"link", "set", link, "up"},
		{"-n", h.Engine.space, "addr", "add", here.Next().String() + "/30", "dev", "up0"}, {"-n", h.Engine.space, "link", "set", "up0", "up"},
	} {
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	return here
}

// inside is a command on the host.
func (h *Host) inside(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + h.Engine.space, name}, args...)...)
}

// Run runs a command on the host, and returns its output.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := h.inside(ctx, name, args...).CombinedOutput()
	return string(out), err
}

func (h *Host) stateDir() string { return h.dir + "/state" }

// endpoint is how `berth standalone` is told of the host.
func (h *Host) endpoint() string {
	return h.Name + "=" + h.Engine.Host() + ",cpus=1,mem=512,rack=rack-" + h.Name + ",state-dir=" + h.stateDir()
}

func (b *Berth) hostArgs(h *Host) []string {
	return append([]string{"agent", "--api", "unix://" + b.Socket(), "--hostname", h.Name, "--docker-host", h.Engine.Host(), "--state-dir", h.stateDir(),
		"--run-dir", h.dir + "/run", "--ipam-name", "ipam-" + b.Pool + "-" + h.Name, "--log-level", "debug"}, h.Flags...)
}

// launchHosts starts the agents that do not run.
func (b *Berth) launchHosts() {
	b.t.Helper()
	for _, h := range b.opt.Hosts {
		if h.agent != nil {
			continue
		}
		h.agent = h.inside(context.WithoutCancel(b.t.Context()), b.opt.Binary, b.hostArgs(h)...)
		h.agent.Stdout, h.agent.Stderr = b.log, b.log
		h.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := h.agent.Start(); err != nil {
			b.t.Fatalf("start the agent of %s: %v", h.Name, err)
		}
	}
}

// removeHosts stops the agents and removes what they made, as operators do. Containers must be gone.
func (b *Berth) removeHosts() {
	ctx, cancel := outlive(b.t, cleanupLimit)
	defer cancel()
	for _, h := range b.opt.Hosts {
		if h.agent == nil {
			continue
		}
		_ = h.agent.Process.Signal(syscall.SIGTERM)
		if err := h.agent.Wait(); err != nil {
			b.t.Errorf("berth agent of %s: %v", h.Name, err)
		}
		h.agent = nil
		if ids := h.Engine.ids(ctx, b.t, "ps", "-aq"); len(ids) > 0 {
			if _, err := h.Engine.try(ctx, append([]string{"rm", "-f"}, ids...)...); err != nil {
				b.t.Errorf("%v", err)
			}
		}
		if out, err := h.Run(ctx, b.opt.Binary, append(b.hostArgs(h), "--cleanup")...); err != nil {
			b.t.Errorf("berth agent --cleanup of %s: %v\n%s", h.Name, err, out)
		}
		if left := h.Engine.ids(ctx, b.t, "network", "ls", "-q", "--filter", "name=^"+b.Pool+"$"); len(left) > 0 {
			b.t.Errorf("--cleanup left network %s on %s", b.Pool, h.Name)
		}
	}
}
