package place

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Spare is what hosts are known to have left, whether they offer it at this moment or not. It answers whether instances that leave a host
// would find another one, before anything of them is stopped; where they really go is decided when they are launched.
type Spare struct {
	hosts    []Known // CPUs and the others are what is free
	reserved map[spec.AppID]booking
}

// booking is where room was taken for instances of an app.
type booking struct {
	app   *spec.App
	hosts []int
}

// NewSpare begins with what is free on hosts. The slice is taken over.
func NewSpare(hosts []Known) *Spare {
	return &Spare{hosts: hosts, reserved: map[spec.AppID]booking{}}
}

// Moves is for how many of the app's tasks that leave their hosts others have room, all at once, and why they have for no more. leaving are
// the fields of those tasks (see Fields), which no longer count for the constraints once they go (nil: of one beside them); never says why a host cannot have the
// app's instances whatever is free, "" when it can.
func (s *Spare) Moves(app *spec.App, tally *Tally, leaving []map[string]string, never func(host string) string) (n int, why []string) {
	rs, taken := newRules(app, tally), make([]int, len(s.hosts))
	var gone, came []map[string]string
	defer func() {
		for _, f := range came {
			tally.add(f, -1)
		}
		for _, f := range gone {
			tally.add(f, 1)
		}
	}()
	at := 0 // hosts before it never have room again: they are full, or nothing may run there
	for _, fields := range leaving {
		tally.add(fields, -1)
		gone = append(gone, fields)
		i := s.find(app, rs, taken, at, never)
		if i == len(s.hosts) {
			tally.add(fields, 1)
			gone = gone[:len(gone)-1]
			break
		}
		if len(rs.list) == 0 {
			at = i
		}
		taken[i]++
		tally.add(s.hosts[i].Fields, 1)
		came = append(came, s.hosts[i].Fields)
		n++
	}
	if n < len(leaving) {
		tally.add(leaving[n], -1) // the constraints are told as they would be for it
		why = s.lacks(app, rs, taken, never)
		tally.add(leaving[n], 1)
	}
	return n, why
}

// find is the first host that can take one more; len(s.hosts): none can.
func (s *Spare) find(app *spec.App, rs *rules, taken []int, from int, never func(host string) string) int {
	for i := from; i < len(s.hosts); i++ {
		h := &s.hosts[i]
		if short(app, h, taken[i]) == "" && !rs.excludes(h.Fields) && !rs.full(h.Fields) && never(h.Host) == "" {
			return i
		}
	}
	return len(s.hosts)
}

// lacks says for each host why it can take none, for the first few.
func (s *Spare) lacks(app *spec.App, rs *rules, taken []int, never func(host string) string) []string {
	if len(s.hosts) == 0 {
		return []string{"none is known"}
	}
	var out []string
	for i := range s.hosts {
		if len(out) == MaxRefused {
			break
		}
		h := &s.hosts[i]
		why := never(h.Host)
		for _, more := range []string{rs.never(h.Fields), short(app, h, taken[i]), rs.violated(h.Fields)} {
			if why == "" {
				why = more
			}
		}
		out = append(out, h.Host+": "+why)
	}
	slices.Sort(out)
	return []string{some(out)}
}

// short says what a host has too little of for one more instance beside those that it takes already.
func short(app *spec.App, h *Known, taken int) string {
	var parts []string
	for _, r := range [...]struct {
		name, unit string
		want, free float64
	}{{"cpus", "", app.Held(), h.CPUs}, {"memory", " MiB", app.Mem, h.Mem}, {"disk", " MiB", app.Disk, h.Disk}, {"gpus", "", float64(app.GPUs), h.GPUs}} {
		if free := r.free - float64(taken)*r.want; r.want > free+slack {
			parts = append(parts, fmt.Sprintf("%s: %s%s wanted, %s%s free", r.name, number(r.want), r.unit, number(max(0, free)), r.unit))
		}
	}
	return strings.Join(parts, ", ")
}

// Take books n instances of the app wherever there is room: nobody else can count on it.
func (s *Spare) Take(app *spec.App, n int) { s.take(app, n) }

func (s *Spare) take(app *spec.App, n int) (on []int) {
	for i := 0; i < len(s.hosts) && n > 0; {
		h := &s.hosts[i]
		if short(app, h, 0) != "" {
			i++
			continue
		}
		h.CPUs, h.Mem, h.Disk, h.GPUs = h.CPUs-app.Held(), h.Mem-app.Mem, h.Disk-app.Disk, h.GPUs-float64(app.GPUs)
		on = append(on, i)
		n--
	}
	return on
}

// Reserve books n instances until the app itself asks (Release): what it has begun it shall be able to end.
func (s *Spare) Reserve(app *spec.App, n int) {
	s.Release(app.ID)
	if on := s.take(app, n); len(on) > 0 {
		s.reserved[app.ID] = booking{app, on}
	}
}

// Release gives back what was reserved for an app.
func (s *Spare) Release(id spec.AppID) {
	b := s.reserved[id]
	for _, i := range b.hosts {
		h := &s.hosts[i]
		h.CPUs, h.Mem, h.Disk, h.GPUs = h.CPUs+b.app.Held(), h.Mem+b.app.Mem, h.Disk+b.app.Disk, h.GPUs+float64(b.app.GPUs)
	}
	delete(s.reserved, id)
}
