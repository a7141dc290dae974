package trapper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/monitor/zbxd"
	"github.com/berth-project/berth/spec"
)

// taken is one value as a server has it.
type taken struct {
	Host, Key, Value string
	Clock            int64
	NS               int64
}

// fakeServer is a Zabbix that knows some hosts. It may be away, or take connections and never answer.
type fakeServer struct {
	mu      sync.Mutex // guards all below
	known   map[string]bool
	got     []taken
	packets int
	away    bool
	hangs   bool
	dials   []string
}

func (z *fakeServer) dial(_ context.Context, _, address string) (net.Conn, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dials = append(z.dials, address)
	if z.away || strings.HasPrefix(address, "standby") {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	go z.serve(theirs, z.hangs)
	return ours, nil
}

func (z *fakeServer) serve(c net.Conn, hangs bool) {
	defer c.Close()
	data, err := zbxd.Read(c, 4<<20)
	if err != nil {
		return
	}
	if hangs {
		_, _ = c.Read(make([]byte, 1)) // until the other side gives up
		return
	}
	var in struct {
		Request string
		Data    []taken
	}
	if err := json.Unmarshal(data, &in); err != nil || in.Request != "sender data" {
		panic(fmt.Sprintf("%s: %v", data, err))
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	failed := 0
	for _, v := range in.Data {
		if z.known[v.Host] {
			z.got = append(z.got, v)
		} else {
			failed++
		}
	}
	z.packets++
	info := fmt.Sprintf("processed: %d; failed: %d; total: %d; seconds spent: 0.000055", len(in.Data)-failed, failed, len(in.Data))
	answer, _ := json.Marshal(map[string]string{"response": "success", "info": info})
	_, _ = c.Write(zbxd.Frame(answer))
}

// set changes the server.
func (z *fakeServer) set(change func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	change()
}

// hosts are those of the values that came, in their order; they are forgotten.
func (z *fakeServer) hosts() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	var out []string
	for _, v := range z.got {
		out = append(out, v.Host)
	}
	z.got = nil
	return out
}

// rig is a Feed with its surroundings, in a bubble.
type rig struct {
	zabbix fakeServer
	state  watch.Value[spec.HostState]
	newest watch.Value[*figures.Snapshot]
	log    *test.Hook
}

// said are the log lines since the last call.
func (r *rig) said() []string {
	var out []string
	for _, e := range r.log.AllEntries() {
		out = append(out, e.Message)
	}
	r.log.Reset()
	return out
}

// sample is a new one of the apps' first seats, with tasks of the same names.
func (r *rig) sample(apps ...string) {
	snap := &figures.Snapshot{At: time.Now()}
	doc := spec.HostDocument{Schema: 1, Version: 1}
	for _, app := range apps {
		doc.Seats = append(doc.Seats, spec.HostSeat{Seat: spec.SeatID{App: spec.AppID(app)}, TaskID: app})
		snap.Instances = append(snap.Instances, figures.Instance{App: app, Task: app, Managed: true, State: figures.Running, Started: time.Now().Add(-time.Minute), Figures: &figures.Figures{}})
	}
	r.state.Set(spec.HostState{Document: doc})
	r.newest.Set(snap)
}

func bubble(t *testing.T, o Options, play func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log, hook := test.NewNullLogger()
		log.SetLevel(logrus.InfoLevel)
		r := &rig{zabbix: fakeServer{known: map[string]bool{}}, log: hook}
		o.State, o.Newest, o.Log, o.Dial = &r.state, r.newest.Get, log, r.zabbix.dial
		if o.Servers == nil {
			o.Servers = []Server{{"zabbix:10051"}}
		}
		f, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		synctest.Wait()
		r.said()
		play(t, r)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d) // in a bubble: the fake clock's
	synctest.Wait()
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFeed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, r *rig) {
		r.zabbix.known["berth.web.0"], r.zabbix.known["berth.prod_db.0"] = true, true
		pass(5 * time.Second)
		r.sample("/web", "/prod/db")
		at := time.Now()
		synctest.Wait()
		r.zabbix.mu.Lock()
		if v := r.zabbix.got[0]; v.Key != "berth.figures" || v.Clock != at.Unix() || v.NS != int64(at.Nanosecond()) || !json.Valid([]byte(v.Value)) {
			t.Errorf("the first value is %+v", v)
		}
		r.zabbix.mu.Unlock()
		same(t, "the first sample goes at once", r.zabbix.hosts(), "berth.web.0", "berth.prod_db.0")
		pass(31 * time.Second)
		same(t, "nothing is told twice", r.zabbix.hosts())
		r.sample("/web")
		r.sample("/web", "/prod/db")
		pass(30 * time.Second)
		same(t, "one sample an interval", r.zabbix.hosts(), "berth.web.0", "berth.prod_db.0")
		same(t, "there is nothing to say", r.said())
	})
}

