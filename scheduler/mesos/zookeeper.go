package mesos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
)

// ZooKeeper is where the masters elect their leader: what they were given as --zk.
type ZooKeeper struct {
	Servers []string // "host:port"
	Path    string   // "/mesos"
	// Auth is "user:password" for ZooKeeper's digest scheme; "" without.
	Auth string
}

const (
	// Each master adds a sequential, ephemeral node with this prefix whose data is its MasterInfo as JSON. The lowest number
	// leads. (Masters before 0.24 wrote protobuf under another prefix; they have no v1 API.)
	leaderPrefix = "json.info_"
	zkSession    = 10 * time.Second
	// zkRetry is the pause after ZooKeeper could not be asked, or has no node of the path yet.
	zkRetry = time.Second
	// zkMaxPacket bounds an answer; ZooKeeper's own bound (jute.maxbuffer) is 1 MiB unless somebody raised it.
	zkMaxPacket = 4 << 20
)

// ParseMasters reads what an operator writes: "host:port,host:port" (also with http:// or https://), or
// "zk://host:2181,host:2181/mesos" as Mesos's own programs take it. Exactly one of the results is set.
func ParseMasters(text string) ([]string, *ZooKeeper, error) {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "@") { // before anything that says the text again
		return nil, nil, errors.New("masters: give users, principals and passwords apart, not in the address")
	}
	rest, isZK := strings.CutPrefix(text, "zk://")
	if !isZK {
		var masters []string
		for _, m := range strings.Split(text, ",") {
			if m = strings.TrimSpace(m); m == "" {
				return nil, nil, fmt.Errorf("masters %q: expected HOST:PORT,HOST:PORT or zk://HOST:PORT,HOST:PORT/PATH", text)
			}
			if _, err := masterURL(m); err != nil {
				return nil, nil, err
			}
			masters = append(masters, m)
		}
		return masters, nil, nil
	}
	hosts, path, _ := strings.Cut(rest, "/")
	path = strings.Trim(path, "/")
	if path == "" {
		return nil, nil, fmt.Errorf("masters %q: the path is missing, such as zk://%s/mesos", text, hosts)
	}
	z := &ZooKeeper{Path: "/" + path}
	for _, h := range strings.Split(hosts, ",") {
		if h = strings.TrimSpace(h); h == "" {
			return nil, nil, fmt.Errorf("masters %q: a ZooKeeper server is missing", text)
		}
		if _, _, err := net.SplitHostPort(h); err != nil {
			h = net.JoinHostPort(strings.Trim(h, "[]"), strconv.Itoa(zk.DefaultPort))
		}
		z.Servers = append(z.Servers, h)
	}
	return nil, z, nil
}

// registry is the part of ZooKeeper that finding the leader needs; *zk.Conn is the real one. Every watch fires once: at a
// change, or with an error when the session is lost.
type registry interface {
	ChildrenW(path string) ([]string, *zk.Stat, <-chan zk.Event, error)
	Get(path string) ([]byte, *zk.Stat, error)
	Close()
}

// detector follows the leading master in ZooKeeper.
type detector struct {
	zk     ZooKeeper
	log    logrus.FieldLogger
	dial   func() (registry, error)
	leader watch.Value[string] // "host:port"; "" while none is known
}

func newDetector(z ZooKeeper, log logrus.FieldLogger) *detector {
	d := &detector{zk: z, log: log}
	d.dial = d.connect
	return d
}

// next is the leader that is known. A failed attempt changes nothing: only ZooKeeper knows who leads.
func (d *detector) next(bool) (string, <-chan struct{}, error) {
	leader, changed := d.leader.Get()
	if leader == "" {
		return "", changed, fmt.Errorf("%w at zk://%s%s", ErrNoLeader, strings.Join(d.zk.Servers, ","), d.zk.Path)
	}
	return leader, changed, nil
}

func (d *detector) connect() (registry, error) {
	conn, events, err := zk.Connect(d.zk.Servers, zkSession, zk.WithLogInfo(false), zk.WithMaxBufferSize(zkMaxPacket), zk.WithLogger(zkLog{d.log}))
	if err != nil {
		return nil, err
	}
	go func() { // until Close; the watches say all that matters
		for range events {
		}
	}()
	if d.zk.Auth != "" {
		if err := conn.AddAuth("digest", []byte(d.zk.Auth)); err != nil {
			conn.Close()
			return nil, fmt.Errorf("authenticate: %w", err)
		}
	}
	return conn, nil
}

