// Package hostdoc decides what each host must know. In: the live tasks with their apps, seats, and the fleet's settings.
// Out: one document a host, sorted, so that equal states give equal documents. Versions are the caller's.
package hostdoc

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/spec"
)

// Task is one live task with what it was launched from.
type Task struct {
	*spec.Task
	App  *spec.App // the version it runs
	Seat spec.Seat
	// Now is the app as it is wanted, nil when it is being removed: it says which seats are temporary.
	Now *spec.App
}

// Input is everything the documents depend on.
type Input struct {
	Hosts          []string // hosts that get a document even without tasks
	Pools          []spec.Pool
	AuthorizedKeys []string
	Cluster        string
	Tasks          []Task
	// Native says which of an app's health checks the engine performs, -1: none. nil: none of any app.
	Native      func(*spec.App) int
	FreeVolumes map[string][]string                // by host: the persistent volumes whose data is to be removed, sorted
	Ended       map[string][]string                // by host: the tasks whose containers are to be stopped, sorted
	Withdrawn   map[string][]netip.Addr            // by host: the addresses that it is not to answer on any more, sorted
	Pulls       func(host string) []spec.ImagePull // the images it is to have; nil: none
	DrainFor    time.Duration                      // the longest wait for an instance's connections, for apps that name none
	FenceAfter  time.Duration                      // of hosts with BGP; without, nobody else is led to an address that moved
	Blocks      *address.Blocks                    // nil: hosts have none
	Leases      map[netip.Addr]spec.Lease
	// Elsewhere says that something on another host than this one holds an address; nil: nothing does.
	Elsewhere func(host string, a netip.Addr) bool
	Routing   *Routing  // nil: no BGP
	Policing  *Policing // nil: no network policies
}

// Compile makes one document a host. A task that ended is in none.
func Compile(in Input) map[string]spec.HostDocument {
	out := map[string]spec.HostDocument{}
	doc := func(host string) spec.HostDocument {
		d, ok := out[host]
		if !ok {
			d = spec.HostDocument{Schema: 1, Host: host, Pools: in.Pools, AuthorizedKeys: in.AuthorizedKeys, Cluster: in.Cluster, BGP: in.Routing.Of(host), Policies: in.Policing.Of(host)}
			if d.BGP != nil {
				d.FenceAfter = in.FenceAfter
			}
			if in.Pulls != nil {
				d.Pulls = in.Pulls(host)
			}
			if in.Blocks != nil {
				for _, b := range in.Blocks.On(host) {
					d.Blocks = append(d.Blocks, b.Prefix)
				}
				d.Taken = in.Blocks.Taken(host, in.Leases, func(a netip.Addr) bool { return in.Elsewhere != nil && in.Elsewhere(host, a) })
			}
		}
		return d
	}
	for _, h := range in.Hosts {
		out[h] = doc(h)
	}
	for host, paths := range in.FreeVolumes {
		d := doc(host)
		d.FreeVolumes = paths
		out[host] = d
	}
	for host, addresses := range in.Withdrawn {
		d := doc(host)
		d.Withdrawn = addresses
		out[host] = d
	}
	for host, tasks := range in.Ended {
		d := doc(host)
		d.Ended = tasks
		out[host] = d
	}
	most := map[string]int{}
	for _, t := range in.Tasks {
		most[t.Host]++
	}
	for _, t := range in.Tasks {
		if !t.Live() || t.Host == "" {
			continue
		}
		d := doc(t.Host)
		native := -1
		if in.Native != nil {
			native = in.Native(t.App)
		}
		if d.Seats == nil {
			d.Seats = make([]spec.HostSeat, 0, most[t.Host])
		}
		d.Seats = append(d.Seats, seat(t, native, in.DrainFor))
		out[t.Host] = d
	}
	for _, d := range out {
		slices.SortFunc(d.Seats, func(a, b spec.HostSeat) int {
			if a.Seat.Less(b.Seat) {
				return -1
			}
			if b.Seat.Less(a.Seat) {
				return 1
			}
			return strings.Compare(a.TaskID, b.TaskID)
		})
	}
	return out
}

// seat is a task's seat. native is the index of the check that the engine performs: the host does not probe it, and is told
// of the services only while it passes, as it cannot know itself.
func seat(t Task, native int, drainFor time.Duration) spec.HostSeat {
	ports := launch.Ports(t.App, t.HostPorts)
	probes := launch.Probes(t.App, ports)
	passes := native < 0 || native < len(t.Health) && t.Health[native].Alive
	if native >= 0 {
		probes = slices.Delete(probes, native, native+1)
	}
	s := spec.HostSeat{
		Seat: t.Seat.ID, TaskID: t.ID, Instance: t.Instance, Hostname: t.Seat.Hostname, Pool: t.Pool, Address: t.Address,
		HostKeys: t.Seat.HostKeys, AppVersion: spec.FormatTime(t.AppVersion), Labels: t.App.Labels, CPUs: t.App.CPULimit(), Mem: t.App.MemLimit(),
		Probes: append(append(probes, launch.Readiness(t.App, ports)...), launch.Checks(t.App, ports)...), Drain: t.Rung == spec.Killing,
		Temporary: t.Now != nil && deploy.Temporary(t.Now, t.Seat.ID.Index), Maintenance: t.Seat.Maintenance,
	}
	if w := t.App.ServiceWeight(t.Seat); w > 1 {
		s.Weight = w
	}
	if s.Drain {
		s.DrainFor = t.App.DrainFor(drainFor)
	}
	if passes {
		s.Services = launch.Services(t.App, ports, probes)
	}
	for _, p := range ports {
		s.Ports = append(s.Ports, p.HostPort)
	}
	if t.App.Pod != nil {
		for _, c := range t.App.Pod.Containers {
			s.Containers = append(s.Containers, spec.SeatContainer{Name: c.Name, TaskID: spec.PodTaskID(t.Instance, c.Name), CPUs: c.CPULimit()})
		}
	}
	return s
}
