package zabbix

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/zbxd"
	"github.com/berth-project/berth/spec"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func running() *figures.Figures {
	return &figures.Figures{
		Uptime:   90.7,
		CPU:      figures.CPU{Seconds: 18.25, Used: 0.2, Quota: 0.5, Base: 0.5, Weight: 512, Periods: 900, Throttled: 270, Waited: 1.5, Share: 0.3, Advice: 0.8, Lost: 0.31},
		Memory:   figures.Memory{Used: 50 << 20, RSS: 40 << 20, Cache: 20 << 20, Limit: 100 << 20, OOMKills: 1},
		IO:       figures.IO{ReadBytes: 4096, WriteBytes: 8192, Reads: 1, Writes: 2},
		Pids:     figures.Pids{Current: 7},
		Networks: []figures.Interface{{Name: "eth0", RxBytes: 1000, TxBytes: 3000, RxPackets: 10, TxErrors: 1}, {Name: "eth1", RxBytes: 20, TxBytes: 50, RxDropped: 2}},
		Sockets:  figures.Sockets{TCP: 5, TimeWait: 1, UDP: 2},
		Services: []figures.Service{{Name: "cron", Up: true, Want: true, Pid: 30, For: 12.9}, {Name: "getty@tty1"}, {Name: "nginx", Want: true}, {Name: "sshd", Up: true, Ready: true, Want: true}},
	}
}

func snapshot() *figures.Index {
	return figures.NewIndex(&figures.Snapshot{At: noon, Version: "1.2.3",
		Host: figures.Host{Name: "h1", Cores: 4, MemTotal: 1000, MemAvailable: 250, Load: [3]float64{0.5, 1, 1.5}, DockerConnected: true, Containers: 2},
		Instances: []figures.Instance{
			{App: "/db", Instance: "db.instance-1", Hostname: "db-0", State: figures.Draining, Health: figures.Healthy, Trouble: "find the group of process 43: no control group"},
			{App: "/prod/new", State: figures.Starting, Health: figures.Unknown},
			{App: "/prod/web", Seat: 2, Instance: "prod_web.instance-1", Hostname: "web-2.prod", Pool: "pool", Address: "10.9.0.10", Managed: true,
				State: figures.Running, Health: figures.Unhealthy, Restarts: 3, Figures: running()},
		}})
}

func ask(v *View, key string) string {
	got, err := v.Answer(key, noon.Add(time.Minute), LimitSocket)
	if err != nil {
		return "! " + err.Error()
	}
	return string(got)
}

