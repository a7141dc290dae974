package sampler

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/spec"
)

// noContainer is why an instance that has not started, or has ended, has no figures.
const noContainer = "it has no running container"

// join is the instances of one pass being put together.
type join struct {
	*Sampler
	from    Sources
	running map[string]*tracked // task -> container, the newest one
	all     map[figures.Key]figures.Instance
}

// instances joins the document's seats with the running containers. Only while there is no document at all, as without a
// scheduler, Berth's containers are instances by their labels alone: those that a document does not name may be another
// Berth's, with the same apps and seats.
func (s *Sampler) instances(from Sources) []figures.Instance {
	j := &join{Sampler: s, from: from, running: map[string]*tracked{}, all: make(map[figures.Key]figures.Instance, len(s.tracked))}
	var others []*tracked
	for _, t := range s.tracked {
		t.key = shown(t)
		if t.Labels[spec.LabelApp] == "" {
			others = append(others, t)
			continue
		}
		task := cmp.Or(t.Labels[spec.LabelTask], t.ID)
		if have := j.running[task]; have == nil || have.StartedAt.Before(t.StartedAt) {
			j.running[task] = t
		}
	}
	for _, seat := range from.State.Document.Seats {
		j.add(j.seat(seat), j.running[seat.TaskID])
	}
	if from.State.Document.Version == 0 {
		for task, t := range j.running {
			if i, ok := j.labelled(task, t); ok {
				j.add(i, t)
			}
		}
	}
	j.others(others)
	sorted := make([]figures.Instance, 0, len(j.all))
	for _, i := range j.all {
		sorted = append(sorted, i)
	}
	slices.SortFunc(sorted, func(a, b figures.Instance) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Seat, b.Seat))
	})
	s.count(sorted)
	return sorted
}

// shown is the key that a container keeps: only one that is nobody's seat has to remember it.
func shown(t *tracked) figures.Key {
	if t.Labels[spec.LabelApp] != "" {
		return figures.Key{}
	}
	return t.key
}

// add shows an instance; of several with one key the newest.
func (j *join) add(i figures.Instance, t *tracked) {
	key := i.Key()
	if have, ok := j.all[key]; ok && !have.Started.Before(i.Started) {
		return
	}
	if t != nil {
		t.key = key
	}
	j.all[key] = i
}

// seat is an instance as the document tells it.
func (j *join) seat(seat spec.HostSeat) figures.Instance {
	i := figures.Instance{
		App: string(seat.Seat.App), Seat: seat.Seat.Index, Instance: seat.Instance, Hostname: seat.Hostname, Task: seat.TaskID,
		Version: seat.AppVersion, Pool: seat.Pool, Managed: true, State: figures.Starting, Trouble: noContainer,
		Checks: checks(j.from.State, seat), Health: healthOf(j.from.State, seat),
	}
	if seat.Address.IsValid() {
		i.Address = seat.Address.String()
	}
	if t := j.running[seat.TaskID]; t != nil {
		fill(&i, t)
		if f := i.Figures; f != nil {
			for _, m := range seat.Containers {
				t.add(f, m.Name, j.running[m.TaskID])
			}
			j.advise(f, seat.TaskID, seat.CPUs)
		}
	}
	if seat.Drain {
		i.State = figures.Draining
	}
	return i
}

// advise adds what the quota keeper knows of a task, or of a container without one; base is what counts where it knows nothing.
func (j *join) advise(f *figures.Figures, key string, base float64) {
	u := j.from.Usage[key]
	f.CPU.Base, f.CPU.Lost, f.CPU.Advice = cmp.Or(u.Base, base), u.Lost, u.Advice
}

// labelled is a container's instance as its labels tell it.
func (j *join) labelled(task string, t *tracked) (figures.Instance, bool) {
	index, err := strconv.Atoi(t.Labels[spec.LabelSeat])
	if err != nil || index < 0 || t.Labels[spec.LabelContainer] != "" { // a pod's containers are part of their sandbox's seat
		return figures.Instance{}, false
	}
	seat := spec.SeatID{App: spec.AppID(t.Labels[spec.LabelApp]), Index: index}
	i := figures.Instance{
		App: string(seat.App), Seat: index, Instance: task, Hostname: seat.Hostname(), Task: task, Version: t.Labels[spec.LabelVersion],
		Managed: true, Health: figures.Unknown,
	}
	address(&i, t)
	fill(&i, t)
	if i.Figures != nil {
		j.advise(i.Figures, task, i.CPU.Base)
	}
	return i, true
}

