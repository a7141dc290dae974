package monitor

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/spec"
)

// table is what the items answer from; it never changes.
type table struct {
	version   string
	instances []instance
	bySeat    map[spec.SeatID]*instance
}

func newTable(instances []instance, version string) *table {
	t := &table{version: version, instances: instances, bySeat: make(map[spec.SeatID]*instance, len(instances))}
	for i := range instances {
		t.bySeat[instances[i].seat] = &instances[i]
	}
	return t
}

// item is one key. Exactly one of the two functions is set.
type item struct {
	host func(t *table, params []string) (string, error)         // of the host
	seat func(i *instance, now time.Time) (string, error)        // [APP,SEAT], of any instance
	live func(i *instance, f *figures) (value string, err error) // [APP,SEAT], of a running one
}

// lookup gives the item of a key.
func lookup(key string) (item, bool) {
	switch key {
	case "berth.ping":
		return item{host: func(*table, []string) (string, error) { return "1", nil }}, true
	case "berth.version":
		return item{host: func(t *table, _ []string) (string, error) { return t.version, nil }}, true
	case "berth.discovery":
		return item{host: discovery}, true
	case "berth.health":
		return item{seat: func(i *instance, _ time.Time) (string, error) { return strconv.Itoa(i.health), nil }}, true
	case "berth.uptime":
		return item{seat: uptime}, true
	case "berth.cpu.usage":
		return live(func(f *figures) string { return decimal(f.cpu) }), true
	case "berth.cpu.quota":
		return live(func(f *figures) string { return decimal(f.quota.Cores()) }), true
	case "berth.cpu.throttled":
		return live(func(f *figures) string { return decimal(f.throttled) }), true
	case "berth.mem.used":
		return live(func(f *figures) string { return strconv.FormatInt(f.stats.Memory, 10) }), true
	case "berth.mem.limit":
		return live(func(f *figures) string { return strconv.FormatInt(f.stats.MemoryLimit, 10) }), true
	case "berth.mem.pct":
		return item{live: memoryShare}, true
	case "berth.net.in":
		return item{live: network(func(t traffic) uint64 { return t.in })}, true
	case "berth.net.out":
		return item{live: network(func(t traffic) uint64 { return t.out })}, true
	case "berth.procs":
		return live(func(f *figures) string { return strconv.FormatInt(f.stats.Pids, 10) }), true
	}
	return item{}, false
}

func live(value func(*figures) string) item {
	return item{live: func(_ *instance, f *figures) (string, error) { return value(f), nil }}
}

func memoryShare(i *instance, f *figures) (string, error) {
	if f.stats.MemoryLimit == 0 {
		return "", fmt.Errorf("%s has no memory limit", i.seat)
	}
	return decimal(100 * float64(f.stats.Memory) / float64(f.stats.MemoryLimit)), nil
}

func network(pick func(traffic) uint64) func(*instance, *figures) (string, error) {
	return func(i *instance, f *figures) (string, error) {
		if !f.ownNet {
			return "", fmt.Errorf("%s uses the host's network", i.seat)
		}
		return strconv.FormatUint(pick(f.traffic), 10), nil
	}
}

func uptime(i *instance, now time.Time) (string, error) {
	if i.started.IsZero() {
		return "", fmt.Errorf("%s: %s", i.seat, i.trouble)
	}
	return strconv.FormatInt(int64(max(now.Sub(i.started), 0)/time.Second), 10), nil
}

// decimal has at most four digits behind the point, which is what Zabbix keeps.
func decimal(v float64) string { return strconv.FormatFloat(math.Round(v*1e4)/1e4, 'f', -1, 64) }

// answer gives an item's value, or the reason why there is none.
func (t *table) answer(request string, now time.Time) (string, error) {
	key, params, err := zabbix.ParseKey(request)
	if err != nil {
		return "", err
	}
	it, ok := lookup(key)
	if !ok {
		return "", fmt.Errorf("unknown key %q", key)
	}
	if it.host != nil {
		return it.host(t, params)
	}
	i, err := t.find(key, params)
	if err != nil {
		return "", err
	}
	if it.seat != nil {
		return it.seat(i, now)
	}
	if i.figures == nil {
		return "", fmt.Errorf("%s: %s", i.seat, i.trouble)
	}
	return it.live(i, i.figures)
}

func (t *table) find(key string, params []string) (*instance, error) {
	if len(params) != 2 {
		return nil, fmt.Errorf("%s takes two parameters, [APP,SEAT]", key)
	}
	seat, err := spec.ParseSeatID(params[0] + "." + params[1])
	if err != nil {
		return nil, err
	}
	i := t.bySeat[seat]
	if i == nil {
		return nil, fmt.Errorf("no instance %s on this host", seat)
	}
	return i, nil
}

// maxDiscovery is the most that zabbix_agentd takes from a UserParameter: 512 KB. It would cut the rest off, and the
// server would refuse the broken JSON, so nothing above is answered.
const maxDiscovery = 512<<10 - 1

// row is one instance in a discovery answer.
type row struct {
	App      string `json:"{#APP}"`
	Seat     string `json:"{#SEAT}"`
	Instance string `json:"{#INSTANCE}"`
	Hostname string `json:"{#HOSTNAME}"`
	IP       string `json:"{#IP}"`
	Pool     string `json:"{#POOL}"`
	State    string `json:"{#STATE}"`
}

// discovery lists the host's instances as low-level discovery wants them; a parameter restricts it to one group or app,
// so that very large hosts can be discovered in parts.
func discovery(t *table, params []string) (string, error) {
	group := spec.AppID("/")
	if len(params) > 0 && params[0] != "" {
		group = spec.AppID(params[0])
	}
	rows := make([]row, 0, len(t.instances))
	for _, i := range t.instances {
		if !i.seat.App.In(group) {
			continue
		}
		r := row{
			App: string(i.seat.App), Seat: strconv.Itoa(i.seat.Index), Instance: i.id, Hostname: i.hostname, Pool: i.pool, State: i.state,
		}
		if i.address.IsValid() {
			r.IP = i.address.String()
		}
		rows = append(rows, r)
	}
	b, err := json.Marshal(rows)
	if err != nil {
		return "", fmt.Errorf("encode the discovery: %w", err)
	}
	if len(b) > maxDiscovery {
		return "", fmt.Errorf("the discovery of %d instances is %d bytes, Zabbix takes at most %d: discover group by group with berth.discovery[/GROUP]",
			len(rows), len(b), maxDiscovery)
	}
	return string(b), nil
}
