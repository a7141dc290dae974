package marathon

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// ported makes apps of "id: port port"; an id with "!" has its ports as mappings of a bridge.
func ported(lines ...string) map[spec.AppID]*spec.App {
	apps := map[spec.AppID]*spec.App{}
	for _, line := range lines {
		id, list, _ := strings.Cut(line, ":")
		id, bridge := strings.CutSuffix(id, "!")
		app := &spec.App{ID: spec.AppID(id), Networks: []spec.Network{{Mode: spec.NetworkHost}}}
		if bridge {
			app.Networks[0].Mode = spec.NetworkBridge
			app.Container = &spec.Container{}
		}
		for _, text := range strings.Fields(list) {
			port, _ := strconv.Atoi(text)
			if bridge {
				app.Container.PortMappings = append(app.Container.PortMappings, spec.PortMapping{ServicePort: port})
			} else {
				app.PortDefinitions = append(app.PortDefinitions, spec.PortDefinition{Port: port})
			}
		}
		apps[app.ID] = app
	}
	return apps
}

func TestAssignServicePorts(t *testing.T) {
	for name, c := range map[string]struct {
		wanted, current []string
		want            map[spec.AppID][]int
	}{
		"lowest first":                {[]string{"/b: 0", "/a: 0 0"}, nil, map[spec.AppID][]int{"/a": {10, 11}, "/b": {12}}},
		"explicit stays":              {[]string{"/a: 99 0 10"}, nil, map[spec.AppID][]int{"/a": {99, 11, 10}}},
		"bridge":                      {[]string{"/a!: 0 7"}, nil, map[spec.AppID][]int{"/a": {10, 7}}},
		"others' are taken":           {[]string{"/a: 0"}, []string{"/b: 10", "/c!: 11"}, map[spec.AppID][]int{"/a": {12}}},
		"own are kept":                {[]string{"/a: 0 0"}, []string{"/a: 13 12"}, map[spec.AppID][]int{"/a": {13, 12}}},
		"own are kept across modes":   {[]string{"/a!: 0"}, []string{"/a: 14"}, map[spec.AppID][]int{"/a": {14}}},
		"one more":                    {[]string{"/a: 0 0"}, []string{"/a: 12"}, map[spec.AppID][]int{"/a": {12, 10}}},
		"one less":                    {[]string{"/a: 0"}, []string{"/a: 12 13"}, map[spec.AppID][]int{"/a": {12}}},
		"moved by an explicit one":    {[]string{"/a: 12 0"}, []string{"/a: 11 12"}, map[spec.AppID][]int{"/a": {12, 11}}},
		"old explicit is not reused":  {[]string{"/a: 0"}, []string{"/a: 9000"}, map[spec.AppID][]int{"/a": {10}}},
		"removed apps' are reserved":  {[]string{"/a: 0"}, []string{"/gone: 10"}, map[spec.AppID][]int{"/a": {11}}},
		"explicit twice is no matter": {[]string{"/a: 10", "/b: 10"}, nil, map[spec.AppID][]int{"/a": {10}, "/b": {10}}},
	} {
		t.Run(name, func(t *testing.T) {
			wanted := ported(c.wanted...)
			given := maps.Clone(wanted)
			if err := AssignServicePorts(wanted, ported(c.current...), 10, 15); err != nil {
				t.Fatal(err)
			}
			got := map[spec.AppID][]int{}
			for id, app := range wanted {
				got[id] = servicePorts(app)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(ported(c.wanted...), given); diff != "" {
				t.Errorf("the apps themselves were changed:\n%s", diff)
			}
		})
	}
}

func TestServicePortsExhausted(t *testing.T) {
	wanted := ported("/a: 0 0", "/b: 0 0")
	err := AssignServicePorts(wanted, nil, 10, 12)
	if f := asFaults(t, err); f.at("/") != "All ports in the range [10-12] are already in use" {
		t.Errorf("got %v", f)
	}
	if diff := cmp.Diff(ported("/a: 0 0", "/b: 0 0"), wanted); diff != "" {
		t.Errorf("changed in spite of the error:\n%s", diff)
	}
	wanted = ported("/a: 0")
	wanted["/gone"] = nil
	if err := AssignServicePorts(wanted, ported("/gone: 10"), 10, 11); err != nil {
		t.Errorf("removal: %v", err)
	}
}

// TestServicePortsProperty: no assigned number is doubled, all are in range, and doing it again changes nothing.
func TestServicePortsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := func(label string) []string {
			var out []string
			for i := range rapid.IntRange(0, 5).Draw(t, label) {
				line := "/a" + strconv.Itoa(i) + rapid.SampledFrom([]string{"", "!"}).Draw(t, "mode") + ":"
				for range rapid.IntRange(0, 4).Draw(t, "ports") {
					line += " 0"
				}
				out = append(out, line)
			}
			return out
		}
		current, wanted := ported(lines("current")...), ported(lines("wanted")...)
		if err := AssignServicePorts(current, nil, 100, 150); err != nil {
			t.Fatalf("%v", err)
		}
		if err := AssignServicePorts(wanted, current, 100, 150); err != nil {
			t.Fatalf("%v", err)
		}
		seen := map[int]bool{}
		for id, app := range wanted {
			ports := servicePorts(app)
			for _, p := range ports {
				if p < 100 || p > 150 || seen[p] {
					t.Fatalf("%s: %d is doubled or out of range: %v", id, p, ports)
				}
				seen[p] = true
			}
			if before := servicePorts(current[id]); len(before) >= len(ports) && !slices.Equal(before[:len(ports)], ports) {
				t.Fatalf("%s: %v became %v", id, before, ports)
			}
		}
	})
}