func TestServerIsAway(t *testing.T) {
	one := (&value{host: "berth.web.0", data: zabbix.NewTable("1").AppendInstance(nil, &figures.Instance{App: "/web", Figures: &figures.Figures{}})}).size()
	bubble(t, Options{Buffer: 4*one + one/2, Every: 10 * time.Second}, func(t *testing.T, r *rig) {
		r.zabbix.known["berth.web.0"], r.zabbix.away = true, true
		var clocks []int64
		for range 8 {
			r.sample("/web")
			clocks = append(clocks, time.Now().Unix())
			pass(10 * time.Second)
		}
		same(t, "once", r.said(), "cannot tell Zabbix of the instances; their values are kept for it")
		if n := len(r.zabbix.dials); n < 4 || n > 8 {
			t.Errorf("it tried %d times in 80 s", n)
		}
		r.zabbix.set(func() { r.zabbix.away = false })
		pass(time.Minute)
		r.zabbix.mu.Lock()
		var got []int64
		for _, v := range r.zabbix.got {
			got = append(got, v.Clock)
		}
		r.zabbix.mu.Unlock()
		if want := clocks[len(clocks)-4:]; !slices.Equal(got, want) {
			t.Errorf("there came the values of %v, want the newest that have room: %v", got, want)
		}
		same(t, "it is back", r.said(), "Zabbix takes values again")
	})
}

// TestServerHangs: one that takes connections and never answers costs one connection at a time, and no sample is waited for.
func TestServerHangs(t *testing.T) {
	bubble(t, Options{Every: time.Second, Servers: []Server{{"zabbix:10051"}, {"proxy:10051"}}}, func(t *testing.T, r *rig) {
		r.zabbix.known["berth.web.0"], r.zabbix.hangs = true, true
		for range 60 {
			r.sample("/web")
			pass(time.Second)
		}
		if n := len(r.zabbix.dials); n < 4 || n > 12 {
			t.Errorf("%d connections in a minute", n)
		}
		r.zabbix.set(func() { r.zabbix.hangs = false })
		pass(2 * time.Minute)
		if n := len(r.zabbix.hosts()); n != 120 {
			t.Errorf("%d values arrived, want 60 at both", n)
		}
	})
}

func TestHighAvailability(t *testing.T) {
	bubble(t, Options{Servers: []Server{{"standby:10051", "active:10051"}}}, func(t *testing.T, r *rig) {
		r.zabbix.known["berth.web.0"] = true
		r.sample("/web")
		synctest.Wait()
		pass(time.Second)
		r.sample("/web")
		pass(30 * time.Second)
		same(t, "values", r.zabbix.hosts(), "berth.web.0", "berth.web.0")
		same(t, "the node that answers is asked first", r.zabbix.dials, "standby:10051", "active:10051", "active:10051")
		same(t, "there is nothing to say", r.said())
	})
}

func TestUnknownHosts(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, r *rig) {
		r.zabbix.known["berth.web.0"] = true
		for range 60 {
			r.sample("/web", "/new")
			pass(30 * time.Second)
		}
		lines := r.said()
		if len(lines) != 2 || !strings.Contains(lines[0], "normal until its next discovery") || !strings.Contains(lines[1], "goes on refusing") {
			t.Errorf("in half an hour it said %q", lines)
		}
		if n := len(r.zabbix.hosts()); n != 60 {
			t.Errorf("%d values of the known host, want each once", n)
		}
		r.zabbix.set(func() { r.zabbix.known["berth.new.0"] = true })
		for range 6 {
			r.sample("/web", "/new")
			pass(30 * time.Second)
		}
		same(t, "then", r.said(), "Zabbix takes the values of all instances")
	})
}

