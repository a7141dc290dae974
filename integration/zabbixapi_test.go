//go:build integration && slow

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	zabbixfigures "github.com/berth-project/berth/monitor/zabbix"
)

// call asks the JSON-RPC API once.
func (z *zabbix) call(method string, params, result any) error {
	request := map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
	if z.token != "" {
		request["auth"] = z.token
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(z.t.Context(), http.MethodPost, z.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json-rpc")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  *struct{ Message, Data string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", method, resp.Status, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s %s", method, answer.Error.Message, answer.Error.Data)
	}
	return json.Unmarshal(answer.Result, result)
}

// want is call for what must work.
func (z *zabbix) want(method string, params, result any) {
	z.t.Helper()
	if err := z.call(method, params, result); err != nil {
		z.t.Fatal(err)
	}
}

// eventually looks every half second: a look costs the API's PHP more than Zabbix needs for the work.
func (z *zabbix) eventually(limit time.Duration, what string, look func() error) {
	z.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			z.t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
	}
}

// templateRules let an import create all that a template may hold, and touch nothing that is there.
func templateRules() map[string]any {
	rules := map[string]any{}
	for _, kind := range []string{"groups", "templates", "items", "discoveryRules", "triggers", "graphs", "valueMaps"} {
		rules[kind] = map[string]bool{"createMissing": true}
	}
	return rules
}

// replaceRules make of what is there what is imported.
func replaceRules() map[string]any {
	rules := map[string]any{}
	for kind := range templateRules() {
		rules[kind] = map[string]bool{"createMissing": true, "updateExisting": true, "deleteMissing": true}
	}
	for _, kind := range []string{"groups", "templates"} {
		delete(rules[kind].(map[string]bool), "deleteMissing")
	}
	return rules
}

// importTemplate imports as the import dialogue does.
func (z *zabbix) importTemplate(source string, rules map[string]any) {
	z.t.Helper()
	var done bool
	z.want("configuration.import", map[string]any{"format": "yaml", "source": source, "rules": rules}, &done)
	if !done {
		z.t.Fatal("the import says false")
	}
}

// differsFromImport is what a second import would change, "" for nothing. It finds what an import passes over in silence.
func (z *zabbix) differsFromImport(source string) string {
	z.t.Helper()
	var changes json.RawMessage
	z.want("configuration.importcompare", map[string]any{"format": "yaml", "source": source, "rules": replaceRules()}, &changes)
	if text := string(changes); text != "[]" {
		return text
	}
	return ""
}

// createHost makes the host whose agent listens on the port, with the template and macros of its own.
func (z *zabbix) createHost(name, template, port string, macros map[string]string) {
	z.t.Helper()
	var templates []struct{ TemplateID string }
	z.want("template.get", map[string]any{"filter": map[string]string{"host": template}}, &templates)
	if len(templates) != 1 {
		z.t.Fatalf("there are %d templates %q", len(templates), template)
	}
	var groups []struct{ GroupID string }
	var hosts struct{ HostIDs []string }
	z.want("hostgroup.get", map[string]any{"filter": map[string]string{"name": "Discovered hosts"}}, &groups) // a group that every new Zabbix has
	if len(groups) != 1 {
		z.t.Fatalf("there are %d groups for hosts", len(groups))
	}
	own := []any{}
	for macro, value := range macros {
		own = append(own, map[string]string{"macro": macro, "value": value})
	}
	host := map[string]any{
		"host": name, "groups": []any{map[string]string{"groupid": groups[0].GroupID}}, "macros": own,
		"templates":  []any{map[string]string{"templateid": templates[0].TemplateID}},
		"interfaces": []any{map[string]any{"type": 1, "main": 1, "useip": 1, "ip": "127.0.0.1", "dns": "", "port": port}},
	}
	if z.proxy != "" {
		host["proxy_hostid"] = z.proxy
	}
	z.want("host.create", host, &hosts)
	z.host = hosts.HostIDs[0]
}

