package template

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/berth-project/berth/monitor/zabbix"
)

var update = flag.Bool("update", false, "rewrite the files of the templates")

const hostFile = "berth-containers.yaml"

// TestHostFile: the file in the repository is what the command prints.
func TestHostFile(t *testing.T) {
	got, err := Host(1).Encode(HostComment)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(hostFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(hostFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is made: run go test ./monitor/template -update", hostFile)
	}
	var e struct {
		Export Export `yaml:"zabbix_export"`
	}
	d := yaml.NewDecoder(bytes.NewReader(want))
	d.KnownFields(true)
	if err := d.Decode(&e); err != nil {
		t.Fatal(err)
	}
	check(t, e.Export)
}

func TestPages(t *testing.T) {
	for _, pages := range []int{2, 4, zabbix.MaxPages} {
		e := Host(pages)
		check(t, e)
		if n := len(e.Templates[0].DiscoveryRules); n != 3*pages {
			t.Errorf("%d pages have %d rules", pages, n)
		}
	}
}

var (
	version4 = regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`)
	read     = regexp.MustCompile(`/Berth containers/(berth[a-z0-9.]+(?:\[[^\]]*\])?)`)
	macro    = regexp.MustCompile(`\{\$[A-Z.]+\}`)
)

// checker collects what must be there once, and what must be there at all.
type checker struct {
	t                 *testing.T
	ids, keys, macros map[string]bool
}

// check holds a template against Zabbix's rules, and against what is answered.
func check(t *testing.T, e Export) {
	t.Helper()
	c := &checker{t: t, ids: map[string]bool{}, keys: map[string]bool{}, macros: map[string]bool{}}
	template := e.Templates[0]
	for _, m := range template.Macros {
		c.macros[m.Macro] = true
	}
	c.id(template.UUID)
	c.id(e.Groups[0].UUID)
	for _, v := range template.ValueMaps {
		c.id(v.UUID)
	}
	for _, i := range template.Items {
		c.item(i, template)
	}
	for _, r := range template.DiscoveryRules {
		c.id(r.UUID)
		c.key(r.Key)
		if !c.keys[r.MasterItem.Key] {
			t.Errorf("%s depends on %s, which is not there", r.Key, r.MasterItem.Key)
		}
		for _, i := range r.ItemPrototypes {
			c.item(i, template)
		}
	}
	graphs := map[string]bool{}
	all := slices.Clone(e.Graphs)
	for _, r := range template.DiscoveryRules {
		all = append(all, r.GraphPrototypes...)
		for _, tr := range r.TriggerPrototypes {
			c.trigger(tr)
		}
		for _, i := range r.ItemPrototypes {
			for _, tr := range i.TriggerPrototypes {
				c.trigger(tr)
			}
		}
	}
	for _, i := range template.Items {
		for _, tr := range i.Triggers {
			c.trigger(tr)
		}
	}
	for _, g := range all {
		c.id(g.UUID)
		if graphs[g.Name] {
			t.Errorf("two graphs are called %q", g.Name)
		}
		graphs[g.Name] = true
		for _, i := range g.Items {
			if !c.keys[i.Item.Key] || i.Item.Host != HostTemplate {
				t.Errorf("%s shows %s, which is not there", g.Name, i.Item.Key)
			}
		}
	}
}

func (c *checker) id(id string) {
	c.t.Helper()
	if !version4.MatchString(id) || c.ids[id] {
		c.t.Errorf("id %s is wrong or there twice", id)
	}
	c.ids[id] = true
}

func (c *checker) key(key string) {
	c.t.Helper()
	if c.keys[key] {
		c.t.Errorf("%s is there twice", key)
	}
	c.keys[key] = true
}

func (c *checker) item(i Item, of Template) {
	c.t.Helper()
	c.id(i.UUID)
	c.key(i.Key)
	if i.MasterItem != nil && !c.keys[i.MasterItem.Key] {
		c.t.Errorf("%s depends on %s, which is not there", i.Key, i.MasterItem.Key)
	}
	if i.ValueMap != nil && !slices.ContainsFunc(of.ValueMaps, func(v ValueMap) bool { return v.Name == i.ValueMap.Name }) {
		c.t.Errorf("%s: no value map %q", i.Key, i.ValueMap.Name)
	}
}

func (c *checker) trigger(tr Trigger) {
	c.t.Helper()
	c.id(tr.UUID)
	items := read.FindAllStringSubmatch(tr.Expression, -1)
	if len(items) == 0 || strings.Contains(tr.Expression, "{berth") {
		c.t.Errorf("%q reads nothing: %s", tr.Name, tr.Expression)
	}
	for _, m := range items {
		if !c.keys[m[1]] {
			c.t.Errorf("%q reads %s, which is not there", tr.Name, m[1])
		}
	}
	for _, m := range macro.FindAllString(tr.Expression+tr.Name+tr.Description, -1) {
		if !c.macros[m] {
			c.t.Errorf("%q has no macro %s", tr.Name, m)
		}
	}
}

// TestOldIDsAreUsed: an id that nothing has any more would lose somebody's history.
func TestOldIDsAreUsed(t *testing.T) {
	b, err := Host(1).Encode(HostComment)
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range oldIDs() {
		if !bytes.Contains(b, []byte("uuid: "+id)) && !bytes.Contains(b, []byte(`uuid: "`+id)) {
			t.Errorf("%s: %s is not in the template", name, id)
		}
	}
}

// TestWithinLimits is the arithmetic of the docs.
func TestWithinLimits(t *testing.T) {
	count := map[string]int{}
	for _, r := range Host(1).Templates[0].DiscoveryRules {
		count[r.Key] = len(r.ItemPrototypes)
	}
	if n := count["berth.discovery"]; n != zabbix.PerInstance() || n > 29 {
		t.Errorf("%d items an instance: a thousand would not fit", n)
	}
}
