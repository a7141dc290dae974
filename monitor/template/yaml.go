// Package template makes the Zabbix templates of Berth from the table of figures (package zabbix), in the YAML of Zabbix 6.0,
// which later versions import as well. Numbers of pages come in, bytes go out; it does no I/O.
package template

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-project/berth/monitor/zabbix"
)

// Export is a file to import. Fields that are left out have Zabbix's defaults.
type Export struct {
	Version   string     `yaml:"version"`
	Date      string     `yaml:"date"`
	Groups    []Group    `yaml:"groups,omitempty"`
	Templates []Template `yaml:"templates,omitempty"`
	Triggers  []Trigger  `yaml:"triggers,omitempty"` // those that read several items
	Graphs    []Graph    `yaml:"graphs,omitempty"`
}

// Group is a group of templates.
type Group struct {
	UUID string `yaml:"uuid,omitempty"`
	Name string `yaml:"name"`
}

// Template is one template.
type Template struct {
	UUID           string     `yaml:"uuid"`
	Template       string     `yaml:"template"`
	Name           string     `yaml:"name"`
	Description    string     `yaml:"description,omitempty"`
	Groups         []Group    `yaml:"groups"`
	Items          []Item     `yaml:"items,omitempty"`
	DiscoveryRules []Rule     `yaml:"discovery_rules,omitempty"`
	Tags           []Tag      `yaml:"tags,omitempty"`
	Macros         []Macro    `yaml:"macros,omitempty"`
	ValueMaps      []ValueMap `yaml:"valuemaps,omitempty"`
}

// Item is an item or an item prototype.
type Item struct {
	UUID              string    `yaml:"uuid"`
	Name              string    `yaml:"name"`
	Type              string    `yaml:"type,omitempty"` // "": the agent is asked
	Key               string    `yaml:"key"`
	Delay             string    `yaml:"delay,omitempty"`
	History           string    `yaml:"history,omitempty"`
	Trends            string    `yaml:"trends,omitempty"`
	ValueType         string    `yaml:"value_type,omitempty"` // "": a whole number
	AllowedHosts      string    `yaml:"allowed_hosts,omitempty"`
	Units             string    `yaml:"units,omitempty"`
	Description       string    `yaml:"description,omitempty"`
	ValueMap          *Named    `yaml:"valuemap,omitempty"`
	Preprocessing     []Step    `yaml:"preprocessing,omitempty"`
	MasterItem        *ItemOf   `yaml:"master_item,omitempty"`
	URL               string    `yaml:"url,omitempty"`
	QueryFields       []Field   `yaml:"query_fields,omitempty"`
	Headers           []Field   `yaml:"headers,omitempty"`
	Tags              []Tag     `yaml:"tags,omitempty"`
	Triggers          []Trigger `yaml:"triggers,omitempty"`
	TriggerPrototypes []Trigger `yaml:"trigger_prototypes,omitempty"`
}

// Named refers to something by its name.
type Named struct {
	Name string `yaml:"name"`
}

// Step is one of preprocessing.
type Step struct {
	Type         string   `yaml:"type"`
	Parameters   []string `yaml:"parameters"`
	ErrorHandler string   `yaml:"error_handler,omitempty"`
}

// Tag is a tag.
type Tag struct {
	Tag   string `yaml:"tag"`
	Value string `yaml:"value"`
}

// Trigger is a trigger or a trigger prototype.
type Trigger struct {
	UUID        string `yaml:"uuid"`
	Expression  string `yaml:"expression"`
	Name        string `yaml:"name"`
	OpData      string `yaml:"opdata,omitempty"`
	Priority    string `yaml:"priority"`
	Description string `yaml:"description,omitempty"`
	Tags        []Tag  `yaml:"tags,omitempty"`
}

// Rule is a rule of low-level discovery.
type Rule struct {
	UUID              string          `yaml:"uuid"`
	Name              string          `yaml:"name"`
	Type              string          `yaml:"type,omitempty"`
	Key               string          `yaml:"key"`
	Delay             string          `yaml:"delay,omitempty"`
	Lifetime          string          `yaml:"lifetime,omitempty"`
	Description       string          `yaml:"description,omitempty"`
	ItemPrototypes    []Item          `yaml:"item_prototypes,omitempty"`
	TriggerPrototypes []Trigger       `yaml:"trigger_prototypes,omitempty"`
	GraphPrototypes   []Graph         `yaml:"graph_prototypes,omitempty"`
	HostPrototypes    []HostPrototype `yaml:"host_prototypes,omitempty"`
	MasterItem        *ItemOf         `yaml:"master_item,omitempty"`
	Preprocessing     []Step          `yaml:"preprocessing,omitempty"`
}

