package marathon

import (
	"slices"

	"github.com/berth-project/berth/spec"
)

// AssignServicePorts gives every port without a service port one of min..max, both included: the number that the app had
// in current at that place, else another one that it had, else the lowest that neither tree uses. An app in wanted that
// gets a number is replaced by a copy, so apps shared with other readers are never changed. wanted may be the whole tree or
// the changed apps only; nil apps (to be removed) are skipped. The error, a *Faults, says that the range is exhausted;
// wanted is then unchanged.
func AssignServicePorts(wanted, current map[spec.AppID]*spec.App, min, max int) error {
	a := &assigner{used: map[int]bool{}, next: min, max: max}
	for _, apps := range []map[spec.AppID]*spec.App{wanted, current} {
		for _, app := range apps {
			for _, port := range servicePorts(app) {
				a.used[port] = true
			}
		}
	}
	changed := map[spec.AppID]*spec.App{}
	for _, id := range sortedIDs(wanted) {
		ports := servicePorts(wanted[id])
		if !slices.Contains(ports, 0) {
			continue
		}
		if !a.assign(ports, servicePorts(current[id]), min) {
			f := &Faults{Message: invalidMessage}
			f.Add("/", "All ports in the range [%d-%d] are already in use", min, max)
			return f
		}
		changed[id] = withServicePorts(wanted[id], ports)
	}
	for id, app := range changed {
		wanted[id] = app
	}
	return nil
}

// assigner hands out the lowest free numbers; next only grows, as numbers are never given back meanwhile.
type assigner struct {
	used      map[int]bool
	next, max int
}

// assign fills the zeros of ports; before are the app's earlier numbers.
func (a *assigner) assign(ports, before []int, min int) bool {
	taken := map[int]bool{0: true}
	for _, p := range ports {
		taken[p] = true
	}
	reusable := func(p int) bool { return p >= min && p <= a.max && !taken[p] }
	for i := range ports {
		if ports[i] == 0 && i < len(before) && reusable(before[i]) {
			ports[i] = before[i]
			taken[before[i]] = true
		}
	}
	for i := range ports {
		if ports[i] != 0 {
			continue
		}
		if j := slices.IndexFunc(before, reusable); j >= 0 {
			ports[i] = before[j]
		} else if ports[i] = a.lowest(); ports[i] == 0 {
			return false
		}
		taken[ports[i]] = true
	}
	return true
}

// lowest is the lowest free number, 0 when there is none.
func (a *assigner) lowest() int {
	for ; a.next <= a.max; a.next++ {
		if !a.used[a.next] {
			a.used[a.next] = true
			return a.next
		}
	}
	return 0
}

// servicePorts are the app's service ports in order, 0 where none is assigned; the slice is the caller's own.
func servicePorts(app *spec.App) []int {
	if app == nil {
		return nil
	}
	var ports []int
	if isHostMode(app) {
		for _, p := range app.PortDefinitions {
			ports = append(ports, p.Port)
		}
	} else if app.Container != nil {
		for _, m := range app.Container.PortMappings {
			ports = append(ports, m.ServicePort)
		}
	}
	return ports
}

// withServicePorts is a copy of the app with these service ports.
func withServicePorts(app *spec.App, ports []int) *spec.App {
	c := *app
	if isHostMode(app) {
		c.PortDefinitions = slices.Clone(app.PortDefinitions)
		for i := range c.PortDefinitions {
			c.PortDefinitions[i].Port = ports[i]
		}
		return &c
	}
	container := *app.Container
	container.PortMappings = slices.Clone(container.PortMappings)
	for i := range container.PortMappings {
		container.PortMappings[i].ServicePort = ports[i]
	}
	c.Container = &container
	return &c
}
