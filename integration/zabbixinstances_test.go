//go:build integration && slow

package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
	"github.com/berth-project/berth/monitor/template"
)

// TestZabbixInstances: a real server makes a host of each instance, and its database says that the history of each goes on when the
// instance is redeployed, when it moves to another host of the fleet, and when a real proxy takes it over.
func TestZabbixInstances(t *testing.T) {
	requireReal(t, "docker", webImage)
	requireZabbix(t)
	hosts := []*rig.Host{rig.StartHost(t, "h1", webImage), rig.StartHost(t, "h2", webImage)}
	here := []netip.Addr{hosts[0].Connect(t), hosts[1].Connect(t)}
	z := startZabbix(t, "", here...)
	proxy, proxyPort := z.startProxy(1, here...)
	for n, h := range hosts {
		to := here[n].String()
		h.Flags = []string{"--zabbix-trapper", to + ":" + z.port + "," + to + ":" + proxyPort, "--zabbix-every", "1s", "--monitor-interval", "1s"}
	}
	listen := "127.0.0.1:" + lowPort(t)
	b := rig.New(t, rig.Options{Binary: binary, Hosts: hosts, Flags: []string{"--listen", listen, "--discovery-token-file", z.write("token", "the-discovery-only")}})
	app := b.AppID("web")
	on := func(host string) []any { return []any{[]any{"hostname", "LIKE", host}} }
	b.Create(b.App("web", webImage, 2, rig.HTTPCheck("/healthz"), rig.With("cpus", 0.2), rig.With("mem", 64), rig.With("constraints", on("h1"))))
	b.Settle(90 * time.Second)

	source, err := os.ReadFile("../monitor/template/berth-instances.yaml")
	if err != nil {
		t.Fatal(err)
	}
	z.importTemplate(string(source), templateRules())
	if changes := z.differsFromImport(string(source)); changes != "" {
		t.Errorf("Zabbix understood the templates differently: %s", changes)
	}
	// A database as new as this has no statistics yet, without which linking a template to a host takes the server a minute.
	z.sql(`ANALYZE hosts, items, item_preproc, item_discovery, functions, triggers, host_discovery, hosts_templates`)
	z.createHost("berth-cluster", template.InstancesTemplate, "10050", map[string]string{"{$BERTH.API}": "http://" + listen, "{$BERTH.TOKEN}": "the-discovery-only"})
	seats := z.seats(b, app, 2)

	first := z.history(seats, time.Now(), "h1")
	for n, s := range seats {
		seats[n].items = first[s.host].items
		s = seats[n]
		for key, want := range map[string]float64{"berth.cpu.quota": 0.2, "berth.mem.limit": 64 << 20, "berth.health": 1, "berth.state": 1} {
			if got := z.newest(s.items[key]); got != want {
				t.Errorf("%s of %s is %v, want %v", key, s.host, got, want)
			}
		}
	}
	if wrong := z.sql(`SELECT h.host, i.key_, r.error FROM items i JOIN item_rtdata r USING (itemid) JOIN hosts h USING (hostid) WHERE h.flags = 4 AND i.flags IN (0, 4) AND (r.state = 1 OR r.error <> '')`); len(wrong) > 0 {
		t.Errorf("items without values: %v", wrong)
	}

	// A redeploy: other containers, the same seats.
	began := time.Now()
	b.Update(app, map[string]any{"env": map[string]string{"RELEASE": "2"}})
	b.Settle(2 * time.Minute)
	second := z.history(seats, time.Now(), "h1")
	goesOn(t, "the redeploy", first, second, began)

	// A move: the same seats on another host.
	began = time.Now()
	b.Update(app, map[string]any{"constraints": on("h2")})
	b.Settle(2 * time.Minute)
	third := z.history(seats, time.Now(), "h2")
	goesOn(t, "the move", second, third, began)

	// Behind a proxy: the same seats, discovered by it, and from then on told to it. The server takes what they tell no longer.
	began = time.Now()
	var updated struct{ HostIDs []string }
	z.want("host.update", map[string]string{"hostid": z.host, "proxy_hostid": proxy}, &updated)
	z.behind(proxy, seats)
	fourth := z.history(seats, time.Now(), "h2")
	goesOn(t, "the proxy", third, fourth, began)

	for _, s := range seats {
		if got, want := z.texts(s.items["berth.host"]), []string{"h1", "h2"}; !slices.Equal(got, want) {
			t.Errorf("%s ran on %v, want %v", s.host, got, want)
		}
		if got := z.texts(s.items["berth.task"]); len(got) != 3 {
			t.Errorf("%s had the tasks %v, want three", s.host, got)
		}
	}
	if now := z.seats(b, app, 2); !slices.EqualFunc(now, seats, func(a, b zabbixSeat) bool { return a.hostID == b.hostID && a.ip == b.ip }) {
		t.Errorf("the hosts were %+v and are %+v", seats, now)
	}
}