func TestAnswers(t *testing.T) {
	v := NewTable("1.2.3").View(snapshot())
	for key, want := range map[string]string{
		"berth.ping": "1", "agent.ping": "1", "berth.version": "1.2.3", "agent.version": "1.2.3", "agent.hostname": "h1", "berth.pages": "1",
		"berth.cpu.usage[/prod/web,2]": "0.2", `berth.cpu.quota["/prod/web","2"]`: "0.5", "berth.cpu.throttled[prod/web,2]": "0.3",
		"berth.cpu.pct[/prod/web,2]": "40", "berth.cpu.advice[/prod/web,2]": "0.8",
		"berth.mem.used[/prod/web,2]": "52428800", "berth.mem.limit[/prod/web,2]": "104857600", "berth.mem.pct[/prod/web,2]": "50",
		"berth.net.in[/prod/web,2]": "1020", "berth.net.out[/prod/web,2]": "3050", "berth.net.errors[/prod/web,2]": "3", "berth.procs[/prod/web, 2]": "7",
		"berth.uptime[/prod/web,2]": "90", "berth.health[/prod/web,2]": "0", "berth.health[/db,0]": "1", "berth.state[/db,0]": "2", "berth.state[/prod/new,0]": "0",
		"berth.services.down[/prod/web,2]":            "1",
		"berth.service.state[/prod/web,2,cron]":       "1",
		"berth.service.state[/prod/web,2,getty@tty1]": "3",
		"berth.service.state[/prod/web,2,nginx]":      "0",
		"berth.service.state[/prod/web,2,sshd]":       "2",
		"berth.service.for[/prod/web,2,cron]":         "12",
		"berth.service.state[/prod/web,2,ftpd]":       `! /prod/web.2 has no service "ftpd"`,
		"berth.service.state[/db,0,ftpd]":             `! /db.0 has no service "ftpd"`,
		"berth.network.in[/prod/web,2,eth1]":          "20",
		"berth.network.in[/prod/web,2,eth2]":          `! /prod/web.2 has no network interface "eth2"`,
		"berth.network.in[/prod/web,2]":               "! berth.network.in takes 3 parameters, [APP,SEAT,INTERFACE]",
		"berth.host.mem.pct":                          "75", "berth.host.load15": "1.5", "berth.host.docker": "1", "berth.host.unhealthy": "1", "berth.host.starting": "1",
		"berth.host.disk.pct":             "! berth.host.disk.pct has no value here",
		"berth.procs.pct[/prod/web,2]":    "! /prod/web.2: it has no limit for procs",
		"berth.cpu.usage[/db,0]":          "! /db.0: find the group of process 43: no control group",
		"berth.cpu.usage[/prod/new,0]":    "! /prod/new.0: it has no running container",
		"berth.procs[/nothing,0]":         "! no instance /nothing.0 on this host",
		"berth.procs[/prod/web]":          "! berth.procs takes 2 parameters, [APP,SEAT]",
		"berth.procs[/prod/web,x]":        `! "/prod/web.x" is not APP.N: "x" is no seat number`,
		"berth.nonsense":                  `! unknown key "berth.nonsense"`,
		"berth.procs[/prod/web,2":         `! "berth.procs[/prod/web,2": a parameter has no end`,
		"berth.discovery[/elsewhere]":     "[]",
		"berth.instances[/elsewhere]":     `{"discovery":[],"instances":{}}`,
		"berth.discovery[/prod,2,1]":      `! page "2" of "1" is none: pages are counted from 1, and there are at most 64`,
		"berth.discovery[/prod,,]":        ask(v, "berth.discovery[/prod]"),
		"berth.networks.discovery[/none]": "[]",
	} {
		if got := ask(v, key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

func TestStaleOrNoFigures(t *testing.T) {
	table := NewTable("9")
	old := snapshot()
	old.At = noon.Add(-10 * time.Minute)
	for v, want := range map[*View]string{table.View(figures.NewIndex(&figures.Snapshot{})): "! berth.ping: no sample has been taken yet", table.View(old): "! berth.ping: the newest figures are 11m0s old: is the agent stuck?"} {
		if got := ask(v, "berth.ping"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := ask(v, "agent.ping") + ask(v, "agent.version"); got != "19" {
			t.Errorf("the agent itself: %q", got)
		}
	}
}

func TestDiscovery(t *testing.T) {
	v := NewTable("1").View(snapshot())
	const web = `[{"{#ID}":"/prod/web.2","{#APP}":"/prod/web","{#SEAT}":"2","{#INSTANCE}":"prod_web.instance-1","{#HOSTNAME}":"web-2.prod","{#IP}":"10.9.0.10","{#POOL}":"pool","{#STATE}":"running"}]`
	if got := ask(v, "berth.discovery[/prod/web]"); got != web {
		t.Errorf("got  %s\nwant %s", got, web)
	}
	const service = `{"{#ID}":"/prod/web.2/nginx","{#APP}":"/prod/web","{#SEAT}":"2","{#INSTANCE}":"prod_web.instance-1","{#HOSTNAME}":"web-2.prod","{#SERVICE}":"nginx"}`
	if got := ask(v, "berth.services.discovery"); !strings.Contains(got, service) {
		t.Errorf("%s\nlacks %s", got, service)
	}
}

// TestMasterItemsSayWhatTheItemsSay: whatever the way, a figure has one value.
func TestMasterItemsSayWhatTheItemsSay(t *testing.T) {
	v := NewTable("1").View(snapshot())
	type master struct {
		Discovery []map[string]string
		Instances map[string]map[string]json.Number
		Networks  map[string]map[string]json.Number
		Services  map[string]map[string]json.Number
	}
	for key, list := range map[string]struct {
		keys   map[string]int
		values func(master) map[string]map[string]json.Number
		last   string
	}{
		"berth.instances": {v.instances, func(m master) map[string]map[string]json.Number { return m.Instances }, ""},
		"berth.networks":  {v.networks, func(m master) map[string]map[string]json.Number { return m.Networks }, "{#INTERFACE}"},
		"berth.services":  {v.services, func(m master) map[string]map[string]json.Number { return m.Services }, "{#SERVICE}"},
	} {
		var m master
		if err := json.Unmarshal([]byte(ask(v, key)), &m); err != nil {
			t.Fatalf("%s: %v\n%s", key, err, ask(v, key))
		}
		if len(m.Discovery) == 0 || len(m.Discovery) != len(list.values(m)) {
			t.Errorf("%s: %d are discovered, %d have figures", key, len(m.Discovery), len(list.values(m)))
		}
		for _, row := range m.Discovery {
			for figure := range list.keys {
				request := fmt.Sprintf("%s[%s,%s]", figure, row["{#APP}"], row["{#SEAT}"])
				if list.last != "" {
					request = fmt.Sprintf("%s[%s,%s,%s]", figure, row["{#APP}"], row["{#SEAT}"], row[list.last])
				}
				got, has := list.values(m)[row["{#ID}"]][Meta{Key: figure}.JSON()]
				want := ask(v, request)
				if strings.HasPrefix(want, "!") == has || has && string(got) != want {
					t.Errorf("%s is %q, in the JSON %q (%v)", request, want, got, has)
				}
			}
		}
	}
	var host map[string]json.Number
	if err := json.Unmarshal([]byte(ask(v, "berth.host")), &host); err != nil || host["host_mem_pct"] != "75" || len(host) < 20 {
		t.Errorf("%v, %v", host, err)
	}
}

func TestOneInstance(t *testing.T) {
	table := NewTable("1")
	for n, i := range snapshot().Instances {
		b := table.AppendInstance(nil, &i)
		var got struct {
			State      int
			CPUUsage   float64 `json:"cpu_usage"`
			Interfaces map[string]map[string]int
			Services   map[string]map[string]int
			Discovery  map[string][]map[string]string
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if n < 2 {
			continue
		}
		if got.State != 1 || got.CPUUsage != 0.2 || got.Interfaces["eth0"]["network_in"] != 1000 || got.Services["nginx"]["service_state"] != 0 {
			t.Errorf("%+v", got)
		}
		want := map[string][]map[string]string{"interfaces": {{"{#ID}": "eth0", "{#INTERFACE}": "eth0"}, {"{#ID}": "eth1", "{#INTERFACE}": "eth1"}}}
		for _, s := range []string{"cron", "getty@tty1", "nginx", "sshd"} {
			want["services"] = append(want["services"], map[string]string{"{#ID}": s, "{#SERVICE}": s})
		}
		if d := cmp.Diff(want, got.Discovery); d != "" {
			t.Error(d)
		}
	}
}

// TestStrangeNames: whatever a container or service is called, the JSON is one, and ids need no quoting in a JSONPath.
func TestStrangeNames(t *testing.T) {
	table := NewTable("1")
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String()
		s := &figures.Snapshot{At: noon, Instances: []figures.Instance{{App: "/" + name.Draw(t, "app"), Hostname: name.Draw(t, "host"), Figures: &figures.Figures{
			Services: []figures.Service{{Name: name.Draw(t, "service")}}, Networks: []figures.Interface{{Name: name.Draw(t, "interface")}},
		}}}}
		v := table.View(figures.NewIndex(s))
		for _, key := range []string{"berth.instances", "berth.services", "berth.networks"} {
			var m struct{ Discovery []map[string]string }
			if err := json.Unmarshal([]byte(ask(v, key)), &m); err != nil || len(m.Discovery) != 1 {
				t.Fatalf("%s: %v, %v", key, m, err)
			}
			if id := m.Discovery[0]["{#ID}"]; strings.ContainsAny(id, "\"'\\[]{}$`\n ") {
				t.Fatalf("%q", id)
			}
		}
		if b := table.AppendInstance(nil, &s.Instances[0]); !json.Valid(b) {
			t.Fatalf("%q", b)
		}
	})
}

// TestPages: each app is on exactly one page, and stays there whoever else comes.
func TestPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pages := rapid.IntRange(1, MaxPages).Draw(t, "pages")
		app := spec.AppID("/" + rapid.StringMatching(`[a-z0-9/-]{1,40}`).Draw(t, "app"))
		if p := page(app, pages); p < 1 || p > pages {
			t.Fatalf("page %d of %d", p, pages)
		}
	})
	v := NewTable("1").View(many(500))
	seen := map[string]int{}
	for n := 1; n <= 8; n++ {
		var m struct{ Instances map[string]any }
		if err := json.Unmarshal([]byte(ask(v, fmt.Sprintf("berth.instances[,%d,8]", n))), &m); err != nil {
			t.Fatal(err)
		}
		for id := range m.Instances {
			seen[id]++
		}
		if len(m.Instances) < 500/16 || len(m.Instances) > 500/4 {
			t.Errorf("page %d has %d of 500", n, len(m.Instances))
		}
	}
	if len(seen) != 500 || slices.Max(slices.Collect(maps.Values(seen))) != 1 {
		t.Errorf("%d of 500 are on a page", len(seen))
	}
}

