package mesos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
)

func TestParseMasters(t *testing.T) {
	for text, want := range map[string]struct {
		masters []string
		zk      *ZooKeeper
		fault   string
	}{
		"m1:5050":                         {masters: []string{"m1:5050"}},
		" m1:5050, https://m2:5050 ":      {masters: []string{"m1:5050", "https://m2:5050"}},
		"zk://z1:2181,z2:2182/mesos":      {zk: &ZooKeeper{Servers: []string{"z1:2181", "z2:2182"}, Path: "/mesos"}},
		"zk://z1,[::1]:2181,[::2]/a/b/":   {zk: &ZooKeeper{Servers: []string{"z1:2181", "[::1]:2181", "[::2]:2181"}, Path: "/a/b"}},
		"":                                {fault: "expected HOST:PORT"},
		"m1:5050,":                        {fault: "expected HOST:PORT"},
		"ftp://m1":                        {fault: "is not http"},
		"http://user:hunter2@m1:5050":     {fault: "apart"},
		"zk://z1:2181":                    {fault: "path is missing"},
		"zk://z1:2181/":                   {fault: "path is missing"},
		"zk://z1:2181,/mesos":             {fault: "server is missing"},
		"zk://user:hunter2@z1:2181/mesos": {fault: "apart"},
		"zk:/user:hunter2@z1:2181/mesos":  {fault: "apart"},
		"http://user:hunter2@m1:50x50":    {fault: "apart"},
		",user:hunter2@m1:5050":           {fault: "apart"},
	} {
		masters, z, err := ParseMasters(text)
		if want.fault != "" {
			if err == nil || !strings.Contains(err.Error(), want.fault) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: got %v", text, err)
			}
			continue
		}
		if err != nil || !slices.Equal(masters, want.masters) || !cmp.Equal(z, want.zk) {
			t.Errorf("%q: got %v, %+v, %v", text, masters, z, err)
		}
	}
}

func TestTheLowestNumberLeads(t *testing.T) {
	for want, nodes := range map[string][]string{
		"":                      {"log_replicas", "json.info_", "info_0000000001", "json.info_x"},
		"json.info_0000000009":  {"json.info_0000000010", "log_replicas", "json.info_0000000009", "info_0000000001"},
		"json.info_-2147483648": {"json.info_2147483647", "json.info_-2147483648"},
	} {
		if got := leaderOf(nodes); got != want {
			t.Errorf("%v: got %q, want %q", nodes, got, want)
		}
	}
}

// masterInfo is what a master at the address writes, but for what nobody needs.
func masterInfo(address string) []byte {
	host, port, _ := strings.Cut(address, ":")
	return fmt.Appendf(nil, `{"address":{"hostname":"m.example.com","ip":"%s","port":%s},"capabilities":[{"type":"AGENT_UPDATE"}],"hostname":"m.example.com",`+
		`"id":"8a4ee4a0-6a8c-4a9c-8b5f-4f1c8a2f0b11","ip":16777343,"pid":"master@%s","port":%s,"version":"1.11.0"}`, host, port, address, port)
}

func TestLeaderAddress(t *testing.T) {
	for data, want := range map[string]string{
		string(masterInfo("10.0.0.1:5050")):                                  "10.0.0.1:5050",
		`{"pid":"master@[fe00::1]:5050"}`:                                    "[fe00::1]:5050",
		`{"address":{"ip":"10.0.0.2","port":5051,"hostname":"h"},"pid":"x"}`: "10.0.0.2:5051",
		`{"hostname":"h","port":5050}`:                                       "h:5050",
		`{"hostname":"h"}`:                                                   "",
		`{"hostname":"h","port":70000}`:                                      "",
		"\n\x14":                                                             "",
	} {
		got, err := leaderAddress([]byte(data))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v", data, got, err)
		}
	}
}

// keeper is a ZooKeeper in memory with one folder.
type keeper struct {
	mu       sync.Mutex
	nodes    map[string][]byte
	watchers []chan zk.Event
	away     bool
	dials    int
}