// item is what the API tells of one; all its numbers are strings.
type item struct {
	ItemID    string
	Key       string `json:"key_"`
	Name      string
	State     string // 1: not supported
	Error     string
	LastValue string
	LastClock int64 `json:",string"`
	// MasterID is the item that it depends on, "0" without one.
	MasterID string `json:"master_itemid"`
	History  string
	Tags     []struct{ Tag, Value string }
}

// root is the item that is asked for its value.
func (i item) root() string {
	if i.MasterID == "0" {
		return i.ItemID
	}
	return i.MasterID
}

// number is the newest value.
func (i item) number() (float64, error) {
	var n float64
	if _, err := fmt.Sscan(i.LastValue, &n); err != nil {
		return 0, fmt.Errorf("%s has %q, at %d: %s", i.Key, i.LastValue, i.LastClock, i.Error)
	}
	return n, nil
}

// items are those of the host and of the app, by key. There may be more: all instances of the machine are discovered, and
// other Berths may run here.
func (z *zabbix) items() (map[string]item, error) {
	var list []item
	err := z.call("item.get", map[string]any{
		"hostids": z.host, "output": []string{"itemid", "key_", "name", "state", "error", "lastvalue", "lastclock", "master_itemid", "history"}, "selectTags": "extend",
	}, &list)
	byKey := map[string]item{}
	for _, i := range list {
		if !strings.Contains(i.Key, "[") || strings.Contains(i.Key, "["+z.app+",") {
			byKey[i.Key] = i
		}
	}
	return byKey, err
}

// checkNow is the button "Execute now", for items and discovery rules. The server drops it for what it has not read into its
// cache yet, so a caller who waits for values presses again.
func (z *zabbix) checkNow(itemIDs ...string) error {
	tasks := make([]any, 0, len(itemIDs))
	for _, id := range itemIDs {
		tasks = append(tasks, map[string]any{"type": 6, "request": map[string]string{"itemid": id}})
	}
	var created struct{ TaskIDs []string }
	return z.call("task.create", tasks, &created)
}

// pressing is checkNow for a look of eventually: at once, and again every few seconds, as the server takes new tasks that often.
func (z *zabbix) pressing(itemIDs ...string) func() error {
	var last time.Time
	return func() error {
		if len(itemIDs) == 0 || time.Since(last) < 6*time.Second {
			return nil
		}
		last = time.Now()
		return errors.Join(z.learn(), z.checkNow(itemIDs...))
	}
}

// discover runs the host's discovery until there are items of exactly the wanted seats of the app, and returns them.
func (z *zabbix) discover(seats int) map[string]item {
	z.t.Helper()
	masters := []string{z.itemID("berth.instances"), z.itemID("berth.networks"), z.itemID("berth.services")}
	var found map[string]item
	press := z.pressing(masters...)
	z.eventually(30*time.Second, fmt.Sprintf("Zabbix discovers %d seats", seats), func() (err error) {
		if err := press(); err != nil {
			return err
		}
		if found, err = z.items(); err != nil {
			return err
		}
		for seat := range seats + 1 {
			_, ok := found[z.key("berth.uptime", seat)]
			if ok != (seat < seats) {
				return fmt.Errorf("seat %d is there: %v", seat, ok)
			}
		}
		return nil
	})
	return found
}

// itemID is the id of one of the host's items.
func (z *zabbix) itemID(key string) string {
	z.t.Helper()
	var list []struct{ ItemID string }
	z.want("item.get", map[string]any{"hostids": z.host, "filter": map[string]string{"key_": key}}, &list)
	if len(list) != 1 {
		z.t.Fatalf("there are %d items %s", len(list), key)
	}
	return list[0].ItemID
}

// changes says whether every request of a master item brings a new value of the figure: it is not thrown away while it is the
// same, and every instance here has it.
func (z *zabbix) changes(key string) bool {
	name, _, _ := strings.Cut(key, "[")
	for _, f := range zabbixfigures.InstanceFigures() {
		if f.Key == name {
			return !f.Slow && name != "berth.procs.pct" && name != "berth.services.down"
		}
	}
	return false
}