// TestThousandContainers is the arithmetic of the docs.
func TestThousandContainers(t *testing.T) {
	if n := PerInstance(); n > 29 || 1000*n+n+1 > MaxDependent {
		t.Errorf("%d items an instance", n)
	}
	table := NewTable("1")
	for n, want := range map[int]string{1000: "1", 1100: "2", 4000: "4"} {
		v := table.View(many(n))
		if got, err := v.Answer("berth.pages", noon, LimitPort); err != nil || string(got) != want {
			t.Errorf("%d instances need %s pages, %v; want %s", n, got, err, want)
		}
		all, err := v.Answer("berth.instances", noon, LimitPort)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%d instances: %d bytes", n, len(all))
	}
	if _, err := table.View(many(1000)).Answer("berth.instances", noon, LimitSocket); err == nil || !strings.Contains(err.Error(), "berth zabbix template --pages 2") {
		t.Errorf("%v does not say what to do", err)
	}
	if got, err := table.View(many(1000)).Answer("berth.discovery", noon, LimitSocket); err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestEveryParameterIsAnItem(t *testing.T) {
	text := string(UserParameters("/usr/local/lib/berth/berth-zabbix", "/run/berth/zabbix.sock"))
	v := NewTable("1").View(snapshot())
	for _, line := range strings.Split(strings.TrimSpace(text), "\n")[1:] {
		key, _, _ := strings.Cut(strings.TrimPrefix(line, "UserParameter="), ",")
		key, params, _ := strings.Cut(key, "[")
		if params != "" {
			key += "[/prod/web,2,nginx]"
		}
		if got := ask(v, key); strings.Contains(got, "unknown key") {
			t.Errorf("%s: %s", line, got)
		}
	}
	for _, line := range []string{
		`UserParameter=berth.cpu.usage[*],/usr/local/lib/berth/berth-zabbix --socket /run/berth/zabbix.sock berth.cpu.usage "$1" "$2"`,
		`UserParameter=berth.instances[*],/usr/local/lib/berth/berth-zabbix --socket /run/berth/zabbix.sock berth.instances "$1" "$2" "$3"`,
		`UserParameter=berth.ping,/usr/local/lib/berth/berth-zabbix --socket /run/berth/zabbix.sock berth.ping`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s\nhas no line %s", text, line)
		}
	}
}

