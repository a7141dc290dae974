//go:build integration && slow

package integration

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// stored waits until the database has the right values of what the discoveries of these Zabbix hosts, all the same machine, find of the
// app: of each seat, and of an interface and a service of each, with keys that end in page; and the server complains of none. Should
// the server take its time, it is told to ask.
func stored(t *testing.T, hosts []*zabbix, seats int, page string) {
	t.Helper()
	var asked []string
	for _, z := range hosts {
		asked = append(asked, z.asked()...)
	}
	z := hosts[0].in(t)
	press := z.pressing(asked...)
	z.eventually(60*time.Second, "the database has values of what was discovered", func() error {
		for _, z := range hosts {
			got, mayMiss := z.values(), z.mayMiss()
			for _, key := range z.wanted(seats, page) {
				if _, ok := got[key]; !ok && !mayMiss[key] {
					return errors.Join(fmt.Errorf("host %s has %d values, but none of %s", z.host, len(got), key), press())
				}
			}
			for key, n := range z.known(seats, page) {
				if v, ok := got[key]; v != n && (ok || !mayMiss[key]) { // it may be of a while ago, as when a service was down
					return errors.Join(fmt.Errorf("%s of host %s is %v, want %v", key, z.host, v, n), press())
				}
			}
		}
		return nil
	})
	for _, z := range hosts {
		if wrong := z.in(t).sql(`SELECT i.key_, r.error FROM items i JOIN item_rtdata r USING (itemid) WHERE (r.state = 1 OR r.error <> '') AND i.hostid = ` + z.host); len(wrong) > 0 {
			t.Errorf("the server complains of items and discoveries of host %s: %v", z.host, wrong)
		}
	}
}

// known are values of which one knows what they must be, by key.
func (z *zabbix) known(seats int, page string) map[string]float64 {
	want := map[string]float64{"berth.ping": 1, "berth.host.docker": 1}
	for seat := range seats {
		of := fmt.Sprintf("%s,%d", z.app, seat)
		want["berth.cpu.quota["+of+page+"]"] = 0.5
		want["berth.mem.limit["+of+page+"]"] = 128 << 20
		want["berth.health["+of+page+"]"] = 1
		want["berth.service.state["+of+",nginx"+page+"]"] = serviceReady
	}
	return want
}

// mayMiss are the keys of items of which the database may have no value for an hour: a proxy learns of a new item from the database, and
// may send its first value before the server knows the item, which then throws it away; and of what seldom changes a proxy sends an
// unchanged value once an hour only.
func (z *zabbix) mayMiss() map[string]bool {
	z.t.Helper()
	keys := map[string]bool{}
	if z.proxy == "" {
		return keys
	}
	const discardUnchangedHeartbeat = "20" // item_preproc.type
	for _, row := range z.sql(`SELECT i.key_ FROM items i JOIN item_preproc p USING (itemid) WHERE p.type = ` + discardUnchangedHeartbeat + ` AND i.hostid = ` + z.host) {
		keys[row[0]] = true
	}
	return keys
}

// serviceReady is how a service that runs and is ready is told to Zabbix.
const serviceReady = 2

// wanted are the keys of some items of each seat: what is told as it is, rates, its interface, its service.
func (z *zabbix) wanted(seats int, page string) []string {
	var keys []string
	for seat := range seats {
		for _, key := range []string{
			"berth.uptime[%s,%d%s]", "berth.cpu.quota[%s,%d%s]", "berth.mem.limit[%s,%d%s]", "berth.health[%s,%d%s]", "berth.net.in[%s,%d%s]",
			"berth.network.in[%s,%d,eth0%s]", "berth.network.out[%s,%d,eth0%s]", "berth.service.state[%s,%d,nginx%s]", "berth.service.for[%s,%d,nginx%s]",
		} {
			keys = append(keys, fmt.Sprintf(key, z.app, seat, page))
		}
	}
	return append(keys, "berth.ping", "berth.host.docker", "berth.host.cpu")
}

// values are the newest numbers in the database of the host's items, by key.
func (z *zabbix) values() map[string]float64 {
	z.t.Helper()
	out := map[string]float64{}
	for _, row := range z.sql(`SELECT i.key_, v.value FROM items i CROSS JOIN LATERAL (
		SELECT clock, ns, value FROM history WHERE itemid = i.itemid UNION ALL SELECT clock, ns, value FROM history_uint WHERE itemid = i.itemid
		ORDER BY clock DESC, ns DESC LIMIT 1) v WHERE i.hostid = ` + z.host) {
		n, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			z.t.Errorf("%s: %v", row[0], err)
		}
		out[row[0]] = n
	}
	return out
}

// asked are the ids of the items for which the server asks the host's agent; all others depend on them.
func (z *zabbix) asked() []string {
	z.t.Helper()
	var ids []string
	for _, row := range z.sql(`SELECT itemid FROM items WHERE type = 0 AND hostid = ` + z.host) {
		ids = append(ids, row[0])
	}
	return ids
}

// discovered are the keys of the app's items that discoveries have made, sorted.
func (z *zabbix) discovered() []string {
	z.t.Helper()
	var keys []string
	for _, row := range z.sql(`SELECT key_ FROM items WHERE flags = 4 AND hostid = ` + z.host) {
		if strings.Contains(row[0], "["+z.app+",") {
			keys = append(keys, row[0])
		}
	}
	slices.Sort(keys)
	return keys
}

// testPort: what the server, or a proxy of it, got of Berth's own port, which is the agent of a Zabbix host of its own, is what it got
// through zabbix_agentd.
func (z *zabbix) testPort(agentd *zabbix, port string, seats int) {
	stored(z.t, []*zabbix{z}, seats, "")
	if got := z.sql(`SELECT port, available, error FROM interface WHERE hostid = ` + z.host); fmt.Sprint(got) != fmt.Sprint([][]string{{port, "1", ""}}) {
		z.t.Errorf("port, availability, error of the interface are %q, want %s, 1 and none", got, port)
	}
	if own, theirs := z.discovered(), agentd.discovered(); !slices.Equal(own, theirs) {
		z.t.Errorf("%d items were discovered by the port, %d by zabbix_agentd:\n%q\n%q", len(own), len(theirs), own, theirs)
	}
}

// testPages puts a template of two pages in place of the one that is there, as the operator of a large machine does. The last host is behind
// the proxy.
func testPages(t *testing.T, b *rig.Berth, hosts []*zabbix, address string, seats int) {
	z := hosts[0].in(t)
	source := b.CLI("zabbix", "template", "--pages", "2")
	z.importTemplate(source, replaceRules())
	if changes := z.differsFromImport(source); changes != "" {
		t.Errorf("Zabbix understood the paged template differently: %s", changes)
	}
	// The app is on one of the pages, by its name, which has a random part.
	page := ",1/2"
	if b.CLI("zabbix", "get", "berth.discovery["+z.app+",1,2]", "--address", address) == "[]\n" {
		page = ",2/2"
	}
	// A proxy that learned of the new rules before the server knows them would tell it of the first discovery in vain, and of the same one
	// not again for an hour. What the server has discovered itself, it knows.
	here, there := hosts[:len(hosts)-1], hosts[len(hosts)-1:]
	stored(t, here, seats, page)
	stored(t, there, seats, page)
	for _, z := range hosts {
		for _, key := range z.in(t).discovered() {
			if !strings.HasSuffix(key, page+"]") {
				t.Errorf("%s of host %s is not of the page%s", key, z.host, page)
			}
		}
	}
}
