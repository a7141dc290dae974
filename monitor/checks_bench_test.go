package monitor

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/monitor/zbxd"
)

// askers is how many ask at a time, each with a connection for every check, as Zabbix's pollers do.
const askers = 20

// BenchmarkChecks is passive checks over loopback: of Berth, and of a real zabbix_agentd with ten processes in the same run, for its own
// agent.ping and for a UserParameter, where that program is installed.
func BenchmarkChecks(b *testing.B) {
	b.Run("berth", func(b *testing.B) {
		address := servePort(b, busy(300))
		checks(b, address, "berth.cpu.usage[/app-7,0]")
	})
	b.Run("berth-instances", func(b *testing.B) {
		address := servePort(b, busy(300))
		for b.Loop() {
			if _, err := check(address, "berth.instances"); err != nil {
				b.Fatal(err)
			}
		}
	})
	agentd, err := exec.LookPath("zabbix_agentd")
	if err != nil {
		return
	}
	address := peer(b, agentd)
	for name, key := range map[string]string{"zabbix_agentd-ping": "agent.ping", "zabbix_agentd-userparameter": "bench.echo"} {
		b.Run(name, func(b *testing.B) { checks(b, address, key) })
	}
}

// busy is a host with n running instances.
func busy(n int) *figures.Snapshot {
	s := &figures.Snapshot{At: time.Now()}
	for i := range n {
		s.Instances = append(s.Instances, figures.Instance{App: fmt.Sprintf("/app-%d", i), Hostname: "web-0.prod", Address: "10.9.0.10", State: figures.Running,
			Figures: &figures.Figures{Uptime: 1234, CPU: figures.CPU{Used: 0.1234, Quota: 0.5}, Memory: figures.Memory{Used: 1 << 28, Limit: 1 << 29},
				Networks: []figures.Interface{{Name: "eth0", RxBytes: 1 << 40, TxBytes: 1 << 41}}}})
	}
	return s
}

func servePort(b *testing.B, s *figures.Snapshot) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	m := &Monitor{table: zabbix.NewTable("1"), log: log}
	m.publish(s)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- m.serve(ctx, door{Listener: l, limit: zabbix.LimitPort}) }()
	b.Cleanup(func() { stop(); <-done })
	return l.Addr().String()
}

// check is one passive check.
func check(address, key string) ([]byte, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write(zbxd.Frame([]byte(key))); err != nil {
		return nil, err
	}
	return zbxd.Read(c, zabbix.LimitPort)
}

func checks(b *testing.B, address, key string) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wait sync.WaitGroup
	for range askers {
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				if data, err := check(address, key); err != nil || len(data) == 0 || len(data) > 100 {
					b.Errorf("%q, %v", data, err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "checks/s")
}

// peer runs the real agent in the foreground until the benchmark ends.
func peer(b *testing.B, agentd string) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "berth-bench-") // the agent's user must come there
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		b.Fatal(err)
	}
	port := 20000 + os.Getpid()%10000 // it takes none above 32767
	settings := fmt.Sprintf("PidFile=%s/agentd.pid\nLogType=console\nServer=127.0.0.1\nListenIP=127.0.0.1\nListenPort=%d\nStartAgents=10\nUserParameter=bench.echo,echo 1\n", dir, port)
	file := filepath.Join(dir, "agentd.conf")
	if err := os.WriteFile(file, []byte(settings), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(agentd, "-f", "-c", file)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	address := fmt.Sprintf("127.0.0.1:%d", port)
	deadline, tick := time.After(20*time.Second), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := check(address, "agent.ping"); err == nil {
			return address
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatal("zabbix_agentd does not answer")
		}
	}
}
