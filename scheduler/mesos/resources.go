package mesos

import (
	"math"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/spec"
)

// pool is what is left of the offered resources while the launches of one ACCEPT take their shares.
type pool struct {
	left []mesos.Resource // reserved ones first
	role string           // of resources that are not among the offered
}

// newPool copies what a task can use, so that the offers themselves are not changed.
func newPool(offered []mesos.Resource, role string) *pool {
	p := &pool{role: role}
	for _, r := range offered {
		if !plain(&r) {
			continue
		}
		if r.Scalar != nil {
			r.Scalar = &mesos.Value_Scalar{Value: r.Scalar.Value}
		}
		if r.Ranges != nil {
			r.Ranges = &mesos.Value_Ranges{Range: slices.Clone(r.Ranges.Range)}
		}
		p.left = append(p.left, r)
	}
	slices.SortStableFunc(p.left, func(a, b mesos.Resource) int { return unreserved(&a) - unreserved(&b) })
	return p
}

// unreserved is 1 when anybody could be given the resource, 0 when only our role could: that is used first.
func unreserved(r *mesos.Resource) int {
	if len(r.Reservations) > 0 || r.Reservation != nil || (r.Role != nil && *r.Role != "*") {
		return 0
	}
	return 1
}

// take removes the launch's share and returns it.
func (p *pool) take(l *spec.Launch) []mesos.Resource {
	var out []mesos.Resource
	out = p.takeScalar(out, "cpus", l.CPUs, l.Roles)
	out = p.takeScalar(out, "mem", l.Mem, l.Roles)
	out = p.takeScalar(out, "disk", l.Disk, l.Roles)
	return p.takePorts(out, l.HostPorts, l.Roles)
}

// accepts says whether a launch may use a resource: roles are those that it accepts, "*" standing for what is not reserved.
// Scheduler/place counted by the same rule.
func accepts(r *mesos.Resource, roles []string) bool {
	if len(roles) == 0 {
		return true
	}
	if unreserved(r) == 1 {
		return slices.Contains(roles, "*")
	}
	return slices.ContainsFunc(roles, func(role string) bool { return role != "*" })
}

func (p *pool) takeScalar(out []mesos.Resource, name string, wanted float64, roles []string) []mesos.Resource {
	wanted = round(wanted)
	for i := range p.left {
		r := &p.left[i]
		if r.Name != name || r.Scalar == nil || r.Scalar.Value <= 0 || wanted <= 0 || !accepts(r, roles) {
			continue
		}
		n := min(wanted, r.Scalar.Value)
		r.Scalar.Value, wanted = round(r.Scalar.Value-n), round(wanted-n)
		share := *r
		share.Scalar = &mesos.Value_Scalar{Value: n}
		out = append(out, share)
	}
	if wanted > 0 { // a resource of 0 would be refused
		out = append(out, p.unknown(name, mesos.SCALAR, mesos.Resource{Scalar: &mesos.Value_Scalar{Value: wanted}}))
	}
	return out
}

func (p *pool) takePorts(out []mesos.Resource, wanted []spec.PortRange, roles []string) []mesos.Resource {
	want := make([]mesos.Value_Range, 0, len(wanted))
	for _, w := range wanted {
		if w.Begin >= 0 && w.Begin <= w.End && w.End <= math.MaxUint16 {
			want = append(want, mesos.Value_Range{Begin: uint64(w.Begin), End: uint64(w.End)})
		}
	}
	for i := range p.left {
		r := &p.left[i]
		if r.Name != "ports" || r.Ranges == nil || len(want) == 0 || !accepts(r, roles) {
			continue
		}
		var got []mesos.Value_Range
		got, want, r.Ranges.Range = overlap(want, r.Ranges.Range)
		if len(got) > 0 {
			share := *r
			share.Ranges = &mesos.Value_Ranges{Range: got}
			out = append(out, share)
		}
	}
	if len(want) > 0 {
		out = append(out, p.unknown("ports", mesos.RANGES, mesos.Resource{Ranges: &mesos.Value_Ranges{Range: want}}))
	}
	return out
}

// overlap splits the ports wanted into those that are offered and the rest, and returns what stays offered.
func overlap(want, have []mesos.Value_Range) (got, missing, left []mesos.Value_Range) {
	for _, w := range want {
		rest := []mesos.Value_Range{w}
		left = nil
		for _, h := range have {
			var next []mesos.Value_Range
			hLeft := []mesos.Value_Range{h}
			for _, r := range rest {
				begin, end := max(r.Begin, h.Begin), min(r.End, h.End)
				if begin > end {
					next = append(next, r)
					continue
				}
				both := mesos.Value_Range{Begin: begin, End: end}
				got = append(got, both)
				next = append(next, minus(r, both)...)
				hLeft = minusAll(hLeft, both)
			}
			rest = next
			left = append(left, hLeft...)
		}
		have = left
		missing = append(missing, rest...)
	}
	return got, missing, have
}

func minusAll(ranges []mesos.Value_Range, b mesos.Value_Range) []mesos.Value_Range {
	var out []mesos.Value_Range
	for _, r := range ranges {
		out = append(out, minus(r, b)...)
	}
	return out
}

// minus is a without b.
func minus(a, b mesos.Value_Range) []mesos.Value_Range {
	if b.End < a.Begin || b.Begin > a.End {
		return []mesos.Value_Range{a}
	}
	var out []mesos.Value_Range
	if b.Begin > a.Begin {
		out = append(out, mesos.Value_Range{Begin: a.Begin, End: b.Begin - 1})
	}
	if b.End < a.End {
		out = append(out, mesos.Value_Range{Begin: b.End + 1, End: a.End})
	}
	return out
}

// unknown is a resource that no known offer holds.
func (p *pool) unknown(name string, t mesos.Value_Type, r mesos.Resource) mesos.Resource {
	r.Name, r.Type = name, t.Enum()
	if p.role != "" {
		r.AllocationInfo = &mesos.Resource_AllocationInfo{Role: &p.role}
	}
	return r
}
