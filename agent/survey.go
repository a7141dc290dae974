package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// surveyJob is what a survey compares with the kernel.
type surveyJob struct {
	survey    uint64 // the scheduler's question that it answers
	mode      hostnet.Mode
	pools     []spec.Pool
	connected bool                // Docker answers
	shown     []spec.HostEndpoint // by address, then by container
	spots     []hostnet.Spot      // of those in shown that are on bridges
	announced []netip.Prefix
	bgp       bool
	again     int // differs when the same must be read once more
}

// shown are the containers that Docker shows inside the pools, and where those on bridges are to be found.
func shown(pools []spec.Pool, snap docker.Snapshot) (out []spec.HostEndpoint, spots []hostnet.Spot) {
	for _, c := range snap.Containers {
		if !c.Running {
			continue
		}
		for network, a := range c.Addresses {
			at := slices.IndexFunc(pools, func(p spec.Pool) bool { return p.CIDR.Contains(a) })
			if at < 0 {
				continue
			}
			e := spec.HostEndpoint{Address: a, Container: c.ID, Name: c.Name, Since: c.StartedAt}
			seat, err := spec.ParseSeatID(c.Labels[spec.LabelApp] + "." + c.Labels[spec.LabelSeat])
			if task := c.Labels[spec.LabelTask]; err == nil && task != "" {
				e.TaskID, e.Seat = task, seat
			}
			out = append(out, e)
			if pools[at].Name == network {
				spots = append(spots, hostnet.Spot{Address: a, Pid: c.Pid, Bridge: pools[at].Bridge()})
			}
		}
	}
	slices.SortFunc(out, func(a, b spec.HostEndpoint) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Container, b.Container))
	})
	slices.SortFunc(spots, func(a, b hostnet.Spot) int { return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Pid, b.Pid)) })
	return out, spots
}

// endpoints puts together what Docker shows and what the kernel has.
func endpoints(j surveyJob, found map[netip.Addr]hostnet.Found, err error) spec.HostEndpoints {
	out := spec.HostEndpoints{Survey: j.survey, Mode: string(j.mode), Engine: j.connected, BGP: j.bgp, List: slices.Clone(j.shown)}
	if err != nil {
		out.Kernel, found = oneLine(err), nil
	}
	seen, twins := map[netip.Addr]bool{}, map[netip.Addr]netip.Addr{}
	for _, p := range j.pools {
		for _, e := range j.shown {
			if twin := p.Twin(e.Address); twin.IsValid() {
				twins[e.Address] = twin
			}
		}
		for a := range found {
			if twin := p.Twin(a); twin.IsValid() {
				twins[a] = twin
			}
		}
	}
	for i, e := range out.List {
		seen[e.Address], seen[twins[e.Address]] = true, true
		f, known := found[e.Address]
		if err == nil && !known {
			f.Fault = "the host has no link for it"
		}
		if twin, has := found[twins[e.Address]]; has && f.Fault == "" && twin.Fault != "" {
			f.Fault = fmt.Sprintf("of its IPv6 address %v: %s", twins[e.Address], twin.Fault)
		}
		out.List[i].Link, out.List[i].Route, out.List[i].Fault = f.Link, f.Route, f.Fault
	}
	for a := range found {
		seen[twins[a]] = true // told with the address whose twin it is
	}
	for a, f := range found {
		if !seen[a] {
			out.List = append(out.List, spec.HostEndpoint{Address: a, Link: f.Link, Route: f.Route, Fault: f.Fault})
		}
	}
	for i, e := range out.List {
		out.List[i].Announced = j.bgp && slices.ContainsFunc(j.announced, func(p netip.Prefix) bool { return p.Contains(e.Address) })
	}
	slices.SortFunc(out.List, func(a, b spec.HostEndpoint) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Container, b.Container))
	})
	if n := len(out.List) - spec.MaxHostEndpoints; n > 0 {
		out.List, out.Omitted = out.List[:spec.MaxHostEndpoints], n
	}
	return out
}

// surveyPause is the least time between two surveys that nobody asked for.
const surveyPause = time.Second

// surveyor has the host surveyed when something in it changes, and when the scheduler asks. Only its owner's loop touches it.
type surveyor struct {
	worker *worker[surveyJob, spec.HostEndpoints]
	ask    spec.HostAsk
	job    surveyJob // the last that was given out
	given  time.Time
	due    <-chan time.Time // when what changed is looked at; nil: nothing is to be
	result *spec.HostEndpoints
}

func newSurveyor() *surveyor {
	return &surveyor{worker: newWorker[surveyJob, spec.HostEndpoints]()}
}

// asked takes in a question, and says whether the network is to be set anew.
func (s *surveyor) asked(a spec.HostAsk) (anew bool) {
	anew = a.Anew != s.ask.Anew
	s.ask = a
	return anew
}

// give hands out a survey when something changed: at once when the scheduler asks, otherwise not too often.
func (s *surveyor) give(j surveyJob) {
	j.survey = s.ask.Survey
	if reflect.DeepEqual(j, s.job) {
		return
	}
	now := time.Now()
	if wait := s.given.Add(surveyPause).Sub(now); wait > 0 && j.survey == s.job.survey {
		if s.due == nil {
			s.due = time.After(wait)
		}
		return
	}
	s.job, s.given, s.due = j, now, nil
	s.worker.give(j)
}

// done keeps what a survey found, unless it says the same as the last one.
func (s *surveyor) done(e spec.HostEndpoints) {
	if s.result == nil || !reflect.DeepEqual(*s.result, e) {
		s.result = &e
	}
}