func TestKeysAreOnce(t *testing.T) {
	seen := map[string]bool{}
	add := func(m Meta) {
		if seen[m.Key] || seen[m.JSON()] || !strings.HasPrefix(m.Key, "berth.") || m.Name == "" || m.Component == "" {
			t.Errorf("%+v", m)
		}
		seen[m.Key], seen[m.JSON()] = true, true
		if m.ValueMap != "" && !slices.ContainsFunc(ValueMaps(), func(v ValueMap) bool { return v.Name == m.ValueMap }) {
			t.Errorf("%s: no value map %q", m.Key, m.ValueMap)
		}
	}
	for _, f := range InstanceFigures() {
		add(f.Meta)
	}
	for _, f := range InterfaceFigures() {
		add(f.Meta)
	}
	for _, f := range ServiceFigures() {
		add(f.Meta)
	}
	for _, f := range HostFigures() {
		add(f.Meta)
	}
}

// many is a host with n running instances, each with three services.
func many(n int) *figures.Index {
	s := &figures.Snapshot{At: noon, Version: "1"}
	for i := range n {
		f := running()
		f.CPU.Seconds, f.CPU.Used, f.CPU.Waited = 12345.6789+float64(i), 0.1234, 123.4567
		f.Networks, f.Services = f.Networks[:1], f.Services[:3]
		f.Networks[0].RxBytes, f.Networks[0].TxBytes = 123456789012, 987654321098
		seat := spec.SeatID{App: spec.AppID(fmt.Sprintf("/production/shop/service-%03d", i)), Index: i % 7}
		s.Instances = append(s.Instances, figures.Instance{
			App: string(seat.App), Seat: seat.Index, Instance: spec.InstanceID(seat.App, "7c9e6679-7425-40de-944b-e07fc1f90ae7"), Hostname: seat.Hostname(),
			Pool: "default-pool", Address: fmt.Sprintf("10.99.%d.%d", i/250, i%250), State: figures.Running, Health: figures.Healthy, Figures: f,
		})
	}
	return figures.NewIndex(s)
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"berth.ping", "berth.procs[/prod/web,2]", `berth.procs["/a","0"]`, `a["\"",]`, "[", "a[", `a["`, "berth.instances[,1,2]", "berth.service.state[/prod/web,2,cron]"} {
		f.Add(s)
	}
	v := NewTable("1").View(snapshot())
	f.Fuzz(func(t *testing.T, s string) {
		key, params, err := ParseKey(s)
		if err == nil && key == "" {
			t.Errorf("%q: no key, params %q", s, params)
		}
		if value, err := v.Answer(s, noon, LimitSocket); (err == nil) == (len(value) == 0) && key != "berth.version" || err != nil && err.Error() == "" {
			t.Errorf("%q: %q, %v", s, value, err)
		}
	})
}