func (k *keeper) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	for _, w := range k.watchers {
		w <- zk.Event{}
	}
	k.watchers = nil
}

func (k *keeper) dial() (registry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dials++
	return k, nil
}

func (k *keeper) ChildrenW(path string) ([]string, *zk.Stat, <-chan zk.Event, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.away:
		return nil, nil, nil, zk.ErrNoServer
	case path != "/mesos" || k.nodes == nil:
		return nil, nil, nil, zk.ErrNoNode
	}
	w := make(chan zk.Event, 1)
	k.watchers = append(k.watchers, w)
	var names []string
	for n := range k.nodes {
		names = append(names, n)
	}
	return names, nil, w, nil
}

func (k *keeper) Get(path string) ([]byte, *zk.Stat, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	data, ok := k.nodes[strings.TrimPrefix(path, "/mesos/")]
	if !ok {
		return nil, nil, zk.ErrNoNode
	}
	return data, nil, nil
}

func (*keeper) Close() {}

func TestTheDetectorFollowsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{}
		log := logrus.New()
		log.SetOutput(io.Discard)
		d := newDetector(ZooKeeper{Servers: []string{"z:2181"}, Path: "/mesos"}, log)
		d.dial = k.dial
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.run(ctx) }()
		defer func() { cancel(); <-done }()

		_, changed, err := d.next(false)
		if !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), "zk://z:2181/mesos") {
			t.Errorf("got %v", err)
		}
		leads := func(want string) {
			t.Helper()
			<-changed
			var got string
			if got, changed, _ = d.next(true); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		stays := func(f func()) {
			t.Helper()
			k.change(f)
			synctest.Wait()
			select {
			case <-changed:
				t.Error("the leader changed")
			default:
			}
		}
		stays(func() { k.nodes = map[string][]byte{"log_replicas": nil} })
		k.change(func() { k.nodes["json.info_0000000007"] = masterInfo("10.0.0.1:5050") })
		leads("10.0.0.1:5050")
		stays(func() { k.nodes["json.info_0000000008"] = masterInfo("10.0.0.2:5050") })
		k.change(func() { delete(k.nodes, "json.info_0000000007") })
		leads("10.0.0.2:5050")
		stays(func() { delete(k.nodes, "json.info_0000000008") }) // nobody leads: the session is left alone
		stays(func() { k.nodes["json.info_0000000009"] = masterInfo("10.0.0.2:5050") })
		stays(func() { k.away = true })
		k.change(func() {
			k.away, k.nodes = false, map[string][]byte{"json.info_0000000010": masterInfo("10.0.0.3:5050")}
		})
		leads("10.0.0.3:5050")
		stays(func() { k.nodes["json.info_0000000001"] = []byte("not JSON") })
		if k.dials > 10 {
			t.Errorf("%d connections", k.dials)
		}
	})
}

// A ZooKeeper that announces a packet larger than any is left at once, before memory for it is asked for.
func TestZooKeeperPacketsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	left := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		hello := make([]byte, 4)
		if _, err = io.ReadFull(conn, hello); err == nil {
			_, err = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(hello)))
		}
		if err != nil {
			left <- err
			return
		}
		welcome := binary.BigEndian.AppendUint32(nil, 36)
		welcome = binary.BigEndian.AppendUint32(append(welcome, 0, 0, 0, 0), 10_000)                                        // version, timeout in ms
		welcome = append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(welcome, 1), 16), make([]byte, 16)...) // session, its password
		_, _ = conn.Write(binary.BigEndian.AppendUint32(welcome, 1<<30))
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second)) // the client itself would wait 6.6 s for the rest
		_, err = io.Copy(io.Discard, conn)
		left <- err
	}()
	log := logrus.New()
	log.SetOutput(io.Discard)
	conn, err := newDetector(ZooKeeper{Servers: []string{l.Addr().String()}, Path: "/mesos"}, log).connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := <-left; err != nil {
		t.Errorf("the client reads on: %v", err)
	}
}
