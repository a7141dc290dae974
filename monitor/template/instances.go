package template

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/spec"
)

// The names of the templates with which an instance is a host, and of the groups that these hosts are in.
const (
	InstanceTemplate  = "Berth instance"
	InstancesTemplate = "Berth instances"

	// InstancesComment heads their file.
	InstancesComment = "Zabbix templates (6.0 and later) with which each instance is a host. Made by berth zabbix template --kind instances; changes are lost."

	allInstances  = "Berth/instances"
	groupsOfApps  = "Berth/apps{#GROUP}" // the root's is Berth/apps
	discoveryItem = "berth.instances"
)

// Instances are the two templates that make a host of each instance: one for the host that stands for the cluster, whose discovery
// makes the hosts of the instances, and one that each of these gets.
func Instances() Export {
	return Export{
		Version: "6.0", Date: date,
		Groups:    []Group{TemplateGroup(), {UUID: UUID("group", allInstances), Name: allInstances}},
		Templates: []Template{instanceTemplate(), instancesTemplate()},
		Triggers:  triggers(), Graphs: graphs(),
	}
}

// instancesTemplate is for the cluster. One request a minute has everything; the rule works only when something has changed.
func instancesTemplate() Template {
	id := func(parts ...string) string { return UUID(append([]string{InstancesTemplate}, parts...)...) }
	on := func(function, key, rest string) string {
		return fmt.Sprintf("%s(/%s/%s%s", function, InstancesTemplate, key, rest)
	}
	counted := func(key, name, path, description string, triggers ...Trigger) Item {
		return Item{
			UUID: id(key), Name: name, Type: "DEPENDENT", Key: key, Delay: "0", History: "7d", Description: description,
			Preprocessing: []Step{{Type: "JSONPATH", Parameters: []string{path}}}, MasterItem: &ItemOf{Key: discoveryItem},
			Tags: []Tag{component("status")}, Triggers: triggers,
		}
	}
	return Template{
		UUID: id(), Template: InstancesTemplate, Name: InstancesTemplate, Groups: []Group{{Name: group}},
		Description: "Makes a host of each instance of a Berth cluster. Link it to one host that stands for the cluster, and set {$BERTH.API} and {$BERTH.TOKEN} there. " +
			"For very many instances, or through a proxy, link it to several hosts: {$BERTH.PAGES} is their number, {$BERTH.PAGE} counts them from 1.",
		Items: []Item{
			{
				UUID: id(discoveryItem), Name: "Instances of the cluster", Type: "HTTP_AGENT", Key: discoveryItem, Delay: "{$BERTH.DISCOVERY.EVERY}", History: "0", Trends: "0", ValueType: "TEXT",
				URL:         "{$BERTH.API}/berth/v1/zabbix/discovery",
				QueryFields: []Field{{"pages", "{$BERTH.PAGES}"}, {"page", "{$BERTH.PAGE}"}, {"group", "{$BERTH.GROUP}"}, {"max", "{$BERTH.DISCOVERY.MAX}"}},
				Headers:     []Field{{"Authorization", "Bearer {$BERTH.TOKEN}"}}, Tags: []Tag{component("status")},
			},
			counted("berth.instances.count", "Wanted instances", "$.length()", "", Trigger{
				UUID: id("trigger", "silent"), Expression: on("nodata", "berth.instances.count", ",10m)=1"), Name: "The Berth scheduler does not tell of its instances", Priority: "AVERAGE",
				Description: "Instances go on running, and their figures come from their hosts; new ones are not found. Look at the item's error: a wrong {$BERTH.TOKEN}, {$BERTH.API}, or too many instances for one page.",
			}),
			counted("berth.instances.waiting", "Instances that run nowhere", "$[?(@['{#RUNS_ON}'] == '')].length()", "", Trigger{
				UUID: id("trigger", "waiting"), Expression: on("min", "berth.instances.waiting", ",10m)>0"), Name: "Instances have waited for a host for 10 minutes", OpData: "{ITEM.LASTVALUE1}", Priority: "WARNING",
				Description: "berth why APP says what for.",
			}),
		},
		DiscoveryRules: []Rule{{
			UUID: id("rule"), Name: "Instances", Type: "DEPENDENT", Key: "berth.instances.discovery", Delay: "0",
			Description: "A seat that is wanted stays in it also while nothing runs there. What is not wanted any more keeps its history for 30 days.",
			MasterItem:  &ItemOf{Key: discoveryItem}, Preprocessing: []Step{{Type: "DISCARD_UNCHANGED_HEARTBEAT", Parameters: []string{"30m"}}},
			HostPrototypes: []HostPrototype{{
				UUID: id("host"), Host: "{#HOST}", Name: "{#NAME}", GroupLinks: []GroupLink{{Named{allInstances}}}, GroupPrototypes: []Named{{groupsOfApps}},
				Templates: []Named{{InstanceTemplate}}, CustomInterfaces: "YES", Interfaces: []HostInterface{{IP: "{#IP}"}},
				Tags: []Tag{{"app", "{#APP}"}, {"hostname", "{#HOSTNAME}"}, {"runs-on", "{#RUNS_ON}"}, {"seat", "{#SEAT}"}},
			}},
		}},
		Macros: []Macro{
			{Macro: "{$BERTH.API}", Value: "http://127.0.0.1:8080", Description: "Where the scheduler's API is (--listen)"},
			{Macro: "{$BERTH.DISCOVERY.EVERY}", Value: "1m", Description: "How often the scheduler is asked"},
			{Macro: "{$BERTH.DISCOVERY.MAX}", Value: strconv.Itoa(512 << 10), Description: "Bytes of one answer: 65535 for hosts that a proxy monitors"},
			{Macro: "{$BERTH.GROUP}", Value: "/", Description: "The group of apps to be found"},
			{Macro: "{$BERTH.PAGE}", Value: "1", Description: "Which of the pages, from 1"},
			{Macro: "{$BERTH.PAGES}", Value: "1", Description: "How many hosts share the cluster's instances"},
			{Macro: "{$BERTH.TOKEN}", Description: "The token of --discovery-token-file: set it on the host, as secret text"},
		},
	}
}