// zabbixSeat is an instance's host as Zabbix's database has it.
type zabbixSeat struct {
	host, hostID, ip string
	items            map[string]string // key -> itemid
}

// past is what the database has of a seat's uptime: how many values, of when, and what items it had at that time.
type past struct {
	items       map[string]string
	values      int
	first, last int64
}

// goesOn compares what was there before something with what is there after it.
func goesOn(t *testing.T, what string, before, after map[string]past, since time.Time) {
	t.Helper()
	for host, was := range before {
		is := after[host]
		for key, id := range was.items {
			if is.items[key] != id {
				t.Errorf("%s: %s of %s was item %s and is %q", what, key, host, id, is.items[key])
			}
		}
		if is.first != was.first || is.values <= was.values || is.last <= since.Unix() {
			t.Errorf("%s: the history of %s was %+v and is %+v", what, host, was, is)
		}
	}
}

// sql asks the database.
func (z *zabbix) sql(query string) [][]string {
	z.t.Helper()
	cmd := as(z.t, "zabbix", z.program("psql"), "-h", filepath.Join(z.dir, "socket"), "-qAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", query, "zabbix")
	out, err := cmd.CombinedOutput()
	if err != nil {
		z.t.Fatalf("%s: %v: %s", query, err, out)
	}
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows
}

// seats has the discovery run until there is a host for each seat of the app, with the seat's own address, in the groups of the app,
// and returns them.
func (z *zabbix) seats(b *rig.Berth, app string, wanted int) []zabbixSeat {
	z.t.Helper()
	var out []zabbixSeat
	press := z.pressing(z.itemOf(z.host, "berth.instances"))
	group := strings.TrimPrefix(app[:strings.LastIndexByte(app, '/')], "/")
	z.eventually(60*time.Second, fmt.Sprintf("Zabbix makes %d hosts", wanted), func() error {
		if err := press(); err != nil {
			return err
		}
		out = nil
		for _, row := range z.sql(`SELECT h.host, h.hostid, i.ip, h.name FROM hosts h JOIN host_discovery d USING (hostid) JOIN interface i USING (hostid) WHERE h.flags = 4 ORDER BY h.host`) {
			out = append(out, zabbixSeat{host: row[0], hostID: row[1], ip: row[2]})
			if want := fmt.Sprintf("%s.%d", app, len(out)-1); row[3] != want {
				return fmt.Errorf("%s is shown as %q, want %q", row[0], row[3], want)
			}
		}
		if len(out) != wanted {
			return fmt.Errorf("there are %+v", out)
		}
		return nil
	})
	for n := range out {
		s := &out[n]
		if want := fmt.Sprintf("berth.%s_web.%d", group, n); s.host != want {
			z.t.Errorf("a host is called %s, want %s", s.host, want)
		}
		if got := b.CLI("ip", "show", s.ip); !strings.Contains(got, app+"."+strconv.Itoa(n)) {
			z.t.Errorf("%s has the address %s, of which Berth says: %s", s.host, s.ip, got)
		}
		groups := z.sql(`SELECT g.name FROM hstgrp g JOIN hosts_groups USING (groupid) WHERE hostid = ` + s.hostID + ` ORDER BY g.name`)
		if want := fmt.Sprint([][]string{{"Berth/apps/" + group}, {"Berth/instances"}}); fmt.Sprint(groups) != want {
			z.t.Errorf("%s is in %v, want %s", s.host, groups, want)
		}
		s.items = z.itemsOf(s.hostID)
	}
	return out
}