// Graph is a graph or a graph prototype.
type Graph struct {
	UUID  string      `yaml:"uuid"`
	Name  string      `yaml:"name"`
	Items []GraphItem `yaml:"graph_items"`
}

// GraphItem is one line of a graph.
type GraphItem struct {
	SortOrder string `yaml:"sortorder,omitempty"`
	DrawType  string `yaml:"drawtype,omitempty"`
	Color     string `yaml:"color"`
	CalcFnc   string `yaml:"calc_fnc,omitempty"`
	Item      ItemOf `yaml:"item"`
}

// ItemOf refers to an item by its key, and where it may be another template's by that template's name.
type ItemOf struct {
	Host string `yaml:"host,omitempty"`
	Key  string `yaml:"key"`
}

// Macro is a user macro.
type Macro struct {
	Macro       string `yaml:"macro"`
	Value       string `yaml:"value,omitempty"`
	Description string `yaml:"description,omitempty"`
}

// ValueMap gives values names.
type ValueMap struct {
	UUID     string    `yaml:"uuid"`
	Name     string    `yaml:"name"`
	Mappings []Mapping `yaml:"mappings"`
}

// Mapping is one value's name.
type Mapping struct {
	Value    string `yaml:"value"`
	NewValue string `yaml:"newvalue"`
}

// Encode is the file's text, below a comment of one line.
func (e Export) Encode(comment string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n", comment)
	y := yaml.NewEncoder(&b)
	y.SetIndent(2)
	err := y.Encode(map[string]Export{"zabbix_export": e})
	if err != nil {
		return nil, fmt.Errorf("encode the template: %w", err)
	}
	return b.Bytes(), y.Close()
}

// UUID is the id of what the words name: the same whenever and wherever it is made, so that an import finds what an earlier
// one has made. Zabbix takes only ids that look like version 4.
func UUID(words ...string) string {
	h := sha256.Sum256([]byte("berth\x00" + strings.Join(words, "\x00")))
	h[6] = h[6]&0x0f | 0x40
	h[8] = h[8]&0x3f | 0x80
	return hex.EncodeToString(h[:16])
}

// Dependent is the item of a figure, read from the JSON of a master item. Its id is the caller's affair.
func Dependent(m zabbix.Meta, key, name, master, path string, tags ...Tag) Item {
	i := Item{
		Name: name, Type: "DEPENDENT", Key: key, Delay: "0", History: "7d", Units: m.Units, Description: m.Description, MasterItem: &ItemOf{Key: master},
		// What an instance has not (a limit, a network of its own) is not in the JSON: that is no fault of the item.
		Preprocessing: []Step{{Type: "JSONPATH", Parameters: []string{path}, ErrorHandler: "DISCARD_VALUE"}},
		Tags:          tags,
	}
	if m.Float || m.Rate {
		i.ValueType = "FLOAT"
	}
	if m.Factor != 0 {
		i.Preprocessing = append(i.Preprocessing, Step{Type: "MULTIPLIER", Parameters: []string{fmt.Sprint(m.Factor)}})
	}
	if m.Rate {
		i.Preprocessing = append(i.Preprocessing, Step{Type: "CHANGE_PER_SECOND", Parameters: []string{""}})
	}
	if m.Slow {
		i.Preprocessing = append(i.Preprocessing, Step{Type: "DISCARD_UNCHANGED_HEARTBEAT", Parameters: []string{"1h"}})
	}
	if m.ValueMap != "" {
		i.ValueMap = &Named{m.ValueMap}
	}
	return i
}

// ValueMaps are those that figures name, for a template of this name.
func ValueMaps(template string) []ValueMap {
	var out []ValueMap
	for _, m := range zabbix.ValueMaps() {
		v := ValueMap{UUID: UUID(template, "valuemap", m.Name), Name: m.Name}
		for n, name := range m.Values {
			v.Mappings = append(v.Mappings, Mapping{fmt.Sprint(n), name})
		}
		out = append(out, v)
	}
	return out
}