// BenchmarkDiscovery237 is of a snapshot that nobody asked before.
func BenchmarkDiscovery237(b *testing.B) {
	table, s := NewTable("1"), many(237)
	for b.Loop() {
		if _, err := table.View(s).Answer("berth.discovery", noon, LimitSocket); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstances300 is the master item of a snapshot that nobody asked before.
func BenchmarkInstances300(b *testing.B) {
	table, s := NewTable("1"), many(300)
	for b.Loop() {
		value, err := table.View(s).Answer("berth.instances", noon, LimitSocket)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(value)))
	}
}

// BenchmarkInstances300JSON is the same as servers from 7.0 on get it.
func BenchmarkInstances300JSON(b *testing.B) {
	v := NewTable("1").View(many(300))
	for b.Loop() {
		value, err := v.Answer("berth.instances", noon, LimitSocket)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(zbxd.Request{JSON: true}.AppendAnswer(nil, zbxd.Result{Value: value}))))
	}
}

func BenchmarkItem(b *testing.B) {
	v := NewTable("1").View(many(237))
	for b.Loop() {
		if _, err := v.Answer("berth.cpu.usage[/production/shop/service-100,2]", noon, LimitSocket); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLongNumbers: Zabbix takes them out of JSON as they are.
func TestLongNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"1": "1", "999999999999999": "999999999999999", "1795337874559440": `"1795337874559440"`, "-1795337874559440": `"-1795337874559440"`,
		`"a text that is long already"`: `"a text that is long already"`, "": "",
	} {
		if got := string(quoteLong([]byte(`"n":`+in), len(`"n":`))); got != `"n":`+want {
			t.Errorf("%s: %s", in, got)
		}
	}
	snap := snapshot()
	snap.Host.Document = 1795337874559440
	v := NewTable("1").View(snap)
	if all := ask(v, "berth.host"); !strings.Contains(all, `"host_document":"1795337874559440"`) {
		t.Error(all)
	}
	if one := ask(v, "berth.host.document"); one != "1795337874559440" {
		t.Error(one)
	}
}
