package zabbix

import (
	"strconv"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/zbxd"
	"github.com/berth-project/berth/spec"
)

// object appends the figures of one T as "name":value pairs, without those that it has not.
func object[T any](dst []byte, of *T, columns []column[T]) []byte {
	first := true
	for i := range columns {
		from := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, columns[i].name...)
		named := len(dst)
		if dst = columns[i].append(dst, of); len(dst) == named {
			dst = dst[:from]
			continue
		}
		first = false
	}
	return dst
}

func (v *View) hostJSON() []byte {
	return append(object([]byte{'{'}, v.snap, v.host), '}')
}

// AppendInstance appends all figures of one instance as an object: those of the instance by their names, and "interfaces" and
// "services" by theirs, each with the rows of a low-level discovery in "discovery".
func (t *Table) AppendInstance(dst []byte, i *figures.Instance) []byte {
	dst = object(append(dst, '{'), i, t.instance)
	dst = append(dst, `,"interfaces":{`...)
	var networks, services []byte
	if i.Figures != nil {
		for n := range i.Networks {
			if n > 0 {
				dst, networks = append(dst, ','), append(networks, ',')
			}
			dst = append(appendID(dst, i.Networks[n].Name), ":{"...)
			dst = append(object(dst, &Interface{&i.Networks[n], i}, t.network), '}')
			networks = append(named(networks, "{#INTERFACE}", i.Networks[n].Name), '}')
		}
	}
	dst = append(dst, `},"services":{`...)
	if i.Figures != nil {
		for n := range i.Services {
			if n > 0 {
				dst, services = append(dst, ','), append(services, ',')
			}
			dst = append(appendID(dst, i.Services[n].Name), ":{"...)
			dst = append(object(dst, &Service{&i.Services[n], i}, t.service), '}')
			services = append(named(services, "{#SERVICE}", i.Services[n].Name), '}')
		}
	}
	dst = append(append(dst, `},"discovery":{"interfaces":[`...), networks...)
	dst = append(append(dst, `],"services":[`...), services...)
	return append(dst, "]}}"...)
}

// named begins a row of a discovery: {"{#ID}":"eth0","MACRO":"eth0"
func named(dst []byte, macro, name string) []byte {
	dst = appendID(append(dst, `{"{#ID}":`...), name)
	return field(dst, macro, name)
}

func field(dst []byte, macro, value string) []byte {
	dst = append(append(append(dst, `,"`...), macro...), `":`...)
	return zbxd.AppendString(dst, []byte(value))
}

// appendID appends the names as one JSON string by which a JSONPath finds it. What a path would have to quote becomes _, as
// Zabbix puts the string into the path as it is.
func appendID(dst []byte, names ...string) []byte {
	dst = append(dst, '"')
	for _, name := range names {
		for i := range len(name) {
			switch c := name[i]; {
			case c <= ' ', c >= 0x7f, c == '"', c == '\'', c == '\\', c == '[', c == ']', c == '{', c == '}', c == '$', c == '`', c == '*', c == '?', c == '<', c == '>', c == '|', c == '&', c == ';', c == '(', c == ')', c == '#', c == '~', c == '!', c == '%':
				dst = append(dst, '_')
			default:
				dst = append(dst, c)
			}
		}
	}
	return append(dst, '"')
}

// rows are the parts of a list in their order: what discovery says of each, and its figures.
type rows struct {
	buf   []byte
	parts []part
	// whole is the list with everything, encoded when first asked for.
	all []byte
	// discovery is that alone.
	discovery []byte
}

// part is one of them: two ranges of the buffer.
type part struct {
	app                spec.AppID
	from, between, end int
}

func (r *rows) begin(app string) {
	r.parts = append(r.parts, part{app: spec.AppID(app), from: len(r.buf)})
}
func (r *rows) middle() { r.parts[len(r.parts)-1].between = len(r.buf) }
func (r *rows) finish() { r.parts[len(r.parts)-1].end = len(r.buf) }

