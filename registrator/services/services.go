// Package services decides which Consul services one host should have. In come the host's state, its running containers
// and the tasks that were admitted before; out come the services and, for every instance that has none, the reason. Beside
// the host document's seats these are containers that no document names: a real Marathon's tasks, and whatever docker run
// started, by the conventions of gliderlabs/Registrator. It never talks to Consul: package registrator does, and only
// where Differs says so.
package services

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Keys of the service meta that Berth owns. MetaOwner is the proof that a service is ours. It is no host name: several
// Berths may share one machine and its Consul agent, and a machine may be renamed.
const (
	MetaOwner    = "berth-owner" // a persistent id of the one Berth that wrote it
	MetaApp      = "berth-app"
	MetaSeat     = "berth-seat"
	MetaInstance = "berth-instance"
	MetaTask     = "berth-task"
	MetaVersion  = "berth-version"
	// MetaCheck is a digest of the check: Consul's agent does not tell a check's whole definition, so that this is how a
	// changed one is seen.
	MetaCheck = "berth-check"

	metaPrefix = "berth-"
)

// Reasons for which an instance is not in Consul.
const (
	ReasonDraining    = "it is draining"
	ReasonNoContainer = "its container is not running"
	ReasonNotPassed   = "its probes have not passed yet"
	ReasonNoAddress   = "its container has no address of its own"
	ReasonTaken       = "another live task has the same service id"
)

// Container is one running container.
type Container struct {
	Task      string                // of Berth's; "" for one that no document names. Those have all that follows
	Addresses map[string]netip.Addr // Docker network -> address

	ID, Name, Image string
	Labels, Env     map[string]string
	NetworkMode     string // as docker.Container has it
	Ports           []Port
}

// Port is one port that a container exposes, and where the host publishes it; one that is published at several addresses
// is there several times.
type Port struct {
	Port     int
	Protocol string
	HostIP   netip.Addr
	HostPort int // 0: not published
}

// Input is what From looks at.
type Input struct {
	Host    string // in the ids
	Owner   string // in the meta
	State   spec.HostState
	Running []Container
	// Others are running containers that are no Berth's, Policy what is to be done with them.
	Others []Container
	Policy Policy
	// HostAddress is where others reach this host. HostForced: somebody said so, and it counts whatever Docker publishes at.
	HostAddress netip.Addr
	HostForced  bool
	// Admitted are the tasks that have been registered before. They stay when their probes fail later: it is Consul's own
	// check that tells clients then, and a Berth that just started has no results yet.
	Admitted map[string]bool
}

// Service is one service as it should be in Consul.
type Service struct {
	ID, Name string
	Tags     []string // sorted, each once
	Address  string
	Port     int
	Meta     map[string]string
	Check    *Check
	Weight   int // Consul's Weights.Passing; 0: 1
	// Maintenance is the note of the maintenance mode that it is to be in; "" for none.
	Maintenance string
	Task        string // or the container's id, of one that no document names
	Container   string // its name; "" for seats
	Seat        spec.SeatID
	// Refused says what of its check cannot be; "" when all is well.
	Refused string
}

// Of names whom the service is of: the seat, or the container.
func (s Service) Of() string {
	if s.Container != "" {
		return s.Container
	}
	return s.Seat.String()
}

// Withheld is one service that is not wanted now, and why.
type Withheld struct {
	ID, Task  string
	Container string // as in Service
	Seat      spec.SeatID
	Reason    string
	Tell      bool // the reason is a trouble that people should hear of
}

// Prefix begins the ids of all services of every Berth.
const Prefix = "berth:"

// From decides the services of the host, sorted by id, and those withheld.
func From(in Input) ([]Service, []Withheld) {
	running := map[string]Container{}
	for _, c := range in.Running {
		running[c.Task] = c
	}
	var wanted []Service
	var withheld []Withheld
	taken := map[string]bool{}
	for _, seat := range slices.SortedStableFunc(slices.Values(in.State.Document.Seats), bySeat) {
		address, reason := admit(in, seat, running)
		used := map[string]bool{}
		for _, s := range seat.Services {
			id := serviceID(in.Host, seat.Seat, s, used)
			why := reason
			if why == "" && taken[id] {
				why = ReasonTaken
			}
			if why != "" {
				withheld = append(withheld, Withheld{ID: id, Task: seat.TaskID, Seat: seat.Seat, Reason: why})
				continue
			}
			taken[id] = true
			wanted = append(wanted, build(in, seat, s, id, address))
		}
	}
	more, no := others(in, taken)
	wanted, withheld = append(wanted, more...), append(withheld, no...)
	slices.SortFunc(wanted, func(a, b Service) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(withheld, func(a, b Withheld) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Task, b.Task))
	})
	return wanted, withheld
}

