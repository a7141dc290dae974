package standalone

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// bundle is an amount of the agent's resources. Scalars are counted in thousandths, as Mesos does, so that sums are exact.
type bundle struct {
	cpus, mem, disk int64
	ports           []span // sorted, apart from each other
}

// span is a range of ports, both ends included.
type span struct{ begin, end uint64 }

func milli(f float64) int64 { return int64(math.Round(f * 1000)) }

func (b bundle) empty() bool { return b.cpus == 0 && b.mem == 0 && b.disk == 0 && len(b.ports) == 0 }

func (b bundle) plus(o bundle) bundle {
	return bundle{b.cpus + o.cpus, b.mem + o.mem, b.disk + o.disk, join(b.ports, o.ports)}
}

// minus leaves out what o has; scalars do not go below zero (recovered tasks may use more than is offered today).
func (b bundle) minus(o bundle) bundle {
	return bundle{max(0, b.cpus-o.cpus), max(0, b.mem-o.mem), max(0, b.disk-o.disk), cut(b.ports, o.ports)}
}

func (b bundle) contains(o bundle) bool {
	return b.cpus >= o.cpus && b.mem >= o.mem && b.disk >= o.disk && len(cut(o.ports, b.ports)) == 0
}

// allocatable is Mesos's rule of what is worth an offer.
func (b bundle) allocatable() bool { return b.cpus >= 10 || b.mem >= 32000 }

func join(a, b []span) []span {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y span) int {
		switch {
		case x.begin < y.begin:
			return -1
		case x.begin > y.begin:
			return 1
		}
		return 0
	})
	var out []span
	for _, s := range all {
		if n := len(out); n > 0 && s.begin <= out[n-1].end+1 {
			out[n-1].end = max(out[n-1].end, s.end)
			continue
		}
		out = append(out, s)
	}
	return out
}

func cut(from, away []span) []span {
	out := slices.Clone(from)
	for _, a := range away {
		var next []span
		for _, s := range out {
			if a.end < s.begin || s.end < a.begin {
				next = append(next, s)
				continue
			}
			if s.begin < a.begin {
				next = append(next, span{s.begin, a.begin - 1})
			}
			if a.end < s.end {
				next = append(next, span{a.end + 1, s.end})
			}
		}
		out = next
	}
	return out
}

// fromResources adds up what a task asks for. Kinds that this agent does not have make the task more than the offer.
func fromResources(rs []mesos.Resource) (bundle, error) {
	var b bundle
	for _, r := range rs {
		v := r.GetScalar().GetValue()
		if math.IsNaN(v) || v < 0 || v > 1<<40 {
			return bundle{}, fmt.Errorf("Task uses invalid resources: %s:%v", r.Name, v) //nolint:staticcheck // Mesos's words
		}
		switch r.Name {
		case "cpus":
			b.cpus += milli(v)
		case "mem":
			b.mem += milli(v)
		case "disk":
			b.disk += milli(v)
		case "ports":
			for _, p := range r.GetRanges().GetRange() {
				if p.End < p.Begin || p.End > 65535 {
					return bundle{}, fmt.Errorf("Task uses invalid resources: ports:[%d-%d]", p.Begin, p.End) //nolint:staticcheck // Mesos's words
				}
				b.ports = join(b.ports, []span{{p.Begin, p.End}})
			}
		default:
			if v > 0 {
				return bundle{}, fmt.Errorf("Total resources %s:%v required by task and its executor is more than available: this agent has no %s", r.Name, v, r.Name) //nolint:staticcheck // Mesos's words
			}
		}
	}
	return b, nil
}

// resources is the wire form, in the order of a Mesos agent.
func (b bundle) resources(role string) []mesos.Resource {
	var out []mesos.Resource
	star := "*"
	allocation := &mesos.Resource_AllocationInfo{Role: &role}
	if len(b.ports) > 0 {
		kind := mesos.RANGES
		r := mesos.Resource{Name: "ports", Type: &kind, Ranges: &mesos.Value_Ranges{}, Role: &star, AllocationInfo: allocation}
		for _, p := range b.ports {
			r.Ranges.Range = append(r.Ranges.Range, mesos.Value_Range{Begin: p.begin, End: p.end})
		}
		out = append(out, r)
	}
	for _, s := range []struct {
		name  string
		value int64
	}{{"cpus", b.cpus}, {"mem", b.mem}, {"disk", b.disk}} {
		if s.value > 0 {
			kind := mesos.SCALAR
			out = append(out, mesos.Resource{
				Name: s.name, Type: &kind, Scalar: &mesos.Value_Scalar{Value: float64(s.value) / 1000}, Role: &star, AllocationInfo: allocation,
			})
		}
	}
	return out
}

// text is Mesos's way of writing resources in messages.
func (b bundle) text(role string) string {
	var parts []string
	if len(b.ports) > 0 {
		parts = append(parts, "ports(allocated: "+role+"):["+spansText(b.ports)+"]")
	}
	for _, s := range []struct {
		name  string
		value int64
	}{{"cpus", b.cpus}, {"mem", b.mem}, {"disk", b.disk}} {
		if s.value > 0 {
			parts = append(parts, s.name+"(allocated: "+role+"):"+strconv.FormatFloat(float64(s.value)/1000, 'f', -1, 64))
		}
	}
	return strings.Join(parts, "; ")
}

func spansText(ports []span) string {
	var out []string
	for _, p := range ports {
		out = append(out, fmt.Sprintf("%d-%d", p.begin, p.end))
	}
	return strings.Join(out, ", ")
}

func parseSpans(text string) ([]span, error) {
	var out []span
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		begin, end, ok := strings.Cut(part, "-")
		b, err := strconv.ParseUint(begin, 10, 16)
		if err != nil || !ok {
			return nil, fmt.Errorf("%q is no port range", part)
		}
		e, err := strconv.ParseUint(end, 10, 16)
		if err != nil || e < b {
			return nil, fmt.Errorf("%q is no port range", part)
		}
		out = join(out, []span{{b, e}})
	}
	return out, nil
}