func (r *rows) done(name string) *rows {
	every := func(spec.AppID) bool { return true }
	r.all, r.discovery = r.compose(name, every), r.compose("", every)
	return r
}

// compose puts those parts together whose app is wanted; without a name only what discovery says.
func (r *rows) compose(name string, wanted func(spec.AppID) bool) []byte {
	size := 64
	for _, p := range r.parts {
		if wanted(p.app) {
			size += p.end - p.from + 2
		}
	}
	dst := make([]byte, 0, size)
	if name != "" {
		dst = append(dst, `{"discovery":`...)
	}
	dst = r.join(append(dst, '['), wanted, func(p part) []byte { return r.buf[p.from:p.between] })
	dst = append(dst, ']')
	if name == "" {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":{`...)
	dst = r.join(dst, wanted, func(p part) []byte { return r.buf[p.between:p.end] })
	return append(dst, "}}"...)
}

func (r *rows) join(dst []byte, wanted func(spec.AppID) bool, pick func(part) []byte) []byte {
	first := true
	for _, p := range r.parts {
		if !wanted(p.app) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst, first = append(dst, pick(p)...), false
	}
	return dst
}

// whose appends what all rows of an instance say: the id, made of the instance's and more, and the instance's names.
func whose(dst []byte, i *figures.Instance, seat string, more ...string) []byte {
	dst = appendID(append(dst, `{"{#ID}":`...), append([]string{i.App, ".", seat}, more...)...)
	dst = field(dst, "{#APP}", i.App)
	dst = append(append(append(dst, `,"{#SEAT}":"`...), seat...), '"')
	dst = field(dst, "{#INSTANCE}", i.Instance)
	return field(dst, "{#HOSTNAME}", i.Hostname)
}

func (v *View) encodeInstances() *rows {
	r := &rows{}
	for n := range v.snap.Instances {
		i := &v.snap.Instances[n]
		seat := strconv.Itoa(i.Seat)
		r.begin(i.App)
		r.buf = whose(r.buf, i, seat)
		r.buf = field(r.buf, "{#IP}", i.Address)
		r.buf = field(r.buf, "{#POOL}", i.Pool)
		r.buf = append(field(r.buf, "{#STATE}", string(i.State)), '}')
		r.middle()
		r.buf = append(appendID(r.buf, i.App, ".", seat), ":{"...)
		r.buf = append(object(r.buf, i, v.instance), '}')
		r.finish()
	}
	return r.done("instances")
}

func (v *View) encodeNetworks() *rows {
	r := &rows{}
	for n := range v.snap.Instances {
		i := &v.snap.Instances[n]
		if i.Figures == nil {
			continue
		}
		seat := strconv.Itoa(i.Seat)
		for k := range i.Networks {
			name := i.Networks[k].Name
			r.begin(i.App)
			r.buf = append(field(whose(r.buf, i, seat, "/", name), "{#INTERFACE}", name), '}')
			r.middle()
			r.buf = append(appendID(r.buf, i.App, ".", seat, "/", name), ":{"...)
			r.buf = append(object(r.buf, &Interface{&i.Networks[k], i}, v.network), '}')
			r.finish()
		}
	}
	return r.done("networks")
}

func (v *View) encodeServices() *rows {
	r := &rows{}
	for n := range v.snap.Instances {
		i := &v.snap.Instances[n]
		if i.Figures == nil {
			continue
		}
		seat := strconv.Itoa(i.Seat)
		for k := range i.Services {
			name := i.Services[k].Name
			r.begin(i.App)
			r.buf = append(field(whose(r.buf, i, seat, "/", name), "{#SERVICE}", name), '}')
			r.middle()
			r.buf = append(appendID(r.buf, i.App, ".", seat, "/", name), ":{"...)
			r.buf = append(object(r.buf, &Service{&i.Services[k], i}, v.service), '}')
			r.finish()
		}
	}
	return r.done("services")
}