func bySeat(a, b spec.HostSeat) int {
	switch {
	case a.Seat.Less(b.Seat):
		return -1
	case b.Seat.Less(a.Seat):
		return 1
	}
	return cmp.Compare(a.TaskID, b.TaskID)
}

// admit gives the seat's address, or the reason why it may not be in Consul.
func admit(in Input, seat spec.HostSeat, running map[string]Container) (netip.Addr, string) {
	c, runs := running[seat.TaskID]
	switch {
	case seat.Drain:
		return netip.Addr{}, ReasonDraining
	case !runs:
		return netip.Addr{}, ReasonNoContainer
	case !in.Admitted[seat.TaskID] && !in.State.Healthy(seat):
		return netip.Addr{}, ReasonNotPassed
	}
	address := ownAddress(seat, c)
	if !address.IsValid() {
		return netip.Addr{}, ReasonNoAddress
	}
	return address, ""
}

// ownAddress is the container's address in the seat's pool, as Docker tells it; else the leased one. Which network counts
// is never guessed from several.
func ownAddress(seat spec.HostSeat, c Container) netip.Addr {
	if a, ok := c.Addresses[seat.Pool]; ok && a.IsValid() {
		return a
	}
	return seat.Address
}

// serviceID is "berth:HOST:SEAT:PORT"; a second service on the same port of the seat gets its name behind.
func serviceID(host string, seat spec.SeatID, s spec.Service, used map[string]bool) string {
	id := Prefix + host + ":" + seat.Safe() + ":" + strconv.Itoa(s.Port)
	if used[id] {
		id += ":" + s.Name
	}
	for used[id] {
		id += "+"
	}
	used[id] = true
	return id
}

func build(in Input, seat spec.HostSeat, s spec.Service, id string, address netip.Addr) Service {
	tags := slices.Clone(s.Tags)
	slices.Sort(tags)
	w := Service{
		ID: id, Name: s.Name, Tags: slices.Compact(tags), Address: address.String(), Port: s.Port,
		Meta: meta(in.Owner, seat, s.Meta), Task: seat.TaskID, Seat: seat.Seat,
		Weight: seat.Weight, Maintenance: MaintenanceNote(seat.Maintenance),
	}
	switch {
	case s.Check != nil:
		w.Check = checkOf(*s.Check, address, s.Port)
		w.Check.Passing, w.Check.Known = verdict(in.State, seat, *s.Check)
	default:
		if w.Check, w.Refused = checkFrom(s.CheckSettings, address, s.Port); w.Check != nil {
			w.Check.Passing = true // it would not be here otherwise; what follows is Consul's own to find out
		}
	}
	if w.Check != nil {
		w.Meta[MetaCheck] = w.Check.Digest()
	}
	return w
}

// MaxMetaValue is the length of the longest value of service meta that Consul takes.
const MaxMetaValue = 512

// Consul's other limits on service meta.
const (
	maxMetaKey   = 128
	maxMetaPairs = 64
)

// meta is the service's meta: ours, and what the definition adds. Pairs that Consul would refuse, and ones that look like
// Berth's or Consul's own, are left out rather than losing the whole service.
func meta(owner string, seat spec.HostSeat, more map[string]string) map[string]string {
	return fill(map[string]string{
		MetaOwner: owner, MetaApp: string(seat.Seat.App), MetaSeat: strconv.Itoa(seat.Seat.Index),
		MetaInstance: seat.Instance, MetaTask: seat.TaskID, MetaVersion: seat.AppVersion,
	}, more)
}

// fill adds to our own pairs those that Consul takes.
func fill(own, more map[string]string) map[string]string {
	m := make(map[string]string, len(own)+len(more)+1)
	for k, v := range own {
		m[k] = clip(v)
	}
	for _, k := range slices.Sorted(maps.Keys(more)) {
		if len(m) < maxMetaPairs-1 && validMetaKey(k) && len(more[k]) <= MaxMetaValue {
			m[k] = more[k]
		}
	}
	return m
}

func validMetaKey(k string) bool {
	if k == "" || len(k) > maxMetaKey || strings.HasPrefix(k, metaPrefix) || strings.HasPrefix(k, "consul-") {
		return false
	}
	for _, c := range []byte(k) {
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// Holder is who holds a service, by its meta: the task, or the id of a container that no document names.
func Holder(meta map[string]string) string { return cmp.Or(meta[MetaContainer], meta[MetaTask]) }

// TaskValue is what MetaTask holds for the task.
func TaskValue(task string) string { return clip(task) }

func clip(value string) string { return value[:min(len(value), MaxMetaValue)] }
