//go:build integration

package mesos_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/mesos/mesostest"
)

// zookeeper starts Debian's ZooKeeper and returns its address and a function that ends it.
func zookeeper(t *testing.T, dir string, port int) (address string, stop func()) {
	t.Helper()
	const server = "/usr/share/zookeeper/bin/zkServer.sh"
	if _, err := os.Stat(server); err != nil {
		t.Skip("ZooKeeper is not installed (apt-get install zookeeper)")
	}
	conf := filepath.Join(dir, "zoo.cfg")
	text := fmt.Sprintf("tickTime=500\ndataDir=%s/data\nclientPort=%d\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n", dir, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(server, "start-foreground", conf)
	cmd.Env = append(os.Environ(), "ZOO_LOG_DIR="+dir, "JVMFLAGS=-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the script's Java ends with it
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
			_ = log.Close()
		}
	}
	t.Cleanup(func() {
		stop()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("ZooKeeper's log:\n%s", text)
		}
	})
	return fmt.Sprintf("127.0.0.1:%d", port), stop
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// candidate is a master that stands for election as Mesos's do: a node with its MasterInfo that goes with its session.
func candidate(t *testing.T, zookeeper, address string) *zk.Conn {
	t.Helper()
	conn, events, err := zk.Connect([]string{zookeeper}, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	connected := make(chan struct{})
	go func() {
		var once sync.Once
		for e := range events {
			if e.State == zk.StateHasSession {
				once.Do(func() { close(connected) })
			}
		}
	}()
	select {
	case <-connected:
	case <-time.After(time.Minute):
		t.Fatal("no session with ZooKeeper")
	}
	exists := func(err error) bool { return err == nil || errors.Is(err, zk.ErrNodeExists) }
	if _, err := conn.Create("/mesos", nil, 0, zk.WorldACL(zk.PermAll)); !exists(err) {
		t.Fatal(err)
	}
	if _, err := conn.Create("/mesos/log_replicas", nil, 0, zk.WorldACL(zk.PermAll)); !exists(err) {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(strings.TrimPrefix(address, "http://"), ":")
	info := fmt.Sprintf(`{"address":{"hostname":"m.example.com","ip":"%s","port":%s},"hostname":"m.example.com","id":"x","ip":16777343,"pid":"master@%s:%s","port":%s,"version":"1.11.0"}`, host, port, host, port, port)
	if _, err := conn.Create("/mesos/json.info_", []byte(info), zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestTheLeaderInARealZooKeeper: the scheduler waits for the first master, follows the next one when it takes over, and
// survives ZooKeeper's own end and return.
func TestTheLeaderInARealZooKeeper(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	at, stop := zookeeper(t, dir, port)
	_, z, err := mesos.ParseMasters("zk://" + at + "/mesos")
	if err != nil {
		t.Fatal(err)
	}
	z.Auth = "berth:secret"
	one, two := mesostest.New(mesostest.Options{}), mesostest.New(mesostest.Options{})
	defer one.Close()
	defer two.Close()
	urlOne, urlTwo := one.Start(), two.Start()

	r := start(t, mesos.Options{ZooKeeper: z, Transport: http.DefaultTransport})
	defer r.end()
	subscribed := func(want string) {
		t.Helper()
		deadline := time.After(time.Minute)
		for {
			select {
			case e := <-r.events:
				if s, ok := e.(mesos.Subscribed); ok {
					if s.Master != want {
						t.Fatalf("subscribed at %s, want %s", s.Master, want)
					}
					return
				}
			case <-deadline:
				t.Fatalf("not subscribed at %s", want)
			}
		}
	}
	if d := next[mesos.Disconnected](r); !errors.Is(d.Err, mesos.ErrNoLeader) {
		t.Fatalf("got %v", d.Err)
	}
	first := candidate(t, at, urlOne)
	subscribed(urlOne)
	second := candidate(t, at, urlTwo)
	first.Close() // its node goes; the master itself is still there
	subscribed(urlTwo)

	stop()
	check(t, r.Revive(t.Context())) // without ZooKeeper the session stands
	zookeeper(t, dir, port)
	third := candidate(t, at, urlOne)
	defer third.Close()
	second.Close()
	subscribed(urlOne)
}