// behind has the discovery run until the seats' hosts are monitored by the proxy.
func (z *zabbix) behind(proxy string, seats []zabbixSeat) {
	z.t.Helper()
	press := z.pressing(z.itemOf(z.host, "berth.instances"))
	z.eventually(60*time.Second, "the proxy monitors the instances", func() error {
		for _, s := range seats {
			if got := z.sql(`SELECT coalesce(proxy_hostid, 0) FROM hosts WHERE hostid = ` + s.hostID); got[0][0] != proxy {
				return errors.Join(fmt.Errorf("%s is monitored by %s, not by %s", s.host, got[0][0], proxy), press())
			}
		}
		return nil
	})
}

func (z *zabbix) itemsOf(hostID string) map[string]string {
	z.t.Helper()
	items := map[string]string{}
	for _, row := range z.sql(`SELECT key_, itemid FROM items WHERE flags IN (0, 4) AND hostid = ` + hostID) {
		items[row[0]] = row[1]
	}
	return items
}

func (z *zabbix) itemOf(hostID, key string) string {
	z.t.Helper()
	id := z.itemsOf(hostID)[key]
	if id == "" {
		z.t.Fatalf("host %s has no item %s", hostID, key)
	}
	return id
}

// history waits until the database has values of all seats that are newer than since, from tasks that run on the host, and a service
// and an interface of each, and returns what it has then.
func (z *zabbix) history(seats []zabbixSeat, since time.Time, host string) map[string]past {
	z.t.Helper()
	out := map[string]past{}
	z.eventually(60*time.Second, "the database has new values", func() error {
		for _, s := range seats {
			items := z.itemsOf(s.hostID)
			if items["berth.uptime"] == "" || items["berth.host"] == "" { // the host is made before its items
				return fmt.Errorf("%s has only the items %v", s.host, items)
			}
			rows := z.sql(`SELECT count(*), coalesce(min(clock), 0), coalesce(max(clock), 0) FROM history_uint WHERE itemid = ` + items["berth.uptime"])
			p := past{items: items}
			if _, err := fmt.Sscan(strings.Join(rows[0], " "), &p.values, &p.first, &p.last); err != nil {
				return err
			}
			if p.last <= since.Unix()+1 {
				return fmt.Errorf("%s has %d values, the last of %d", s.host, p.values, p.last)
			}
			if on := z.texts(items["berth.host"]); len(on) == 0 || on[len(on)-1] != host {
				return fmt.Errorf("%s runs on %v", s.host, on)
			}
			for _, key := range []string{"berth.service.state[nginx]", "berth.network.in[eth0]"} {
				if id := items[key]; id == "" {
					return fmt.Errorf("%s has no item %s", s.host, key)
				}
			}
			out[s.host] = p
		}
		return nil
	})
	return out
}

// newest is an item's last value in the database.
func (z *zabbix) newest(itemID string) float64 {
	z.t.Helper()
	rows := z.sql(`SELECT value FROM (SELECT clock, ns, value FROM history WHERE itemid = ` + itemID + ` UNION ALL SELECT clock, ns, value FROM history_uint WHERE itemid = ` + itemID + `) v ORDER BY clock DESC, ns DESC LIMIT 1`)
	if len(rows) == 0 {
		return -1
	}
	n, err := strconv.ParseFloat(rows[0][0], 64)
	if err != nil {
		z.t.Error(err)
	}
	return n
}

// texts are the values of an item in the order in which they came, each once.
func (z *zabbix) texts(itemID string) []string {
	z.t.Helper()
	var out []string
	for _, row := range z.sql(`SELECT value FROM history_str WHERE itemid = ` + itemID + ` ORDER BY clock, ns`) {
		if len(out) == 0 || out[len(out)-1] != row[0] {
			out = append(out, row[0])
		}
	}
	return out
}
