package template

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/monitor/zabbix"
)

const (
	// HostTemplate is the name of the template for hosts.
	HostTemplate = "Berth containers"
	// HostComment heads its file.
	HostComment = "Zabbix template (6.0 and later) of the instances of one host. Made by berth zabbix template; changes are lost."

	group = "Templates/Berth"
	date  = "2026-11-22T00:00:00Z"

	// The figures of an instance's graph prototypes and of a host's graphs have these colours, in their order.
	colours = "1A7C11 F63100 2774A4 FC6EA3"
)

const hostDescription = `Instances that Berth runs on this host, found by low-level discovery. Items are keyed by app and seat, so that
an instance's history goes on when its container is replaced. Link it to the host that runs Berth's agent: its
agent interface is the port of --zabbix-listen, or the zabbix_agentd with Berth's UserParameter file.

All figures of all instances come in one request a minute, and so do those of all network interfaces and of all
services; the items depend on these three.
`

// TemplateGroup is the group in which all templates of Berth are.
func TemplateGroup() Group { return Group{UUID: oldGroup, Name: group} }

// Host is the template for hosts. With several pages, the master items and what depends on them are there once a page.
func Host(pages int) Export {
	h := host{pages: pages}
	t := Template{
		UUID: oldTemplate, Template: HostTemplate, Name: HostTemplate, Description: hostDescription, Groups: []Group{{Name: group}},
		Macros: macros(), ValueMaps: valueMaps(),
	}
	t.Items = append(h.answers(), h.ofHost()...)
	for h.page = 1; h.page <= pages; h.page++ {
		t.Items = append(t.Items,
			h.master("berth.instances", "All figures of all instances"), h.master("berth.networks", "All figures of all network interfaces"),
			h.master("berth.services", "The state of all services"))
		t.DiscoveryRules = append(t.DiscoveryRules, h.instances(), h.networks(), h.services())
	}
	return Export{Version: "6.0", Date: date, Groups: []Group{TemplateGroup()}, Templates: []Template{t}, Graphs: hostGraphs()}
}

// host is one template being made.
type host struct {
	pages, page int // page 0: what is there once
}

// of is a name with the page, where there are several.
func (h host) of(name string) string {
	if h.pages == 1 || h.page == 0 {
		return name
	}
	return fmt.Sprintf("%s (%d of %d)", name, h.page, h.pages)
}

// asked is a key as the agent is asked for a page.
func (h host) asked(key string) string {
	if h.pages == 1 {
		return key
	}
	return fmt.Sprintf("%s[,%d,%d]", key, h.page, h.pages)
}

// suffix is what follows a prototype's key. Keys must be unique among all pages, so those of several pages name theirs.
func (h host) suffix(macros ...string) string {
	if h.pages > 1 {
		macros = append(macros, strconv.Itoa(h.page)+"/"+strconv.Itoa(h.pages))
	}
	return "[" + strings.Join(macros, ",") + "]"
}

func id(kind, key string) string {
	if old, ok := oldIDs()[kind+" "+key]; ok {
		return old
	}
	return UUID(HostTemplate, kind, key)
}

func component(name string) Tag { return Tag{"component", name} }

// answers are the items by which an agent is seen to be there.
func (h host) answers() []Item {
	silent := alarm{"Berth does not answer on {HOST.NAME}", "nodata({berth.ping},5m)=1", "", "HIGH", "Instances go on running, but are neither watched nor kept registered."}
	more := alarm{"Berth on {HOST.NAME} needs a template with more pages",
		fmt.Sprintf("last({berth.pages})>%d", h.pages), "{ITEM.LASTVALUE1}", "WARNING",
		fmt.Sprintf("There are more instances than fit into %d: import what berth zabbix template --pages N prints.", h.pages)}
	if h.pages == 1 {
		more.description = "There are more instances than fit into one answer: import what berth zabbix template --pages N prints."
	}
	return []Item{
		{UUID: id("item", "berth.ping"), Name: "Berth: answers", Key: "berth.ping", History: "7d", Tags: []Tag{component("berth")},
			Description: "1 while Berth answers for its instances, and its figures are new.",
			Triggers:    []Trigger{silent.trigger(HostTemplate, "", "", id("trigger", "berth.ping"))}},
		{UUID: id("item", "berth.version"), Name: "Berth: version", Key: "berth.version", Delay: "1h", History: "30d", Trends: "0", ValueType: "CHAR", Tags: []Tag{component("berth")}},
		{UUID: id("item", "berth.pages"), Name: "Berth: pages that are needed", Key: "berth.pages", Delay: "1h", History: "30d", Tags: []Tag{component("berth")},
			Description: "Into how many pages the instances must be parted to keep within Zabbix's limits.",
			Triggers:    []Trigger{more.trigger(HostTemplate, "", "", id("trigger", "berth.pages"))}},
		h.master("berth.host", "All figures of the host"),
	}
}

