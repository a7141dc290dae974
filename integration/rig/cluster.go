package rig

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/standalone"
)

// Mesos is an engine with the Mesos v1 scheduler API over this machine's Docker Engine: a cluster of one host, to which a
// scheduler and an agent come as to any other.
type Mesos struct {
	Address           string // host:port
	principal, secret string
	hostDir           string // state of the host's agent
	listen            string // where the scheduler's API is to be
}

// NewMesos starts it; it ends with the test.
func NewMesos(t TB) *Mesos {
	t.Helper()
	dir := tempDir(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t, "listen")
	log := logrus.New()
	file := must(os.Create(dir+"/engine.log"))(t, "make the log file")
	log.SetOutput(file)
	client := must(docker.New(""))(t, "connect to the Docker Engine")
	inventory := docker.NewInventory(client, log)
	m := &Mesos{Address: l.Addr().String(), principal: "berth", secret: freshName(), hostDir: dir + "/host"}
	m.listen = fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	engine := must(standalone.New(standalone.Options{
		StateDir: dir + "/engine", Principal: m.principal, Secret: m.secret, Log: log,
		Hosts: []standalone.Host{{
			Docker: client, Inventory: inventory, Hostname: must(os.Hostname())(t, "ask for the host's name"), StateDir: dir + "/engine", VolumesDir: agent.VolumesDir(m.hostDir),
			CPUs: 2, MemMiB: 1024, DiskMiB: 1024,
		}},
	}))(t, "make the engine")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { _ = inventory.Run(ctx); done <- struct{}{} }()
	go func() {
		if err := engine.Run(ctx, l); err != nil {
			log.WithError(err).Error("the engine ended")
		}
		done <- struct{}{}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
		if t.Failed() {
			t.Logf("log of the engine:\n%s", tail(file.Name(), 100))
		}
		file.Close()
	})
	return m
}

func (b *Berth) schedulerArgs() []string {
	m := b.opt.Mesos
	b.write("secret", m.secret+"\n")
	return append([]string{"scheduler", "--mesos", m.Address, "--principal", m.principal, "--secret-file", b.file("secret"), "--listen", m.listen,
		"--state-dir", b.file("state"), "--run-dir", b.file("run"), "--pools", b.file("pools.yaml"), "--host-state-dir", m.hostDir,
		"--authorized-keys", b.file("authorized_keys"), "--token-file", b.file("token"), "--log-level", "debug",
	}, b.opt.Flags...)
}

func (b *Berth) agentArgs() []string {
	return []string{"agent", "--api", "http://" + b.opt.Mesos.listen, "--state-dir", b.opt.Mesos.hostDir, "--run-dir", b.file("agent-run"),
		"--token-file", b.file("token"), "--ipam-name", "ipam-" + b.Pool, "--log-level", "debug"}
}

// cleanupArgs are those of the process that looks after the host.
func (b *Berth) cleanupArgs() []string {
	if b.opt.Mesos != nil {
		return b.agentArgs()
	}
	return b.Args()
}

// launchAgent starts the host's agent; it lives on when the scheduler is started anew.
func (b *Berth) launchAgent() {
	b.t.Helper()
	b.agent = exec.Command(b.opt.Binary, b.agentArgs()...)
	b.agent.Stdout, b.agent.Stderr = b.log, b.log
	b.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.agent.Start(); err != nil {
		b.t.Fatalf("start the agent: %v", err)
	}
}

func (b *Berth) stopAgent() {
	if b.agent == nil {
		return
	}
	_ = b.agent.Process.Signal(syscall.SIGTERM)
	if err := b.agent.Wait(); err != nil {
		b.t.Errorf("berth agent: %v", err)
	}
}
