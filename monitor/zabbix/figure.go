// Package zabbix is what Zabbix is told of a host: one table of figures, from which item keys, their values, the JSON of master
// items and the templates' items are all made, so that they cannot drift apart. Snapshots and keys come in, values go out; it
// does no I/O.
package zabbix

import (
	"math"
	"strconv"
	"strings"

	"github.com/berth-project/berth/monitor/figures"
)

// Meta is what a template says of a figure.
type Meta struct {
	Key         string // without parameters
	Name        string
	Units       string
	Description string
	Component   string // the tag by which items are grouped
	ValueMap    string // the name of one of ValueMaps; "" without
	Float       bool   // it is no whole number; so is the change of a Rate
	Rate        bool   // it is a counter, whose change per second is kept
	Factor      int    // by which it is multiplied to be in Units; 0: not
	Slow        bool   // it hardly ever changes: only changes are kept, and one value an hour
	// Spare: it is answered and in the JSON, but no item in the template for hosts, which has room for 29 an instance.
	Spare bool
}

// JSON is the figure's name in the JSON of a master item.
func (m Meta) JSON() string {
	return strings.ReplaceAll(strings.TrimPrefix(m.Key, "berth."), ".", "_")
}

// Figure is one figure of a T.
type Figure[T any] struct {
	Meta
	// Append appends the value, and nothing if there is none.
	Append func(dst []byte, of *T) []byte
}

// ValueMap gives numbers names.
type ValueMap struct {
	Name   string
	Values []string // from 0 on
}

// The names of the value maps.
const (
	mapHealth  = "Berth health"
	mapState   = "Berth state"
	mapService = "Berth service"
	mapAnswer  = "Berth answers"
)

// ValueMaps are those that figures name.
func ValueMaps() []ValueMap {
	return []ValueMap{
		{mapHealth, []string{"unhealthy", "healthy", "unknown"}},
		{mapState, []string{"starting", "running", "draining"}},
		{mapService, []string{"down", "up", "ready", "stopped"}},
		{mapAnswer, []string{"no", "yes"}},
	}
}

// The states of services, as Zabbix is told.
const (
	serviceDown    = 0 // and should be up
	serviceUp      = 1
	serviceReady   = 2
	serviceStopped = 3 // and should be
)

func serviceState(s *figures.Service) int64 {
	switch {
	case s.Up && s.Ready:
		return serviceReady
	case s.Up:
		return serviceUp
	case s.Want:
		return serviceDown
	}
	return serviceStopped
}

func instanceState(s figures.State) int64 {
	switch s {
	case figures.Running:
		return 1
	case figures.Draining:
		return 2
	}
	return 0
}

// decimal has at most four digits behind the point, which is what Zabbix keeps.
func decimal(dst []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return dst
	}
	return strconv.AppendFloat(dst, math.Round(v*1e4)/1e4, 'f', -1, 64)
}

// percent is nothing of nothing.
func percent(dst []byte, part, whole float64) []byte {
	if whole <= 0 {
		return dst
	}
	return decimal(dst, 100*part/whole)
}

// The following make a figure of a running instance from one of its numbers.

func whole(pick func(*figures.Figures) int64) func([]byte, *figures.Instance) []byte {
	return func(dst []byte, i *figures.Instance) []byte {
		if i.Figures == nil {
			return dst
		}
		return strconv.AppendInt(dst, pick(i.Figures), 10)
	}
}

func counter(pick func(*figures.Figures) uint64) func([]byte, *figures.Instance) []byte {
	return func(dst []byte, i *figures.Instance) []byte {
		if i.Figures == nil {
			return dst
		}
		return strconv.AppendUint(dst, pick(i.Figures), 10)
	}
}

func real(pick func(*figures.Figures) float64) func([]byte, *figures.Instance) []byte {
	return func(dst []byte, i *figures.Instance) []byte {
		if i.Figures == nil {
			return dst
		}
		return decimal(dst, pick(i.Figures))
	}
}

func share(pick func(*figures.Figures) (part, whole float64)) func([]byte, *figures.Instance) []byte {
	return func(dst []byte, i *figures.Instance) []byte {
		if i.Figures == nil {
			return dst
		}
		part, all := pick(i.Figures)
		return percent(dst, part, all)
	}
}

// traffic sums up a counter of all interfaces; nothing in the host's network, whose traffic is not the instance's.
func traffic(pick func(*figures.Interface) uint64) func([]byte, *figures.Instance) []byte {
	return func(dst []byte, i *figures.Instance) []byte {
		if i.Figures == nil || len(i.Networks) == 0 {
			return dst
		}
		var sum uint64
		for n := range i.Networks {
			sum += pick(&i.Networks[n])
		}
		return strconv.AppendUint(dst, sum, 10)
	}
}

func unsigned[T any](pick func(*T) uint64) func([]byte, *T) []byte {
	return func(dst []byte, of *T) []byte { return strconv.AppendUint(dst, pick(of), 10) }
}

func signed[T any](pick func(*T) int64) func([]byte, *T) []byte {
	return func(dst []byte, of *T) []byte { return strconv.AppendInt(dst, pick(of), 10) }
}

func fraction[T any](pick func(*T) float64) func([]byte, *T) []byte {
	return func(dst []byte, of *T) []byte { return decimal(dst, pick(of)) }
}