// master is an item that is asked once for much. It is not stored, as Zabbix keeps no more than 64 KB of a text anyway.
func (h host) master(key, name string) Item {
	if key != "berth.host" {
		key = h.asked(key)
	}
	return Item{UUID: id("item", key), Name: "Berth: " + h.of(name), Key: key, History: "0", Trends: "0", ValueType: "TEXT", Tags: []Tag{component("berth")}}
}

func (h host) ofHost() []Item {
	var out []Item
	at := map[string]int{}
	for _, f := range zabbix.HostFigures() {
		i := Dependent(f.Meta, f.Key, f.Name, "berth.host", "$."+f.JSON(), component(f.Component))
		i.UUID = id("item", f.Key)
		at[f.Key] = len(out)
		out = append(out, i)
	}
	for _, a := range hostAlarms() {
		i := &out[at[a.keys()[0]]]
		i.Triggers = append(i.Triggers, a.trigger(HostTemplate, "", "", id("trigger", a.name)))
	}
	return out
}

// rule is a discovery that depends on a master item. It is looked at only when who is there has changed, and once an hour.
func (h host) rule(key, name, master string) Rule {
	key = h.asked(key)
	return Rule{
		UUID: id("rule", key), Name: h.of(name), Type: "DEPENDENT", Key: key, Delay: "0", Lifetime: "7d", MasterItem: &ItemOf{Key: h.asked(master)},
		Preprocessing: []Step{
			{Type: "JSONPATH", Parameters: []string{"$.discovery"}},
			{Type: "DISCARD_UNCHANGED_HEARTBEAT", Parameters: []string{"1h"}},
		},
	}
}

const (
	seatName      = "{#APP}.{#SEAT}"
	serviceName   = seatName + ": {#SERVICE}"
	interfaceName = seatName + ": {#INTERFACE}"
)

func (h host) instances() Rule {
	r := h.rule("berth.discovery", "Instances", "berth.instances")
	suffix := h.suffix("{#APP}", "{#SEAT}")
	for _, f := range zabbix.InstanceFigures() {
		if !f.Spare {
			r.ItemPrototypes = append(r.ItemPrototypes, h.prototype(f.Meta, suffix, seatName+": "+f.Name, "berth.instances", "instances"))
		}
	}
	for _, a := range instanceAlarms() {
		h.alarm(&r, a, suffix, seatName)
	}
	r.GraphPrototypes = h.graphs(suffix, []plot{
		{seatName + ": CPU", []string{"berth.cpu.usage", "berth.cpu.quota"}},
		{seatName + ": CPU held back", []string{"berth.cpu.throttled", "berth.cpu.lost"}},
		{seatName + ": Memory", []string{"berth.mem.used", "berth.mem.limit", "berth.mem.rss", "berth.mem.cache"}},
		{seatName + ": Network", []string{"berth.net.in", "berth.net.out"}},
		{seatName + ": Disk", []string{"berth.io.read", "berth.io.write"}},
	})
	return r
}