// instanceTemplate is what each instance's host gets.
func instanceTemplate() Template {
	t := Template{
		UUID: UUID(InstanceTemplate), Template: InstanceTemplate, Name: InstanceTemplate, Groups: []Group{{Name: group}},
		Description: "One instance, wherever it runs. The agent of that host sends all its figures at once to the trapper item (berth agent --zabbix-trapper).",
		Items: []Item{{
			UUID: UUID(InstanceTemplate, spec.ZabbixFigures), Name: "Figures", Type: "TRAP", Key: spec.ZabbixFigures, Delay: "0", History: "0", Trends: "0", ValueType: "TEXT",
			AllowedHosts: "{$BERTH.ALLOWED}", Description: "All figures as JSON, from which the other items are taken.", Tags: []Tag{component("status")},
		}},
		DiscoveryRules: []Rule{interfaceRule(), serviceRule()}, ValueMaps: ValueMaps(InstanceTemplate),
		Macros: append([]Macro{
			{Macro: "{$BERTH.ALLOWED}", Value: "0.0.0.0/0,::/0", Description: "Addresses of the hosts that may send figures"},
			{Macro: "{$BERTH.SILENT.FOR}", Value: "5m", Description: "For how long no figures may come"},
		}, Macros()...),
	}
	for _, text := range []struct{ key, name, json string }{
		{"berth.host", "Runs on", "host"}, {"berth.address", "Address", "address"}, {"berth.app.version", "Version of the app", "version"}, {"berth.task", "Task", "task"},
	} {
		i := Dependent(zabbix.Meta{Slow: true}, text.key, text.name, spec.ZabbixFigures, "$."+text.json, component("status"))
		i.UUID, i.History, i.Trends, i.ValueType = UUID(InstanceTemplate, text.key), "", "0", "CHAR" // 90 days
		t.Items = append(t.Items, i)
	}
	for _, f := range zabbix.InstanceFigures() {
		i := Dependent(f.Meta, f.Key, f.Name, spec.ZabbixFigures, "$."+f.JSON(), component(f.Component))
		i.UUID = UUID(InstanceTemplate, f.Key)
		for _, a := range alarms() {
			if keys := a.keys(); len(keys) == 1 && keys[0] == f.Key {
				i.Triggers = append(i.Triggers, of(a, ""))
			}
		}
		t.Items = append(t.Items, i)
	}
	// As Zabbix exports them.
	slices.SortFunc(t.Macros, func(a, b Macro) int { return strings.Compare(a.Macro, b.Macro) })
	return t
}