// address is that in the network whose name comes first.
func address(i *figures.Instance, t *tracked) {
	for name, a := range t.Addresses {
		if i.Pool == "" || name < i.Pool {
			i.Pool, i.Address = name, a.String()
		}
	}
}

// fill adds what is known of the container. The figures are a copy, as what else is known of the instance is added to them.
func fill(i *figures.Instance, t *tracked) {
	i.State, i.Started, i.Trouble = figures.Running, t.StartedAt, t.trouble
	if t.figures != nil {
		f := *t.figures
		i.Figures = &f
	}
}

// healthOf is unknown until every probe has a result; a seat without probes is healthy.
func healthOf(state spec.HostState, seat spec.HostSeat) figures.Health {
	results := state.Health[seat.TaskID]
	for i, p := range seat.Probes {
		if p.Reported {
			continue
		}
		if i >= len(results) || !results[i].Known {
			return figures.Unknown
		}
	}
	if state.Healthy(seat) {
		return figures.Healthy
	}
	return figures.Unhealthy
}

// checks are the last results of a seat's probes.
func checks(state spec.HostState, seat spec.HostSeat) []figures.Check {
	if len(seat.Probes) == 0 {
		return nil
	}
	results := state.Health[seat.TaskID]
	all := make([]figures.Check, len(seat.Probes))
	for i, p := range seat.Probes {
		all[i] = figures.Check{Protocol: p.Protocol, Target: target(p), Health: figures.Unknown}
		if i < len(results) && results[i].Known {
			all[i].Health = figures.Unhealthy
			if results[i].Alive {
				all[i].Health = figures.Healthy
			}
		}
	}
	return all
}

// maxTarget bounds what is shown of a probe.
const maxTarget = 120

// target is what a probe asks. Of a command it is the program alone: its arguments may hold a password, and monitoring is read by many.
func target(p spec.Probe) string {
	text := ""
	for _, word := range strings.Fields(p.Command) {
		if !strings.Contains(word, "=") { // no setting of a variable
			text = word
			break
		}
	}
	switch {
	case p.Protocol != "COMMAND":
		text = net.JoinHostPort("", strconv.Itoa(p.Port)) + p.Path
	case len(p.Argv) > 0:
		text = p.Argv[0]
	}
	if len(text) <= maxTarget {
		return text
	}
	cut := maxTarget
	for cut > 0 && text[cut]&0xc0 == 0x80 { // not in the middle of a rune
		cut--
	}
	return text[:cut]
}

// count is what an instance has lived through, for as long as this process knows it.
type count struct {
	id      string // of the container
	started time.Time
	engine  int // restarts that the engine counted
	starts  int // beyond the first
	kills   uint64
	seen    time.Time
}

// remember is how long the counts of an instance that is gone are kept.
const remember = time.Hour

// ended keeps what is known of a container whose counters are about to begin anew, or to vanish.
func (s *Sampler) ended(t *tracked, killed bool) {
	t.close()
	c := s.counts[t.key]
	if c == nil {
		return
	}
	kills := uint64(0)
	if t.figures != nil {
		kills = t.figures.Memory.OOMKills
	}
	if killed && kills == 0 {
		kills = 1
	}
	c.kills += kills
}

// count adds to each instance how often it was started again and what its former containers died of.
func (s *Sampler) count(all []figures.Instance) {
	byKey := make(map[figures.Key]*tracked, len(s.tracked))
	for _, t := range s.tracked {
		if i := t.key; i != (figures.Key{}) {
			if have := byKey[i]; have == nil || have.StartedAt.Before(t.StartedAt) {
				byKey[i] = t
			}
		}
	}
	for n := range all {
		i := &all[n]
		key := i.Key()
		c, t := s.counts[key], byKey[key]
		if c == nil && t != nil {
			c = &count{id: t.ID, started: t.StartedAt, engine: t.RestartCount, starts: t.RestartCount}
			s.counts[key] = c
		}
		if c == nil {
			continue
		}
		c.seen = s.at
		if t != nil && (c.id != t.ID || !c.started.Equal(t.StartedAt)) {
			again := 1
			if c.id == t.ID { // the engine may have started it more often than was seen
				again = max(1, t.RestartCount-c.engine)
			}
			c.id, c.started, c.engine, c.starts = t.ID, t.StartedAt, t.RestartCount, c.starts+again
		}
		i.Restarts = c.starts
		if i.Figures != nil {
			i.Memory.OOMKills += c.kills
		}
	}
	for key, c := range s.counts {
		if s.at.Sub(c.seen) > remember {
			delete(s.counts, key)
		}
	}
}
