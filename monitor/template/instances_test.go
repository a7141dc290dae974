package template

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/spec"
)

const instancesFile = "berth-instances.yaml"

// TestInstances: the file in the repository is what is made, what the templates read is in what is sent, what their triggers and graphs read is an item, and ids are ones that
// Zabbix takes, each once.
func TestInstances(t *testing.T) {
	e := Instances()
	text, err := e.Encode(InstancesComment)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(instancesFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(instancesFile); err != nil || !bytes.Equal(text, want) {
		t.Errorf("%s is not what is made: run go test ./monitor/template -update: %v", instancesFile, err)
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`uuid: (\S+)`).FindAllStringSubmatch(string(text), -1) {
		if !regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`).MatchString(m[1]) || seen[m[1]] {
			t.Errorf("id %s is wrong or there twice", m[1])
		}
		seen[m[1]] = true
	}
	full := figures.Instance{App: "/web", Started: time.Unix(1, 0), Figures: &figures.Figures{
		CPU: figures.CPU{Quota: 1}, Memory: figures.Memory{Limit: 1}, Pids: figures.Pids{Limit: 1},
		Networks: []figures.Interface{{Name: "eth0"}}, Services: []figures.Service{{Name: "nginx"}},
	}}
	var sent map[string]any
	if err := json.Unmarshal(zabbix.NewTable("1").AppendInstance(nil, &full), &sent); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"host", "address", "version", "task"} {
		sent[name] = "what the trapper adds"
	}
	instance := e.Templates[0]
	keys := []string{}
	for _, i := range instance.Items {
		keys = append(keys, i.Key)
		if i.Key == spec.ZabbixFigures {
			continue
		}
		name := strings.TrimPrefix(i.Preprocessing[0].Parameters[0], "$.")
		if _, ok := sent[name]; !ok || i.MasterItem.Key != spec.ZabbixFigures {
			t.Errorf("%s reads %q of %+v", i.Key, name, i.MasterItem)
		}
	}
	inner := regexp.MustCompile(`^\$\.(interfaces|services)\['\{#ID\}'\]\.(\w+)$`)
	for n, r := range instance.DiscoveryRules {
		part := []string{"interfaces", "services"}[n]
		rows := sent["discovery"].(map[string]any)[part].([]any)
		for _, i := range r.ItemPrototypes {
			keys = append(keys, i.Key)
			m := inner.FindStringSubmatch(i.Preprocessing[0].Parameters[0])
			if m == nil || m[1] != part {
				t.Fatalf("%s reads %v", i.Key, i.Preprocessing)
			}
			id := rows[0].(map[string]any)["{#ID}"].(string)
			if _, ok := sent[part].(map[string]any)[id].(map[string]any)[m[2]]; !ok {
				t.Errorf("%s reads %s, which is not in what is sent", i.Key, m[2])
			}
			macro := i.Key[strings.IndexByte(i.Key, '[')+1 : len(i.Key)-1]
			if _, ok := rows[0].(map[string]any)[macro]; !ok {
				t.Errorf("%s: no discovery has %s", i.Key, macro)
			}
		}
	}
	read := regexp.MustCompile(`/Berth instance/([^,)]+)`).FindAllStringSubmatch(string(text), -1)
	if len(read) < 8 {
		t.Errorf("there are only %d readings of triggers", len(read))
	}
	for _, g := range e.Graphs {
		for _, i := range g.Items {
			read = append(read, []string{g.Name, i.Item.Key})
		}
	}
	for _, m := range read {
		if !slices.Contains(keys, m[1]) {
			t.Errorf("%s: there is no item %s", m[0], m[1])
		}
	}
	macros := regexp.MustCompile(`\{\$[A-Z.]+\}`)
	for n, part := range e.Templates {
		one, err := Export{Templates: []Template{part}, Triggers: e.Triggers[:len(e.Triggers)*(1-n)]}.Encode("x")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range macros.FindAllString(string(one), -1) {
			if !slices.ContainsFunc(part.Macros, func(m Macro) bool { return m.Macro == name }) {
				t.Errorf("%s: nobody defines %s", part.Name, name)
			}
		}
	}
}