func (h host) networks() Rule {
	r := h.rule("berth.networks.discovery", "Network interfaces of instances", "berth.networks")
	suffix := h.suffix("{#APP}", "{#SEAT}", "{#INTERFACE}")
	for _, f := range zabbix.InterfaceFigures() {
		r.ItemPrototypes = append(r.ItemPrototypes, h.prototype(f.Meta, suffix, interfaceName+": "+f.Name, "berth.networks", "networks"))
	}
	r.GraphPrototypes = h.graphs(suffix, []plot{{interfaceName, []string{"berth.network.in", "berth.network.out"}}})
	return r
}

func (h host) services() Rule {
	r := h.rule("berth.services.discovery", "Services of instances", "berth.services")
	suffix := h.suffix("{#APP}", "{#SEAT}", "{#SERVICE}")
	for _, f := range zabbix.ServiceFigures() {
		i := h.prototype(f.Meta, suffix, serviceName+": "+f.Name, "berth.services", "services")
		i.Tags = append(i.Tags, Tag{"service", "{#SERVICE}"})
		r.ItemPrototypes = append(r.ItemPrototypes, i)
	}
	h.alarm(&r, serviceAlarm(), suffix, "{#SERVICE} of "+seatName)
	return r
}

// prototype is the item of a figure in the list of a master item.
func (h host) prototype(m zabbix.Meta, suffix, name, master, list string) Item {
	key := m.Key + suffix
	i := Dependent(m, key, name, h.asked(master), fmt.Sprintf("$.%s['{#ID}'].%s", list, m.JSON()), Tag{"app", "{#APP}"}, component(m.Component), Tag{"seat", "{#SEAT}"})
	i.UUID = id("prototype", key)
	return i
}

// alarm adds a trigger prototype: to its item if it reads one, otherwise to the rule, as Zabbix exports them.
func (h host) alarm(r *Rule, a alarm, suffix, of string) {
	t := a.trigger(HostTemplate, suffix, of, id("trigger", strings.Join(a.keys(), " ")+suffix+" "+a.name))
	if len(a.keys()) > 1 {
		r.TriggerPrototypes = append(r.TriggerPrototypes, t)
		return
	}
	for n := range r.ItemPrototypes {
		if i := &r.ItemPrototypes[n]; i.Key == a.keys()[0]+suffix {
			i.TriggerPrototypes = append(i.TriggerPrototypes, t)
		}
	}
}

// plot is a graph in terms of figures.
type plot struct {
	name string
	keys []string
}

func (p plot) graph(template, suffix, uuid string) Graph {
	g := Graph{UUID: uuid, Name: p.name}
	for n, key := range p.keys {
		line := GraphItem{Color: strings.Fields(colours)[n], Item: ItemOf{template, key + suffix}}
		if n > 0 {
			line.SortOrder = strconv.Itoa(n)
		}
		g.Items = append(g.Items, line)
	}
	return g
}

func (h host) graphs(suffix string, plots []plot) []Graph {
	var out []Graph
	for _, p := range plots {
		p.name = h.of(p.name)
		out = append(out, p.graph(HostTemplate, suffix, id("graph", p.name)))
	}
	return out
}

func hostGraphs() []Graph {
	var out []Graph
	for _, p := range []plot{
		{"Berth: CPU", []string{"berth.host.cpu", "berth.host.quota", "berth.host.cores"}},
		{"Berth: Memory", []string{"berth.host.mem.total", "berth.host.mem.available"}},
		{"Berth: Instances", []string{"berth.host.instances", "berth.host.unhealthy", "berth.host.starting"}},
	} {
		out = append(out, p.graph(HostTemplate, "", id("graph", p.name)))
	}
	return out
}

// macros are all in the order in which Zabbix exports them, so that an import of the same changes nothing.
func macros() []Macro {
	all := append(hostMacros(), Macros()...)
	slices.SortFunc(all, func(a, b Macro) int { return strings.Compare(a.Macro, b.Macro) })
	return all
}

func valueMaps() []ValueMap {
	maps := ValueMaps(HostTemplate)
	for n := range maps {
		if old, ok := oldIDs()["valuemap "+maps[n].Name]; ok {
			maps[n].UUID = old
		}
	}
	return maps
}
