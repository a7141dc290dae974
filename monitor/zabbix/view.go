package zabbix

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/spec"
)

// MaxAge is how old the figures may be when they are given out: a sampler that is stuck must not look like a quiet host.
const MaxAge = 5 * time.Minute

// Table is the figures by key, ready to be asked.
type Table struct {
	version   string
	instance  []column[figures.Instance]
	network   []column[figures.Interface]
	service   []column[figures.Service]
	host      []column[figures.Snapshot]
	instances map[string]int // key -> index in instance, and so on
	networks  map[string]int
	services  map[string]int
	hosts     map[string]int
}

// column is a figure with its name as JSON wants it: "name":
type column[T any] struct {
	name   string
	append func([]byte, *T) []byte
}

// NewTable makes the table; version is that of this program.
func NewTable(version string) *Table {
	t := &Table{version: version}
	t.instance, t.instances = columns(InstanceFigures())
	t.network, t.networks = columns(InterfaceFigures())
	t.service, t.services = columns(ServiceFigures())
	t.host, t.hosts = columns(HostFigures())
	return t
}

func columns[T any](list []Figure[T]) ([]column[T], map[string]int) {
	out, index := make([]column[T], len(list)), make(map[string]int, len(list))
	for i, f := range list {
		out[i] = column[T]{`"` + f.JSON() + `":`, f.Append}
		index[f.Key] = i
	}
	return out, index
}

// View is one snapshot with a table: what Zabbix is answered until the next one. It is encoded once, however often it is asked.
type View struct {
	*Table
	snap *figures.Index

	instanceRows, networkRows, serviceRows func() *rows
}

// View makes the view of a snapshot. One whose time is zero is that of a host that has not been sampled yet.
func (t *Table) View(x *figures.Index) *View {
	v := &View{Table: t, snap: x}
	v.instanceRows = sync.OnceValue(v.encodeInstances)
	v.networkRows = sync.OnceValue(v.encodeNetworks)
	v.serviceRows = sync.OnceValue(v.encodeServices)
	return v
}

// Answer gives a key's value, or the reason why there is none. The bytes are shared: nobody may change them. limit is the most
// that the way to Zabbix takes.
func (v *View) Answer(text string, now time.Time, limit int) ([]byte, error) {
	key, params, err := ParseKey(text)
	if err != nil {
		return nil, err
	}
	switch key {
	case "agent.ping":
		return []byte("1"), nil
	case "agent.version", "berth.version":
		return []byte(v.version), nil
	}
	if v.snap.At.IsZero() {
		return nil, fmt.Errorf("%s: no sample has been taken yet", key)
	}
	if age := now.Sub(v.snap.At); age > MaxAge {
		return nil, fmt.Errorf("%s: the newest figures are %s old: is the agent stuck?", key, age.Round(time.Second))
	}
	value, err := v.answer(key, params, limit)
	if err == nil && len(value) > limit {
		return nil, fmt.Errorf("%s is %d bytes here, at most %d are taken: ask by pages, as \"berth zabbix template --pages %d\" does, or by "+
			"groups, %s[/GROUP]", key, len(value), limit, v.pages(limit), key)
	}
	return value, err
}

func (v *View) answer(key string, params []string, limit int) ([]byte, error) {
	if f, ok := v.hosts[key]; ok {
		return some(key, v.host[f].append(nil, v.snap.Snapshot))
	}
	if f, ok := v.instances[key]; ok {
		return v.ofInstance(key, f, params)
	}
	if f, ok := v.networks[key]; ok {
		return v.ofInterface(key, f, params)
	}
	if f, ok := v.services[key]; ok {
		return v.ofService(key, f, params)
	}
	switch key {
	case "berth.ping":
		return []byte("1"), nil
	case "agent.hostname":
		return []byte(v.snap.Host.Name), nil
	case "berth.host":
		return v.hostJSON(), nil
	case "berth.pages":
		return strconv.AppendInt(nil, int64(v.pages(limit)), 10), nil
	case "berth.discovery", "berth.instances":
		return v.list(v.instanceRows(), key == "berth.discovery", params)
	case "berth.networks.discovery", "berth.networks":
		return v.list(v.networkRows(), key == "berth.networks.discovery", params)
	case "berth.services.discovery", "berth.services":
		return v.list(v.serviceRows(), key == "berth.services.discovery", params)
	}
	return nil, fmt.Errorf("unknown key %q", key)
}

// some is the value, unless there is none.
func some(what string, value []byte) ([]byte, error) {
	if len(value) == 0 {
		return nil, fmt.Errorf("%s has no value here", what)
	}
	return value, nil
}

// find gives the instance of the first two parameters; want is how many there must be.
func (v *View) find(key string, params []string, want int, names string) (*figures.Instance, error) {
	if len(params) != want {
		return nil, fmt.Errorf("%s takes %d parameters, [%s]", key, want, names)
	}
	seat, err := spec.ParseSeatID(params[0] + "." + params[1])
	if err != nil {
		return nil, err
	}
	i := v.snap.Find(string(seat.App), seat.Index)
	if i == nil {
		return nil, fmt.Errorf("no instance %s on this host", seat)
	}
	return i, nil
}

func (v *View) ofInstance(key string, f int, params []string) ([]byte, error) {
	i, err := v.find(key, params, 2, "APP,SEAT")
	if err != nil {
		return nil, err
	}
	value := v.instance[f].append(nil, i)
	if len(value) == 0 {
		return nil, fmt.Errorf("%s: %s", i.Key(), v.reason(key, i))
	}
	return value, nil
}

// reason says why an instance lacks a figure.
func (v *View) reason(key string, i *figures.Instance) string {
	switch {
	case i.Figures == nil && i.Trouble != "":
		return i.Trouble
	case i.Figures == nil:
		return "it has no running container"
	case strings.HasPrefix(key, "berth.net."):
		return "it uses the host's network"
	case strings.HasPrefix(key, "berth.services."):
		return "no S6 supervises services in it"
	case strings.HasSuffix(key, ".pct"):
		return "it has no limit for " + strings.TrimSuffix(strings.TrimPrefix(key, "berth."), ".pct")
	}
	return key + " has no value"
}

func (v *View) ofInterface(key string, f int, params []string) ([]byte, error) {
	i, err := v.find(key, params, 3, "APP,SEAT,INTERFACE")
	if err != nil {
		return nil, err
	}
	if i.Figures != nil {
		for n := range i.Networks {
			if i.Networks[n].Name == params[2] {
				return some(key, v.network[f].append(nil, &i.Networks[n]))
			}
		}
	}
	return nil, fmt.Errorf("%s has no network interface %q", i.Key(), params[2])
}

func (v *View) ofService(key string, f int, params []string) ([]byte, error) {
	i, err := v.find(key, params, 3, "APP,SEAT,SERVICE")
	if err != nil {
		return nil, err
	}
	if i.Figures != nil {
		for n := range i.Services {
			if i.Services[n].Name == params[2] {
				return some(key, v.service[f].append(nil, &i.Services[n]))
			}
		}
	}
	return nil, fmt.Errorf("%s has no service %q", i.Key(), params[2])
}
