package services

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Registered is a service as Consul's agent has it.
type Registered struct {
	ID, Name string
	Tags     []string
	Address  string
	Port     int
	Meta     map[string]string
	// HasCheck says that the service's own check exists there.
	HasCheck bool
	Weight   int // Consul's Weights.Passing; 0 counts as 1, its default
	// Maintenance is the note of its maintenance mode; "" when it is not in it. What MaintenanceNote did not make is
	// somebody's own decision at Consul, and is kept.
	Maintenance string
}

const maintenanceNote = "Berth: "

// MaintenanceNote is the note of a maintenance that Berth asks for.
func MaintenanceNote(reason string) string {
	if reason == "" {
		return ""
	}
	return maintenanceNote + reason
}

// Kept is the note of maintenance that the service is to have, given the one that it has: ours, or else somebody's own.
func (s Service) Kept(have string) string {
	if s.Maintenance == "" && !strings.HasPrefix(have, maintenanceNote) {
		return have
	}
	return s.Maintenance
}

// Registered is the service as it is once it has been written.
func (s Service) Registered() Registered {
	return Registered{
		ID: s.ID, Name: s.Name, Tags: s.Tags, Address: s.Address, Port: s.Port, Meta: s.Meta, HasCheck: s.Check != nil,
		Weight: s.Weight, Maintenance: s.Maintenance,
	}
}

// Differs names the first part in which what is registered is not what is wanted; "" when nothing is to be written.
// Rewriting an equal service would reset its check, so this is asked before every write.
func (s Service) Differs(r Registered) string {
	switch {
	case s.Name != r.Name:
		return "name"
	case s.Address != r.Address:
		return "address"
	case s.Port != r.Port:
		return "port"
	case !slices.Equal(s.Tags, slices.Sorted(slices.Values(r.Tags))):
		return "tags"
	case Holder(s.Meta) != Holder(r.Meta):
		return "task"
	case max(s.Weight, 1) != max(r.Weight, 1):
		return "weight"
	case s.Kept(r.Maintenance) != r.Maintenance:
		return "maintenance"
	case s.Meta[MetaCheck] != r.Meta[MetaCheck] || (s.Check != nil) != r.HasCheck:
		return "check"
	case !maps.Equal(s.Meta, r.Meta):
		return cmp.Or(metaDifference(s.Meta, r.Meta), "meta")
	}
	return ""
}

func metaDifference(want, have map[string]string) string {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if have[k] != want[k] {
			return "meta " + k
		}
	}
	return ""
}
