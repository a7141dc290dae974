//go:build integration

package monitor

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/realtest"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/monitor/zbxd"
	"github.com/berth-project/berth/spec"
)

// needAgent finds the real agent.
func needAgent(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("zabbix_agentd")
	if err == nil {
		return path
	}
	if _, err := os.Stat("/usr/sbin/zabbix_agentd"); err == nil {
		return "/usr/sbin/zabbix_agentd"
	}
	realtest.Missing(t, "zabbix_agentd is not installed (Debian package zabbix-agent)")
	return ""
}

// TestRealAgent lets a real zabbix_agentd, running as its own user, answer discovery and every item of a real container.
func TestRealAgent(t *testing.T) {
	agentd := needAgent(t)
	dir, err := os.MkdirTemp("", "berth-monitor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	client := filepath.Join(dir, "berth-zabbix")
	realtest.Run(t, nil, "go", "build", "-o", client, "../cmd/berth-zabbix")
	socket := filepath.Join(dir, "zabbix.sock")
	port := freeAddress(t, 10000)
	startMonitor(t, socket, port)
	write(t, dir, "berth.conf", string(zabbix.UserParameters(client, socket)))
	address := startAgentd(t, agentd, dir)

	if got := get(t, address, "berth.ping"); got != "1" {
		t.Errorf("ping: %q", got)
	}
	if got := get(t, address, "berth.version"); got != "9.9" {
		t.Errorf("version: %q", got)
	}
	var rows []struct {
		App  string `json:"{#APP}"`
		Seat string `json:"{#SEAT}"`
	}
	if err := json.Unmarshal([]byte(get(t, address, "berth.discovery")), &rows); err != nil || len(rows) != 1 || rows[0].App != "/it/monitor" {
		t.Fatalf("discovery: %+v, %v", rows, err)
	}
	for _, f := range zabbix.InstanceFigures() {
		key := f.Key
		got := get(t, address, fmt.Sprintf("%s[%s,%s]", key, rows[0].App, rows[0].Seat))
		if strings.HasSuffix(key, ".pct") || strings.HasPrefix(key, "berth.net.") || strings.HasPrefix(key, "berth.services.") {
			continue // depends on where the tests run: a limit, a network namespace of its own
		}
		var number float64
		if _, err := fmt.Sscan(got, &number); err != nil {
			t.Errorf("%s: %q is no number", key, got)
		}
	}
	if got := get(t, address, "berth.procs[/it/nothing,0]"); got != zbxd.NotSupported {
		t.Errorf("an unknown instance: %q, want %q", got, zbxd.NotSupported)
	}
	if got := get(t, address, "berth.discovery[/elsewhere]"); got != "[]" {
		t.Errorf("an empty discovery: %q", got)
	}
	// The same through the agent and by our own port, as zabbix_get shows it.
	for _, key := range []string{"berth.discovery", "berth.version", "berth.cpu.quota[/it/monitor,0]", "agent.ping", "berth.health[/it/monitor,0]"} {
		own, theirs := realGet(t, port, key), realGet(t, address, key)
		if own == "" || own != theirs && key != "agent.version" {
			t.Errorf("%s: %q by the port, %q by the agent", key, own, theirs)
		}
	}
	for key, want := range map[string]string{
		"berth.procs[/it/nothing,0]": "ZBX_NOTSUPPORTED: no instance /it/nothing.0 on this host", "no.such": `ZBX_NOTSUPPORTED: unknown key "no.such"`,
		"agent.hostname": "it-host",
	} {
		if got := realGet(t, port, key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	var all struct{ Instances map[string]map[string]float64 }
	if err := json.Unmarshal([]byte(realGet(t, port, "berth.instances")), &all); err != nil || all.Instances["/it/monitor.0"]["state"] != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// realGet asks with Zabbix's own program.
func realGet(t *testing.T, address, key string) string {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	out, err := exec.CommandContext(t.Context(), "zabbix_get", "-s", host, "-p", port, "-k", key).CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		t.Fatalf("zabbix_get: %v", err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func startMonitor(t *testing.T, socket, port string) {
	t.Helper()
	groups, err := cgroup.Open("", "")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t}
	log := logrus.New()
	log.SetOutput(io.Discard)
	m, err := New(Options{State: &h.state, Inventory: &h.inventory, Groups: groups, Socket: socket, Listen: port, Host: "it-host", Version: "9.9", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h.inventory.Set(docker.Snapshot{Connected: true, Containers: []docker.Container{startContainer(t)}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// startContainer runs a container that does nothing, as Berth would have labelled it.
func startContainer(t *testing.T) docker.Container {
	t.Helper()
	const name = "berth-it-zabbix"
	c := realtest.Docker(t)
	realtest.Image(t, name+":1", "package main\n\nimport \"time\"\n\nfunc main() { time.Sleep(time.Hour) }\n")
	ctx := context.WithoutCancel(t.Context())
	_ = c.Remove(ctx, name, true) // of a test that was killed
	id, err := c.Create(ctx, docker.CreateSpec{
		Name: name, Image: name + ":1", Network: "none",
		Labels: map[string]string{spec.LabelTask: "t", spec.LabelApp: "/it/monitor", spec.LabelSeat: "0"},
	})
	t.Cleanup(func() { _ = c.Remove(ctx, name, true) })
	if err == nil {
		err = c.Start(ctx, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	container, err := c.Inspect(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return container
}

// startAgentd runs the agent in the foreground on a free loopback port.
func startAgentd(t *testing.T, agentd, dir string) string {
	t.Helper()
	address := freeAddress(t, 0)
	_, port, _ := net.SplitHostPort(address)
	write(t, dir, "agentd.conf", strings.Join([]string{
		"PidFile=" + filepath.Join(dir, "pid", "agentd.pid"), "LogType=console", "Server=127.0.0.1", "ListenIP=127.0.0.1",
		"ListenPort=" + port, "StartAgents=2", "Timeout=5", "Hostname=berth-test", "Include=" + filepath.Join(dir, "berth.conf"),
	}, "\n"))
	pids := filepath.Join(dir, "pid")
	if err := os.Mkdir(pids, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(pids, 0o777); err != nil { // the agent writes it as its own user
		t.Fatal(err)
	}
	out := &strings.Builder{}
	cmd := exec.Command(agentd, "-f", "-c", filepath.Join(dir, "agentd.conf"))
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("zabbix_agentd said:\n%s", out)
		}
	})
	deadline := time.After(20 * time.Second)
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		select {
		case <-exited:
			t.Fatalf("zabbix_agentd ended:\n%s", out)
		case <-deadline:
			t.Fatal("zabbix_agentd does not listen")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freeAddress is one with a port of 10000 + from or above, and below 32768: the agent takes no other, and the kernel gives only those above
// away.
func freeAddress(t *testing.T, from int) string {
	t.Helper()
	for port := 10000 + from + os.Getpid()%10000; port < 32768; port++ {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// get asks the agent for one item, as zabbix_get does.
func get(t *testing.T, address, key string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	request := binary.LittleEndian.AppendUint64([]byte("ZBXD\x01"), uint64(len(key)))
	if _, err := c.Write(append(request, key...)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || len(b) < 13 {
		t.Fatalf("%s: %d bytes, %v", key, len(b), err)
	}
	value, reason, _ := strings.Cut(string(b[13:]), "\x00")
	if reason != "" {
		t.Logf("%s: %s: %s", key, value, reason)
	}
	return value
}
