package scheduler

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// Engine is the Mesos v1 scheduler API as the loop uses it; *mesos.Client is the real one.
type Engine interface {
	// Run keeps the subscription alive and delivers its events until ctx ends.
	Run(ctx context.Context, events chan<- mesos.Event) error
	Accept(ctx context.Context, offerIDs []string, launches []spec.Launch, refuse time.Duration) error
	Decline(ctx context.Context, offerIDs []string, refuse time.Duration) error
	Kill(ctx context.Context, taskID, agentID string, grace time.Duration) error
	Acknowledge(ctx context.Context, updates ...spec.TaskStatus) error
	Reconcile(ctx context.Context, tasks []mesos.TaskRef) error
	Suppress(ctx context.Context) error
	Revive(ctx context.Context) error
}

// Options configure a Scheduler. Store, State and Engine are required.
type Options struct {
	Store store.Store
	// State is what Store.Load returned; the scheduler owns it from now on.
	State  *store.State
	Engine Engine
	Events *api.Log

	// Roles are the framework's roles. Empty: the engine has neither roles nor reservations, so definitions may name roles
	// (those of the API's options) and it means nothing.
	Roles []string
	Pools []spec.Pool
	BGP   *spec.BGP      // with whom the hosts exchange routes; nil: with nobody
	Hosts []spec.BGPHost // what the operators say of hosts; of those that they do not name only the name is known
	// Policies are what instances may say to whom; nil: everything to everybody.
	Policies       *spec.NetworkPolicies
	AuthorizedKeys []string // the operators' public keys, authorized_keys lines
	Cluster        string   // in Zabbix's names of instances; "": spec.DefaultCluster
	Launch         launch.Options

	// ServicePortMin and ServicePortMax are the range that port 0 is assigned from; default 10000 to 20000.
	ServicePortMin, ServicePortMax int
	// MaxRunningDeployments is how many deployments may run at a time (Marathon's max_running_deployments); default 100.
	MaxRunningDeployments int
	// AddressRest is how long a released address rests before another app may get it; default 10 min.
	AddressRest time.Duration
	// DrainTimeout bounds the wait for a host to confirm a drain, beside the time that the app's instances are given for their
	// connections; default 7 s, a little more than the agent's own bound.
	DrainTimeout time.Duration
	// StagingTimeout ends tasks that do not start; default 5 min (Marathon's task_launch_timeout).
	StagingTimeout time.Duration
	// FenceAfter is how long an unreachable task's seat stays empty at least, so that no address lives twice; default 5 min.
	FenceAfter time.Duration
	// ReconcileInterval is the pause between full reconciliations; default 10 min.
	ReconcileInterval time.Duration
	// HoldOffers is how long offers are kept while something may use them soon; default 20 s.
	HoldOffers time.Duration

	Rand io.Reader // for ids and host keys, read by two goroutines; default crypto/rand
	Log  logrus.FieldLogger
}

func (o Options) withDefaults() Options {
	if o.ServicePortMin == 0 && o.ServicePortMax == 0 {
		o.ServicePortMin, o.ServicePortMax = 10000, 20000
	}
	if o.MaxRunningDeployments == 0 {
		o.MaxRunningDeployments = 100
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.AddressRest, 10 * time.Minute}, {&o.DrainTimeout, 7 * time.Second}, {&o.StagingTimeout, 5 * time.Minute},
		{&o.FenceAfter, 5 * time.Minute}, {&o.ReconcileInterval, 10 * time.Minute}, {&o.HoldOffers, 20 * time.Second},
		{&o.Launch.KillGrace, 10 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Events == nil {
		o.Events = api.NewLog(api.DefaultEventBacklog)
	}
	if o.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		o.Log = l
	}
	return o
}

// Validate reports what is missing.
func (o Options) Validate() error {
	var errs []error
	if o.Store == nil || o.State == nil || o.Engine == nil {
		errs = append(errs, errors.New("store, state and engine are required"))
	}
	if len(o.Pools) == 0 {
		errs = append(errs, errors.New("at least one address pool is required"))
	}
	if o.ServicePortMin > o.ServicePortMax {
		errs = append(errs, errors.New("the range of service ports is empty"))
	}
	if o.MaxRunningDeployments < 0 {
		errs = append(errs, errors.New("the number of running deployments must be positive"))
	}
	return errors.Join(errs...)
}
