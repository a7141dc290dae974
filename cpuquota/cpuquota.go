package cpuquota

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/cpuquota/policy"
	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// Inventory is the container inventory: the newest snapshot, and a channel that closes when it is no longer the newest.
type Inventory interface {
	Get() (docker.Snapshot, <-chan struct{})
}

// Options of a Keeper; State, Inventory, Groups and Log are needed.
type Options struct {
	State     *watch.Value[spec.HostState]
	Inventory Inventory
	Groups    *cgroup.FS
	Rules     policy.Rules
	Log       logrus.FieldLogger

	Every   time.Duration // between comparisons; 1 s
	Window  time.Duration // over which usage is measured; 10 s
	Publish time.Duration // between measurements of usage, and their publications; 5 s
}

// Validate fills in the defaults and reports every fault at once.
func (o *Options) Validate() error {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Window == 0 {
		o.Window = 10 * time.Second
	}
	if o.Publish == 0 {
		o.Publish = 5 * time.Second
	}
	var faults []error
	if o.State == nil || o.Inventory == nil || o.Groups == nil || o.Log == nil {
		faults = append(faults, errors.New("cpuquota: State, Inventory, Groups and Log are needed"))
	}
	if o.Every < 0 || o.Window < o.Every || o.Publish < 0 {
		faults = append(faults, errors.New("cpuquota: Every, Window and Publish must be positive, and Window at least Every"))
	}
	if r := o.Rules; r.Floor < 0 || r.Ceiling < 0 || r.Ceiling > 0 && r.Floor > r.Ceiling {
		faults = append(faults, fmt.Errorf("cpuquota: no quota is at least %v and at most %v cores", r.Floor, r.Ceiling))
	}
	return errors.Join(faults...)
}

// Keeper keeps the quotas of one host.
type Keeper struct {
	o     Options
	usage watch.Value[map[string]spec.Usage]
}

// New checks the options.
func New(o Options) (*Keeper, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Keeper{o: o}, nil
}

// Usage holds what the running containers use, by task id, or by the container's id when it is nobody's task; it changes when
// the figures move noticeably.
func (k *Keeper) Usage() *watch.Value[map[string]spec.Usage] { return &k.usage }

// Run compares, repairs and measures until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	l := newLoop(k.o, &k.usage)
	defer l.close()
	ticker := time.NewTicker(k.o.Every)
	defer ticker.Stop()
	tick, news := true, true
	for {
		state, stateChanged := k.o.State.Get()
		snapshot, inventoryChanged := k.o.Inventory.Get()
		now := time.Now()
		if news || l.due(now) {
			l.decide(now, state.Document, snapshot)
		}
		l.pass(now, tick)
		tick, news = false, false
		select {
		case <-ctx.Done():
			return nil
		case <-stateChanged: // a changed quota need not wait for the next second
			news = true
		case <-inventoryChanged:
			news = true
		case <-ticker.C:
			tick = true
		}
	}
}
