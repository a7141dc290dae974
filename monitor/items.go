package monitor

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/spec"
)

// item is one key. Exactly one of the functions is set.
type item struct {
	host func(x *figures.Index, params []string) (string, error)  // of the host
	seat func(i *figures.Instance, now time.Time) (string, error) // [APP,SEAT], of any instance
	live func(i *figures.Instance) (value string, err error)      // [APP,SEAT], of a running one
}

// lookup gives the item of a key.
func lookup(key string) (item, bool) {
	switch key {
	case "berth.ping":
		return item{host: func(*figures.Index, []string) (string, error) { return "1", nil }}, true
	case "berth.version":
		return item{host: func(x *figures.Index, _ []string) (string, error) { return x.Version, nil }}, true
	case "berth.discovery":
		return item{host: discovery}, true
	case "berth.health":
		return item{seat: func(i *figures.Instance, _ time.Time) (string, error) { return strconv.Itoa(int(i.Health)), nil }}, true
	case "berth.uptime":
		return item{seat: uptime}, true
	case "berth.cpu.usage":
		return live(func(f *figures.Figures) string { return decimal(f.CPU.Used) }), true
	case "berth.cpu.quota":
		return live(func(f *figures.Figures) string { return decimal(f.CPU.Quota) }), true
	case "berth.cpu.throttled":
		return live(func(f *figures.Figures) string { return decimal(f.CPU.Share) }), true
	case "berth.mem.used":
		return live(func(f *figures.Figures) string { return strconv.FormatInt(f.Memory.Used, 10) }), true
	case "berth.mem.limit":
		return live(func(f *figures.Figures) string { return strconv.FormatInt(f.Memory.Limit, 10) }), true
	case "berth.mem.pct":
		return item{live: memoryShare}, true
	case "berth.net.in":
		return item{live: network(func(n figures.Interface) uint64 { return n.RxBytes })}, true
	case "berth.net.out":
		return item{live: network(func(n figures.Interface) uint64 { return n.TxBytes })}, true
	case "berth.procs":
		return live(func(f *figures.Figures) string { return strconv.FormatInt(f.Pids.Current, 10) }), true
	}
	return item{}, false
}

func live(value func(*figures.Figures) string) item {
	return item{live: func(i *figures.Instance) (string, error) { return value(i.Figures), nil }}
}

func memoryShare(i *figures.Instance) (string, error) {
	if i.Memory.Limit == 0 {
		return "", fmt.Errorf("%s has no memory limit", i.Key())
	}
	return decimal(100 * float64(i.Memory.Used) / float64(i.Memory.Limit)), nil
}

func network(pick func(figures.Interface) uint64) func(*figures.Instance) (string, error) {
	return func(i *figures.Instance) (string, error) {
		if i.Networks == nil {
			return "", fmt.Errorf("%s uses the host's network", i.Key())
		}
		sum := uint64(0)
		for _, n := range i.Networks {
			sum += pick(n)
		}
		return strconv.FormatUint(sum, 10), nil
	}
}

func uptime(i *figures.Instance, now time.Time) (string, error) {
	if i.Started.IsZero() {
		return "", fmt.Errorf("%s: %s", i.Key(), i.Trouble)
	}
	return strconv.FormatInt(int64(max(now.Sub(i.Started), 0)/time.Second), 10), nil
}

// decimal has at most four digits behind the point, which is what Zabbix keeps.
func decimal(v float64) string { return strconv.FormatFloat(math.Round(v*1e4)/1e4, 'f', -1, 64) }

// answer gives an item's value, or the reason why there is none.
func answer(x *figures.Index, request string, now time.Time) (string, error) {
	key, params, err := zabbix.ParseKey(request)
	if err != nil {
		return "", err
	}
	it, ok := lookup(key)
	if !ok {
		return "", fmt.Errorf("unknown key %q", key)
	}
	if it.host != nil {
		return it.host(x, params)
	}
	i, err := find(x, key, params)
	if err != nil {
		return "", err
	}
	if it.seat != nil {
		return it.seat(i, now)
	}
	if i.Figures == nil {
		return "", fmt.Errorf("%s: %s", i.Key(), i.Trouble)
	}
	return it.live(i)
}

func find(x *figures.Index, key string, params []string) (*figures.Instance, error) {
	if len(params) != 2 {
		return nil, fmt.Errorf("%s takes two parameters, [APP,SEAT]", key)
	}
	seat, err := spec.ParseSeatID(params[0] + "." + params[1])
	if err != nil {
		return nil, err
	}
	i := x.Find(string(seat.App), seat.Index)
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
func discovery(x *figures.Index, params []string) (string, error) {
	group := spec.AppID("/")
	if len(params) > 0 && params[0] != "" {
		group = spec.AppID(params[0])
	}
	rows := make([]row, 0, len(x.Instances))
	for n := range x.Instances {
		i := &x.Instances[n]
		if !spec.AppID(i.App).In(group) {
			continue
		}
		rows = append(rows, row{
			App: i.App, Seat: strconv.Itoa(i.Seat), Instance: i.Instance, Hostname: i.Hostname, IP: i.Address, Pool: i.Pool, State: string(i.State),
		})
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