func TestBatches(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, r *rig) {
		var apps []string
		for n := range 600 {
			apps = append(apps, fmt.Sprintf("/web-%d", n))
			r.zabbix.known[fmt.Sprintf("berth.web-%d.0", n)] = true
		}
		r.sample(apps...)
		pass(time.Second)
		if n := len(r.zabbix.hosts()); n != 600 || r.zabbix.packets != 3 {
			t.Errorf("%d values in %d packets", n, r.zabbix.packets)
		}
	})
}

// TestValues: who writes a seat's history.
func TestValues(t *testing.T) {
	a := netip.MustParseAddr
	now := time.Unix(1_800_000_000, 5)
	doc := spec.HostDocument{Cluster: "paris", Withdrawn: []netip.Addr{a("10.0.0.9")}}
	for n, s := range []spec.HostSeat{
		{TaskID: "runs", Address: a("10.0.0.1")}, {TaskID: "drains", Drain: true}, {TaskID: "waits"}, {TaskID: "helper", Temporary: true},
		{TaskID: "withdrawn", Address: a("10.0.0.9")}, {TaskID: "blind"},
	} {
		s.Seat = spec.SeatID{App: "/web", Index: n}
		doc.Seats = append(doc.Seats, s)
	}
	snap := &figures.Snapshot{At: now}
	for _, i := range []figures.Instance{
		{Task: "runs", Seat: 0, State: figures.Running, Started: now}, {Task: "drains", Seat: 1, State: figures.Draining, Started: now},
		{Task: "waits", Seat: 2, State: figures.Starting}, {Task: "helper", Seat: 3, State: figures.Running, Started: now},
		{Task: "withdrawn", Seat: 4, State: figures.Running, Started: now}, {Task: "blind", Seat: 5, State: figures.Running, Started: now, Trouble: "no cgroup"},
		{Task: "predecessor", Seat: 0, State: figures.Running, Started: now},
	} {
		i.App, i.Managed = "/web", true
		snap.Instances = append(snap.Instances, i)
	}
	snap.Instances = append(snap.Instances, figures.Instance{App: "/docker-run", Task: "runs", State: figures.Running, Started: now})
	var got []string
	for _, v := range values(spec.HostState{Document: doc}, snap, "h1", zabbix.NewTable("1")) {
		got = append(got, v.host)
	}
	same(t, "told", got, "paris.web.0", "paris.web.1", "paris.web.5")
}

func TestParseServers(t *testing.T) {
	for text, want := range map[string]string{
		"zabbix": "[zabbix:10051]", "z:1, proxy": "[z:1 proxy:10051]", "a;b:10052,c": "[a:10051;b:10052 c:10051]", "[fd00::1]:7": "[[fd00::1]:7]",
		"fd00::1": "[[fd00::1]:10051]", "10.0.0.1": "[10.0.0.1:10051]",
	} {
		if got, err := ParseServers(text); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q is %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "a,", "a;", ":10051", "a:0", "a:65536", "a:b", "a b", "http://a", "a:1:2"} {
		if got, err := ParseServers(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, text := range []string{
		`{"response":"success","info":"processed: 1; failed: 2; total: 3; seconds spent: 0.000055"}`, `{"response":"failed","info":"no"}`,
		`{"response":"success","info":"processed: -1; failed: x"}`, `{"response":"success"}`, `[]`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := parseAnswer(data); err == nil && (a.processed < 0 || a.failed < 0) {
			t.Errorf("%q: %+v", data, a)
		}
	})
}

func TestParseAnswer(t *testing.T) {
	if a, err := parseAnswer([]byte(`{"response":"success","info":"processed: 7; failed: 2; total: 9; seconds spent: 0.000055"}`)); err != nil || a != (answer{7, 2}) {
		t.Errorf("%+v, %v", a, err)
	}
	for _, text := range []string{`{"response":"failed","info":"host is not allowed"}`, `{"response":"success","info":"done"}`, `nonsense`} {
		if a, err := parseAnswer([]byte(text)); err == nil {
			t.Errorf("%s is %+v", text, a)
		}
	}
}