// alarms are those of an instance. Instead of a seat without a container, of which no host tells, there is one without figures.
func alarms() []alarm {
	silent := alarm{"has told nothing for {$BERTH.SILENT.FOR}", "nodata({berth.uptime},{$BERTH.SILENT.FOR})=1", "", "HIGH",
		"It runs nowhere, or its host does not tell of it: see berth ps, berth why, and the log of the agent of the host that the item \"Runs on\" names."}
	return append([]alarm{silent}, slices.DeleteFunc(instanceAlarms(), func(a alarm) bool { return slices.Contains(a.keys(), "berth.state") })...)
}

// of is an alarm of the instance.
func of(a alarm, suffix string) Trigger {
	return a.trigger(InstanceTemplate, suffix, "The instance", UUID(InstanceTemplate, "trigger", a.name))
}

// triggers are those that read several items.
func triggers() []Trigger {
	var out []Trigger
	for _, a := range alarms() {
		if len(a.keys()) > 1 {
			out = append(out, of(a, ""))
		}
	}
	return out
}

func interfaceRule() Rule {
	r := innerRule("interfaces", "Network interfaces")
	for _, f := range zabbix.InterfaceFigures() {
		r.ItemPrototypes = append(r.ItemPrototypes, inner(f.Meta, "interfaces", "{#INTERFACE}"))
	}
	return r
}

func serviceRule() Rule {
	r := innerRule("services", "Services")
	down := serviceAlarm()
	for _, f := range zabbix.ServiceFigures() {
		i := inner(f.Meta, "services", "{#SERVICE}")
		if down.keys()[0] == f.Key {
			i.TriggerPrototypes = []Trigger{down.trigger(InstanceTemplate, "[{#SERVICE}]", "{#SERVICE}", UUID(InstanceTemplate, "trigger", f.Key))}
		}
		r.ItemPrototypes = append(r.ItemPrototypes, i)
	}
	return r
}

// inner is the item of a part of an instance.
func inner(m zabbix.Meta, part, macro string) Item {
	key := m.Key + "[" + macro + "]"
	i := Dependent(m, key, macro+": "+m.Name, spec.ZabbixFigures, "$."+part+"['{#ID}']."+m.JSON(), component(m.Component))
	i.UUID = UUID(InstanceTemplate, key)
	return i
}

// innerRule finds the parts of an instance in the JSON that is sent of it.
func innerRule(part, name string) Rule {
	return Rule{
		UUID: UUID(InstanceTemplate, "rule", part), Name: name, Type: "DEPENDENT", Key: "berth." + part + ".discovery", Delay: "0", Lifetime: "7d", MasterItem: &ItemOf{Key: spec.ZabbixFigures},
		Preprocessing: []Step{{Type: "JSONPATH", Parameters: []string{"$.discovery." + part}}, {Type: "DISCARD_UNCHANGED_HEARTBEAT", Parameters: []string{"1h"}}},
	}
}

// graphs are those of an instance.
func graphs() []Graph {
	var out []Graph
	for _, p := range []plot{
		{"CPU", []string{"berth.cpu.usage", "berth.cpu.quota"}},
		{"CPU held back", []string{"berth.cpu.throttled", "berth.cpu.lost"}},
		{"Memory", []string{"berth.mem.used", "berth.mem.limit", "berth.mem.rss", "berth.mem.cache"}},
		{"Network", []string{"berth.net.in", "berth.net.out"}},
		{"Disk", []string{"berth.io.read", "berth.io.write"}},
	} {
		out = append(out, p.graph(InstanceTemplate, "", UUID(InstanceTemplate, "graph", p.name)))
	}
	return out
}