// run follows the leader until ctx ends. What is known stays while ZooKeeper cannot be asked: a master that is cut off from
// ZooKeeper gives up by itself, and one that does not lead redirects.
func (d *detector) run(ctx context.Context) {
	for complained := false; ctx.Err() == nil; {
		err := d.follow(ctx, func() { complained = false })
		if ctx.Err() != nil {
			return
		}
		if !complained {
			d.log.WithError(err).WithField("servers", d.zk.Servers).Warn("the leading master cannot be found out; trying again")
			complained = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(zkRetry):
		}
	}
}

// follow looks and watches over one connection until something fails. fine is called whenever the leader was found out.
func (d *detector) follow(ctx context.Context, fine func()) error {
	conn, err := d.dial()
	if err != nil {
		return fmt.Errorf("connect to ZooKeeper: %w", err)
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(closed); conn.Close() }) // ends requests that wait for a server
	defer func() {
		if stop() {
			conn.Close()
			return
		}
		<-closed
	}()
	for {
		nodes, _, changed, err := conn.ChildrenW(d.zk.Path)
		if err != nil {
			return fmt.Errorf("list %s: %w", d.zk.Path, err)
		}
		leader, err := d.lowest(conn, nodes)
		if err != nil {
			return err
		}
		fine()
		d.set(leader)
		select {
		case <-changed: // also when the session was lost: asking again waits for a server, or fails
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lowest is the address of the master whose node has the lowest number; "" when there is none.
func (d *detector) lowest(conn registry, nodes []string) (string, error) {
	node := leaderOf(nodes)
	if node == "" {
		return "", nil
	}
	data, _, err := conn.Get(d.zk.Path + "/" + node)
	if errors.Is(err, zk.ErrNoNode) {
		return "", nil // it went in between; the watch tells
	}
	if err != nil {
		return "", fmt.Errorf("read %s/%s: %w", d.zk.Path, node, err)
	}
	leader, err := leaderAddress(data)
	if err != nil {
		return "", fmt.Errorf("read %s/%s: %w", d.zk.Path, node, err)
	}
	return leader, nil
}

// set publishes a leader. That nobody leads ends no session: the master that led ends it if it must.
func (d *detector) set(leader string) {
	if known, _ := d.leader.Get(); leader == "" || leader == known {
		return
	}
	d.log.WithField("master", leader).Info("a master leads")
	d.leader.Set(leader)
}

// leaderOf picks the node with the lowest number. ZooKeeper writes ten digits, and a minus sign after an overflow.
func leaderOf(nodes []string) string {
	leader, lowest := "", 0
	for _, n := range nodes {
		digits, ok := strings.CutPrefix(n, leaderPrefix)
		if !ok {
			continue // log_replicas, and what else people put there
		}
		number, err := strconv.Atoi(digits)
		if err == nil && (leader == "" || number < lowest) {
			leader, lowest = n, number
		}
	}
	return leader
}

// leaderAddress reads a MasterInfo in JSON form.
func leaderAddress(data []byte) (string, error) {
	var info struct {
		Address struct {
			Hostname, IP string
			Port         int
		}
		Hostname string
		PID      string // "master@10.0.0.1:5050"
		Port     int
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return "", fmt.Errorf("decode master info: %w", err)
	}
	if _, at, ok := strings.Cut(info.PID, "@"); ok {
		if to, err := netip.ParseAddrPort(at); err == nil { // what Mesos's own schedulers use
			return to.String(), nil
		}
	}
	for _, host := range []string{info.Address.IP, info.Address.Hostname, info.Hostname} {
		for _, port := range []int{info.Address.Port, info.Port} {
			if host != "" && port > 0 && port < 1<<16 {
				return net.JoinHostPort(host, strconv.Itoa(port)), nil
			}
		}
	}
	return "", errors.New("decode master info: it has no address")
}

// zkLog passes the client library's words on, for those who look closely.
type zkLog struct{ to logrus.FieldLogger }

// Printf implements zk.Logger.
func (l zkLog) Printf(format string, args ...any) { l.to.Debugf(format, args...) }
