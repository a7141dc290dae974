package monitor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/sampler"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/spec"
)

// Inventory is the container inventory: the newest snapshot, and a channel that closes when it is no longer the newest.
type Inventory interface {
	Get() (docker.Snapshot, <-chan struct{})
}

// Options of a Monitor; State, Inventory, Groups, Socket and Log are needed.
type Options struct {
	State     *watch.Value[spec.HostState]
	Inventory Inventory
	Groups    *cgroup.FS
	Proc      string // "" for /proc
	Socket    string // the unix socket that answers items
	// SocketGroup may talk to the socket. Empty: "zabbix", if the host has that group, otherwise the process's own.
	SocketGroup string
	// Listen is an address of TCP that speaks the protocol of a Zabbix agent. Empty: none.
	Listen string
	// Allow are the networks whose processes may ask there. Empty: this machine's own.
	Allow   []netip.Prefix
	Host    string // its name
	Version string // what berth.version answers
	Log     logrus.FieldLogger

	Usage   *watch.Value[map[string]spec.Usage] // what the quota keeper knows, by task; nil: nothing
	DataDir *watch.Value[string]                // Docker's data folder, once it is known; nil: unknown

	Outputs Outputs

	Every  time.Duration // between samples; 10 s
	Window time.Duration // over which rates are averaged; 60 s, the usual time between two polls of an item
}

// Validate fills in the defaults and reports every fault at once.
func (o *Options) Validate() error {
	if o.Every == 0 {
		o.Every = 10 * time.Second
	}
	if o.Window == 0 {
		o.Window = max(time.Minute, o.Every)
	}
	if len(o.Allow) == 0 {
		o.Allow = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 32), netip.PrefixFrom(netip.IPv6Loopback(), 128)}
	}
	if o.Proc == "" {
		o.Proc = cgroup.DefaultProc
	}
	var faults []error
	if o.State == nil || o.Inventory == nil || o.Groups == nil || o.Log == nil {
		faults = append(faults, errors.New("monitor: State, Inventory, Groups and Log are needed"))
	}
	if o.Socket == "" {
		faults = append(faults, errors.New("monitor: no socket path"))
	}
	if o.Every < 0 || o.Window < o.Every {
		faults = append(faults, errors.New("monitor: Every must be positive, and Window at least Every"))
	}
	return errors.Join(append(faults, o.Outputs.Validate())...)
}

// Monitor samples one host's instances and answers for them.
type Monitor struct {
	o       Options
	log     logrus.FieldLogger
	sampler *sampler.Sampler
	newest  watch.Value[*figures.Index]
	table   *zabbix.Table
	view    atomic.Pointer[zabbix.View] // of the newest
}

// New checks the options.
func New(o Options) (*Monitor, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m := &Monitor{o: o, log: o.Log.WithField("component", "monitor"), table: zabbix.NewTable(o.Version)}
	var err error
	m.sampler, err = sampler.New(sampler.Options{
		Groups: o.Groups, Proc: o.Proc, Every: o.Every, Window: o.Window, Host: o.Host, Version: o.Version, Log: m.log,
	})
	if err != nil {
		return nil, err
	}
	m.publish(&figures.Snapshot{Version: o.Version, Host: figures.Host{Name: o.Host}})
	return m, nil
}

// Newest is the newest snapshot, indexed, and a channel that closes when it is no longer the newest. It is replaced as a whole by
// the sampler, and whoever answers takes the newest one. Before the first sample its time is zero and it has no instances.
func (m *Monitor) Newest() (*figures.Index, <-chan struct{}) { return m.newest.Get() }

// publish makes a snapshot the newest.
func (m *Monitor) publish(s *figures.Snapshot) {
	x := figures.NewIndex(s)
	m.view.Store(m.table.View(x))
	m.newest.Set(x)
}

// Run samples and serves the socket and the port until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	doors, err := m.open(ctx)
	if err != nil {
		return fmt.Errorf("serve Zabbix items: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	works, err := m.outputs(ctx)
	if err != nil {
		for _, d := range doors {
			d.Close()
		}
		return err
	}
	for _, d := range doors {
		works = append(works, func() error { return m.serve(ctx, d) })
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { m.sample(ctx) })
	faults := make([]error, len(works))
	for i, work := range works {
		wait.Go(func() {
			defer stop() // one output less would look as if all were well
			faults[i] = work()
		})
	}
	<-ctx.Done()
	wait.Wait()
	return errors.Join(faults...)
}

// sample keeps the newest snapshot new until ctx ends.
func (m *Monitor) sample(ctx context.Context) {
	defer m.sampler.Close()
	ticker := time.NewTicker(m.o.Every)
	defer ticker.Stop()
	measure := true
	for {
		from := sampler.Sources{}
		var stateChanged, inventoryChanged <-chan struct{}
		from.State, stateChanged = m.o.State.Get()
		from.Inventory, inventoryChanged = m.o.Inventory.Get()
		if m.o.Usage != nil {
			from.Usage, _ = m.o.Usage.Get()
		}
		if m.o.DataDir != nil {
			from.DataDir, _ = m.o.DataDir.Get()
		}
		m.publish(m.sampler.Pass(from, measure))
		measure = false
		select {
		case <-ctx.Done():
			return
		case <-stateChanged:
		case <-inventoryChanged:
		case <-ticker.C:
			measure = true
		}
	}
}
