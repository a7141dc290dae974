package registrator

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// Registrator keeps one host's instances in Consul.
type Registrator struct {
	o       Options
	agent   *agent
	drained watch.Value[map[string]spec.Drain]
}

// New checks the options and reads the token; it does not talk to Consul yet.
func New(o Options) (*Registrator, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	a, err := newAgent(o)
	if err != nil {
		return nil, err
	}
	return &Registrator{o: o, agent: a}, nil
}

// Drained holds, by id, the draining tasks that are out of Consul, or whose time for it is over.
func (r *Registrator) Drained() *watch.Value[map[string]spec.Drain] { return &r.drained }

// Run converges until ctx ends. A Consul agent that does not answer is no error: it is asked again, ever more slowly.
// What is registered stays when Run returns.
func (r *Registrator) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	l := newLoop(ctx, r)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		state, stateChanged := r.o.State.Get()
		snapshot, inventoryChanged := r.o.Inventory.Get()
		if stateChanged != l.seenState || inventoryChanged != l.seenInventory {
			l.seenState, l.seenInventory = stateChanged, inventoryChanged
			l.look(state, snapshot)
		}
		timer.Reset(l.converge(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case <-stateChanged:
		case <-inventoryChanged:
		case result := <-l.results:
			result(time.Now())
		case <-timer.C:
		}
	}
}

func (r *Registrator) log() *logrus.Entry {
	return r.o.Log.WithFields(logrus.Fields{"component": "registrator", "host": r.o.Host})
}
