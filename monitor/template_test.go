package monitor

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// zabbixExport is the part of a template that must agree with the items.
type zabbixExport struct {
	Export struct {
		Version   string `json:"version"`
		Templates []struct {
			Template       string         `json:"template"`
			Items          []templateItem `json:"items"`
			DiscoveryRules []struct {
				Key        string         `json:"key"`
				Prototypes []templateItem `json:"item_prototypes"`
			} `json:"discovery_rules"`
		} `json:"templates"`
	} `json:"zabbix_export"`
}

type templateItem struct {
	Key string `json:"key"`
}

func TestTemplateAgreesWithTheItems(t *testing.T) {
	b, err := os.ReadFile("template/berth-containers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var e zabbixExport
	if err := yaml.UnmarshalStrict(b, &map[string]any{}); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	if e.Export.Version != "6.0" || len(e.Export.Templates) != 1 || len(e.Export.Templates[0].DiscoveryRules) != 1 {
		t.Fatalf("%+v", e)
	}
	template := e.Export.Templates[0]
	host := []string{template.DiscoveryRules[0].Key}
	for _, i := range template.Items {
		host = append(host, i.Key)
	}
	var seat []string
	for _, i := range template.DiscoveryRules[0].Prototypes {
		seat = append(seat, strings.TrimSuffix(i.Key, "[{#APP},{#SEAT}]"))
	}
	for want, got := range map[*[]string][]string{ptr(hostKeys()): host, ptr(seatKeys()): seat} {
		slices.Sort(*want)
		slices.Sort(got)
		if !slices.Equal(*want, got) {
			t.Errorf("the template has %q, the items are %q", got, *want)
		}
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`uuid: (\S+)`).FindAllStringSubmatch(string(b), -1) {
		// Zabbix takes only version 4 ids, and each once.
		if !regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`).MatchString(m[1]) || seen[m[1]] {
			t.Errorf("id %s is wrong or there twice", m[1])
		}
		seen[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`\(/([^/]+)/(berth[a-z.]+)`).FindAllStringSubmatch(string(b), -1) {
		if m[1] != template.Template || !slices.Contains(append(host, seat...), m[2]) {
			t.Errorf("a trigger reads %s of %q", m[2], m[1])
		}
	}
}

func ptr[T any](v T) *T { return &v }
