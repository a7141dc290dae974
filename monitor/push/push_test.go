package push

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/monitor/figures"
)

func snapshot(at int64) *figures.Snapshot {
	f := &figures.Figures{CPU: figures.CPU{Seconds: 1.5}, Networks: []figures.Interface{{Name: "eth0.5", RxBytes: 7}}}
	return &figures.Snapshot{At: time.Unix(at, 0), Host: figures.Host{Name: "node7.example.com", Cores: 2}, Instances: []figures.Instance{
		{App: "/prod/web", Seat: 3, Managed: true, Figures: f}, {App: "/redis", Figures: f},
	}}
}

func TestLines(t *testing.T) {
	graphite, statsd := string(Lines(nil, Graphite, snapshot(1700000000))), string(Lines(nil, StatsD, snapshot(1700000000)))
	for _, line := range []string{
		"berth.instances.prod.web.3.container_cpu_usage_seconds_total 1.5 1700000000", "berth.hosts.node7_example_com.cpu_cores 2 1700000000",
		"berth.containers.node7_example_com.redis.0.container_network_receive_bytes_total.eth0_5 7 1700000000",
	} {
		if !strings.Contains(graphite, line+"\n") {
			t.Errorf("Graphite is not told %q", line)
		}
		fields := strings.Fields(line)
		if gauge := fields[0] + ":" + fields[1] + "|g"; !strings.Contains(statsd, gauge+"\n") {
			t.Errorf("StatsD is not told %q", gauge)
		}
	}
	for line := range strings.Lines(graphite) {
		if n := len(strings.Fields(line)); n != 3 {
			t.Errorf("%q", line)
		}
	}
	for rest := []byte(statsd); len(rest) > 0; {
		var packet []byte
		packet, rest = cut(rest)
		if len(packet) == 0 || len(packet) > maxPacket || packet[len(packet)-1] == '\n' {
			t.Errorf("a packet of %d bytes: %q", len(packet), packet)
		}
	}
}

// TestGraphiteComesBack: a server that closes the connection gets the next measurements on a new one.
func TestGraphiteComesBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var newest watch.Value[*figures.Snapshot]
	newest.Set(&figures.Snapshot{})
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Protocol: Graphite, Address: l.Addr().String(), Newest: newest.Get, Log: log})
	}()
	at := int64(1700000000)
	for range 2 {
		got := make(chan string, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				got <- err.Error()
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
			got <- line
		}()
		for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C { // a write into a closed connection may still succeed
			at++
			newest.Set(snapshot(at))
			select {
			case line := <-got:
				if !strings.HasPrefix(line, "berth.instances.prod.web.3.instance_health 0 17") {
					t.Errorf("got %q", line)
				}
			default:
				continue
			}
			tick.Stop()
			break
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStatsD(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var newest watch.Value[*figures.Snapshot]
	newest.Set(snapshot(1700000000))
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Protocol: StatsD, Address: c.LocalAddr().String(), Newest: newest.Get, Log: log})
	}()
	b := make([]byte, 64<<10)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := c.ReadFrom(b)
	if err != nil || n > maxPacket || !strings.HasPrefix(string(b[:n]), "berth.instances.prod.web.3.instance_health:0|g\n") {
		t.Errorf("%v: %q", err, b[:n])
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