// fresh has items checked until each has a value newer than now, and returns all. Without keys: all items.
func (z *zabbix) fresh(keys ...string) map[string]item {
	z.t.Helper()
	before, err := z.items()
	if err != nil {
		z.t.Fatal(err)
	}
	var itemIDs []string
	wanted := map[string]bool{}
	for key, i := range before {
		if len(keys) == 0 || slices.Contains(keys, key) {
			if id := i.root(); !slices.Contains(itemIDs, id) {
				itemIDs = append(itemIDs, id)
			}
			// Masters are not stored, and some figures only when they change, or not at all.
			wanted[key] = len(keys) > 0 || i.MasterID == "0" && i.History != "0" || z.changes(key)
		}
	}
	if len(wanted) < len(keys) {
		z.t.Fatalf("the host lacks some of %q", keys)
	}
	since := time.Now().Unix()
	press := z.pressing(itemIDs...)
	var now map[string]item
	z.eventually(30*time.Second, "the items get values", func() error {
		err := press()
		if err == nil {
			now, err = z.items()
		}
		if err != nil {
			return err
		}
		var late []string
		for key, wait := range wanted {
			if i := now[key]; wait && i.LastClock <= since {
				late = append(late, strings.TrimSpace(fmt.Sprintf("%s (%s)", key, i.Error)))
			}
		}
		if len(late) > 0 {
			return fmt.Errorf("no new value: %q", late)
		}
		return nil
	})
	return now
}

// trigger is what the API tells of one.
type trigger struct {
	TriggerID   string
	Description string
	Value       string // 1: problem
	Error       string
}

// trigger finds the one of an item whose name has the words.
func (z *zabbix) trigger(itemID, words string) trigger {
	z.t.Helper()
	var list []trigger
	z.want("trigger.get", map[string]any{
		"itemids": itemID, "output": []string{"triggerid", "description", "value", "error"}, "search": map[string]string{"description": words},
		"expandDescription": true,
	}, &list)
	if len(list) != 1 {
		z.t.Fatalf("item %s has %d triggers %q", itemID, len(list), words)
	}
	return list[0]
}

// becomes has items checked until a trigger has had a problem (or recovered) since it was asked.
func (z *zabbix) becomes(tr trigger, problem bool, since time.Time, i item) {
	z.t.Helper()
	itemID := i.ItemID
	value := map[bool]string{true: "1", false: "0"}[problem]
	press := z.pressing(i.root())
	z.eventually(45*time.Second, fmt.Sprintf("%q becomes %s", tr.Description, value), func() error {
		if err := press(); err != nil {
			return err
		}
		var events []struct{ EventID, Name, Clock string }
		err := z.call("event.get", map[string]any{
			"objectids": tr.TriggerID, "value": value, "time_from": since.Unix(), "output": []string{"eventid", "name", "clock"},
		}, &events)
		if err == nil && len(events) == 0 {
			err = fmt.Errorf("no event yet; %s", z.lastValue(itemID))
		}
		return err
	})
}

// lastValue tells of an item for failures.
func (z *zabbix) lastValue(itemID string) string {
	var list []item
	err := z.call("item.get", map[string]any{"itemids": itemID, "output": []string{"key_", "lastvalue", "lastclock", "error"}}, &list)
	if err != nil || len(list) != 1 {
		return fmt.Sprintf("item %s: %v", itemID, err)
	}
	return fmt.Sprintf("%s is %q %s", list[0].Key, list[0].LastValue, list[0].Error)
}

// in is the same Zabbix as seen by a subtest.
func (z *zabbix) in(t *testing.T) *zabbix {
	view := *z
	view.t = t
	return &view
}

// key is the whole key of a seat's item.
func (z *zabbix) key(name string, seat int) string {
	return fmt.Sprintf("%s[%s,%d]", name, z.app, seat)
}
