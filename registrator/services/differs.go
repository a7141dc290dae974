package services

import (
	"cmp"
	"maps"
	"slices"
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
}

// Registered is the service as it is once it has been written.
func (s Service) Registered() Registered {
	return Registered{ID: s.ID, Name: s.Name, Tags: s.Tags, Address: s.Address, Port: s.Port, Meta: s.Meta, HasCheck: s.Check != nil}
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
	case s.Meta[MetaTask] != r.Meta[MetaTask]:
		return "task"
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
