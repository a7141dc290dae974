package zabbix

import (
	"slices"
	"strconv"
	"sync"

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
		dst = quoteLong(dst, named)
		first = false
	}
	return dst
}

// maxDigits is how long a number is that Zabbix takes out of JSON as it is. It prints it with 15 digits where that is the same number, and
// one of 16 with a 0 at the end then as 1.79533787455944E+15, which is no unsigned number to it (seen with 6.0.14).
const maxDigits = 15

// quoteLong makes a string of a longer number that is the rest of dst.
func quoteLong(dst []byte, from int) []byte {
	if len(dst)-from <= maxDigits || dst[from] != '-' && (dst[from] < '0' || dst[from] > '9') {
		return dst
	}
	return append(slices.Insert(dst, from, '"'), '"')
}

func (v *View) hostJSON() []byte {
	return append(object([]byte{'{'}, v.snap.Snapshot, v.host), '}')
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
			dst = append(object(dst, &i.Networks[n], t.network), '}')
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
			dst = append(object(dst, &i.Services[n], t.service), '}')
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
			c := name[i]
			if !plain(c) {
				c = '_'
			}
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '-' && c <= ':' || c >= '@' && c <= 'Z' || c == '_' || c == '+'
}

// pieces are a list's members, encoded one after the other.
type pieces struct {
	buf  []byte
	ends []int
}

func (p *pieces) finish() { p.ends = append(p.ends, len(p.buf)) }

func (p *pieces) at(i int) []byte {
	from := 0
	if i > 0 {
		from = p.ends[i-1]
	}
	return p.buf[from:p.ends[i]]
}

// rows are a list: whose each member is, what discovery says of it, and, from when it is first asked for on, its figures.
type rows struct {
	name string
	apps []spec.AppID
	pieces
	discovery []byte // of all
	figures   func() *pieces
	master    func() []byte // the JSON of all
}

// newRows finishes r, whose discovery is encoded. figures appends those of one member after the other.
func newRows(name string, r *rows, figures func(*pieces)) *rows {
	r.name = name
	r.discovery = r.compose(false, nil)
	r.figures = sync.OnceValue(func() *pieces {
		p := &pieces{ends: make([]int, 0, len(r.ends)), buf: make([]byte, 0, 3*len(r.buf))}
		figures(p)
		return p
	})
	r.master = sync.OnceValue(func() []byte { return r.compose(true, nil) })
	return r
}

// compose puts those members together whose app is wanted (nil: all): with their figures, or only what discovery says.
func (r *rows) compose(figures bool, wanted func(spec.AppID) bool) []byte {
	size := 64 + len(r.buf) + len(r.ends)
	if !figures {
		return append(r.join(append(make([]byte, 0, size), '['), &r.pieces, wanted), ']')
	}
	of := r.figures()
	size += len(of.buf) + len(of.ends)
	if wanted != nil {
		size /= 4 // as a page among several
	}
	dst := append(make([]byte, 0, size), `{"discovery":[`...)
	dst = append(append(r.join(dst, &r.pieces, wanted), `],"`...), r.name...)
	return append(r.join(append(dst, `":{`...), of, wanted), "}}"...)
}

func (r *rows) join(dst []byte, p *pieces, wanted func(spec.AppID) bool) []byte {
	first := true
	for i, app := range r.apps {
		if wanted != nil && !wanted(app) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst, first = append(dst, p.at(i)...), false
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
	all := v.snap.Instances
	r := &rows{apps: make([]spec.AppID, 0, len(all)), pieces: pieces{buf: make([]byte, 0, 320*len(all)), ends: make([]int, 0, len(all))}}
	for n := range all {
		i := &all[n]
		r.apps = append(r.apps, spec.AppID(i.App))
		r.buf = whose(r.buf, i, strconv.Itoa(i.Seat))
		r.buf = field(r.buf, "{#IP}", i.Address)
		r.buf = field(r.buf, "{#POOL}", i.Pool)
		r.buf = append(field(r.buf, "{#STATE}", string(i.State)), '}')
		r.finish()
	}
	return newRows("instances", r, func(p *pieces) {
		for n := range all {
			p.buf = append(appendID(p.buf, all[n].App, ".", strconv.Itoa(all[n].Seat)), ":{"...)
			p.buf = append(object(p.buf, &all[n], v.instance), '}')
			p.finish()
		}
	})
}

// encodeParts encodes what instances have several of.
func encodeParts[T any](v *View, list, macro string, of func(*figures.Instance) []T, name func(*T) string, columns []column[T]) *rows {
	r := &rows{}
	every := func(do func(i *figures.Instance, seat string, part *T)) {
		for n := range v.snap.Instances {
			if i := &v.snap.Instances[n]; i.Figures != nil {
				seat, parts := strconv.Itoa(i.Seat), of(i)
				for k := range parts {
					do(i, seat, &parts[k])
				}
			}
		}
	}
	every(func(i *figures.Instance, seat string, part *T) {
		r.apps = append(r.apps, spec.AppID(i.App))
		r.buf = append(field(whose(r.buf, i, seat, "/", name(part)), macro, name(part)), '}')
		r.finish()
	})
	return newRows(list, r, func(p *pieces) {
		every(func(i *figures.Instance, seat string, part *T) {
			p.buf = append(appendID(p.buf, i.App, ".", seat, "/", name(part)), ":{"...)
			p.buf = append(object(p.buf, part, columns), '}')
			p.finish()
		})
	})
}

func (v *View) encodeNetworks() *rows {
	return encodeParts(v, "networks", "{#INTERFACE}", func(i *figures.Instance) []figures.Interface { return i.Networks },
		func(n *figures.Interface) string { return n.Name }, v.network)
}

func (v *View) encodeServices() *rows {
	return encodeParts(v, "services", "{#SERVICE}", func(i *figures.Instance) []figures.Service { return i.Services },
		func(s *figures.Service) string { return s.Name }, v.service)
}
