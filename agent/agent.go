package agent

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/berth-project/berth/agent/document"
	"github.com/berth-project/berth/agent/drain"
	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/agent/probe"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// recheck is how often the host is compared with what is wanted although nothing changed here: others restart Docker,
// flush packet filters and remove networks.
const recheck = 10 * time.Second

// awaitNetwork is the pause between two looks for a network that another process on this host is to make.
const awaitNetwork = time.Second

// Agent is one host's agent.
type Agent struct {
	o        Options
	client   *document.Client
	probes   *probe.Manager
	plugin   *netplugin.Plugin
	networks *worker[networksJob, networksDone]
	folders  *worker[seatsJob, seatsDone]
	volumes  *worker[volumesJob, volumesDone]
	ending   *worker[leftoversJob, error]
	pulls    *puller
	drains   *drain.Waiter
	state    *watch.Value[spec.HostState]
}

// New makes an agent; Run does the work.
func New(o Options) (*Agent, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.Log = o.Log.WithField("component", "agent")
	client, err := document.New(document.Options{
		API: o.API, Token: o.Token, Host: o.Host, File: o.documentFile(), Transport: o.Transport, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	probes, err := probe.New(probe.Options{Prober: o.Prober, Log: o.Log})
	if err != nil {
		return nil, err
	}
	var plugin *netplugin.Plugin
	if !o.ExternalNetwork {
		if plugin, err = netplugin.New(netplugin.Options{Name: o.IPAMName, Dir: o.PluginDir, Inventory: o.Inventory, Log: o.Log}); err != nil {
			return nil, err
		}
	}
	return &Agent{
		o: o, state: o.State, client: client, probes: probes, plugin: plugin,
		networks: newWorker[networksJob, networksDone](), folders: newWorker[seatsJob, seatsDone](),
		volumes: newWorker[volumesJob, volumesDone](), ending: newWorker[leftoversJob, error](),
		pulls: newPuller(o), drains: drain.New(o.Log),
	}, nil
}

// Run works until ctx ends. It fails at once when another process answers for the same IPAM driver.
func (a *Agent) Run(ctx context.Context) error {
	own := newOwner(a)
	if a.plugin == nil {
		return a.work(ctx, own)
	}
	own.look() // the plugin must know the kept document's pools before Docker can ask
	// The plugin listens before anything is known of the containers, and holds back what it cannot answer: Docker may be
	// unable to list them before it has reached the plugin.
	l, err := a.plugin.Listen()
	if err != nil {
		return err
	}
	return a.work(ctx, own, func(ctx context.Context) error { return a.plugin.Serve(ctx, l) })
}

// work runs the loop and everything beside it until ctx ends or one of them fails.
func (a *Agent) work(ctx context.Context, own *owner, beside ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	folders := newSeats(SeatsDir(a.o.StateDir), a.o.Log)
	removal := volumes{dir: VolumesDir(a.o.StateDir), log: a.o.Log}
	parts := append(beside, a.client.Run, a.probes.Run, a.pulls.run, a.drains.Run, own.run,
		func(ctx context.Context) error {
			return a.networks.run(ctx, func(ctx context.Context, j networksJob) networksDone { return applyNetworks(ctx, a.o, j) })
		},
		func(ctx context.Context) error {
			return own.surveyor.worker.run(ctx, func(_ context.Context, j surveyJob) spec.HostEndpoints {
				found, err := a.o.Router.Bridged(j.spots)
				return endpoints(j, found, err)
			})
		},
		func(ctx context.Context) error { return a.folders.run(ctx, folders.apply) },
		func(ctx context.Context) error { return a.volumes.run(ctx, removal.remove) },
		func(ctx context.Context) error { return a.ending.run(ctx, stopper{a.o.Engine, a.o.Log}.stop) })
	var wg sync.WaitGroup
	for _, part := range parts {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err) // without effect when ctx has ended: the first cause stays
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// owner is the loop's state; only the loop touches it.
type owner struct {
	*Agent
	// Newest inputs, each with the channel that closes when it is old.
	doc      *spec.HostDocument
	snap     docker.Snapshot
	health   map[string][]spec.CheckHealth
	left     map[string]spec.Drain // what the registrator has taken out of Consul
	drained  map[string]spec.Drain // whose clients have left as well
	usage    map[string]spec.Usage
	pulled   []spec.PullResult
	changes  [8]<-chan struct{}
	rechecks int
	pools    *pools
	surveyor *surveyor

	// What was last given out, to give it out only when it changes.
	seatsJob   seatsJob
	volumesJob volumesJob
	endingJob  leftoversJob
	targets    []probe.Target
	shared     spec.HostState

	marked map[string]bool // drained tasks as their folders say

	written uint64 // the last document whose seat folders are written
	applied uint64
	// The folders are looked at again when foldersAgain differs: every minute (for those that have been gone for long), and
	// at each recheck while writing them fails.
	foldersAgain int
	complaint    string      // the last error of the folders' worker, said once; "" when it had none
	freed        volumesDone // the last answer of the volumes' worker
	freeAgain    int         // volumes that could not be removed are tried again when it differs
	notEnded     string      // the last error of the leftovers' worker, "" when it had none
	endAgain     int         // as freeAgain, of leftovers
}

func newOwner(a *Agent) *owner {
	mode := hostnet.Bridge
	if a.o.ExternalNetwork {
		mode = hostnet.Routed // the least that a pool must be; the other process knows better
	}
	return &owner{Agent: a, pools: &pools{o: a.o, mode: mode, plugin: a.plugin, worker: a.networks}, surveyor: newSurveyor()}
}

// run is the loop: take in what changed, decide, hand out.
func (w *owner) run(ctx context.Context) error {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	var waited <-chan time.Time // for another process to make the pools' networks; nil: they are there
	for {
		w.look()
		w.decide()
		select {
		case <-ctx.Done():
			return nil
		case <-waited:
			waited = nil
			w.pools.recheck()
		case <-w.changes[0]:
		case <-w.changes[1]:
		case <-w.changes[2]:
		case <-w.changes[3]:
		case <-w.changes[4]:
		case <-w.changes[5]:
		case <-w.changes[6]:
		case <-w.changes[7]:
		case <-w.surveyor.due:
			w.surveyor.due = nil
		case e := <-w.surveyor.worker.done:
			w.surveyor.done(e)
		case <-tick.C:
			w.rechecks++
			w.pools.recheck()
			if w.complaint != "" || w.rechecks%6 == 0 {
				w.foldersAgain++
			}
			if w.freed.err != nil {
				w.freeAgain++
			}
			if w.notEnded != "" {
				w.endAgain++
			}
		case d := <-w.networks.done:
			w.pools.done(d)
			if waited = nil; w.o.ExternalNetwork && !d.ready() {
				waited = time.After(awaitNetwork)
			}
		case d := <-w.folders.done:
			w.foldersDone(d)
		case d := <-w.volumes.done:
			w.volumesDone(d)
		case err := <-w.ending.done:
			w.leftoversDone(err)
		}
	}
}

// look takes in the newest inputs, and tells the plugin what it needs before anything else is done with them.
func (w *owner) look() {
	was := w.snap.Connected
	old := w.doc
	w.doc, w.changes[0] = w.client.Document().Get()
	w.snap, w.changes[1] = w.o.Inventory.Get()
	w.health, w.changes[2] = w.probes.Results().Get()
	if w.o.Drained != nil {
		w.left, w.changes[3] = w.o.Drained.Get()
	}
	w.drained, w.changes[7] = w.drains.Results().Get()
	if w.o.Usage != nil {
		w.usage, w.changes[4] = w.o.Usage.Get()
	}
	w.pulled, w.changes[6] = w.Agent.pulls.results.Get()
	var ask spec.HostAsk
	if ask, w.changes[5] = w.client.Ask().Get(); w.surveyor.asked(ask) {
		w.pools.recheck()
	}
	if w.snap.Connected && !was {
		w.pools.rechecks++ // Docker may have started anew, with its chains and without ours
	}
	w.pools.look(w.doc, w.doc == old)
}

// decide compiles the inputs and hands out what changed. Without a document it does nothing: what a predecessor made stays.
func (w *owner) decide() {
	if w.doc == nil {
		return
	}
	byTask := running(w.snap)
	if s := (spec.HostState{Document: *w.doc, Health: w.health}); !reflect.DeepEqual(s, w.shared) {
		w.shared = s
		w.state.Set(s)
	}
	if t := targets(w.doc, byTask); !reflect.DeepEqual(t, w.targets) {
		w.targets = t
		w.probes.Set(t)
	}
	w.drains.Set(draining(w.doc, byTask, func(task string) (spec.Drain, bool) {
		d, ok := w.left[task]
		return d, ok || w.o.Drained == nil
	}))
	w.giveFolders(byTask)
	w.Agent.pulls.give(w.doc.Pulls)
	if j := (volumesJob{free: w.doc.FreeVolumes, again: w.freeAgain}); !reflect.DeepEqual(j, w.volumesJob) {
		w.volumesJob = j
		w.volumes.give(j)
	}
	if j := (leftoversJob{tasks: leftovers(w.doc, byTask), again: w.endAgain}); !reflect.DeepEqual(j, w.endingJob) {
		w.endingJob = j
		w.ending.give(j)
	}
	if !w.o.ExternalNetwork {
		j := surveyJob{mode: hostnet.Bridge, pools: w.doc.Pools, connected: w.snap.Connected, again: w.rechecks}
		j.shown, j.spots = shown(w.doc.Pools, w.snap)
		w.surveyor.give(j)
	}
	desired := w.pools.give(w.doc, w.snap)
	if reflect.DeepEqual(w.pools.settled.desired, desired) && w.written == w.doc.Version {
		w.applied = w.doc.Version
	}
	w.client.Report(report(found{
		doc: w.doc, applied: w.applied, snap: w.snap, refused: w.pools.refused, networks: w.pools.settled.status,
		held:   held(w.doc, w.snap, hostHeld(w.doc.Pools, w.pools.host), time.Now()),
		health: w.health, drained: w.acknowledged(), usage: w.usage, freed: w.freed.gone,
		endpoints: w.surveyor.result, pulled: w.pulled, metrics: w.o.Metrics,
	}))
}

// giveFolders hands the seats' folders to their worker when something in them changes.
func (w *owner) giveFolders(byTask map[string]docker.Container) {
	j := seatsJob{doc: w.doc, started: map[string]time.Time{}, mounted: map[string]bool{}, drained: map[string]bool{}, again: w.foldersAgain}
	for task := range w.drained {
		j.drained[task] = true
	}
	for task, c := range byTask {
		j.started[task] = c.StartedAt
	}
	for _, c := range w.snap.Containers {
		if seat, err := spec.ParseSeatID(c.Labels[spec.LabelApp] + "." + c.Labels[spec.LabelSeat]); err == nil {
			j.mounted[seat.Safe()] = true
		}
	}
	if !w.snap.Connected && w.seatsJob.mounted != nil {
		j.mounted = w.seatsJob.mounted // unknown: what was mounted may still be
	}
	if !reflect.DeepEqual(j, w.seatsJob) {
		w.seatsJob = j
		w.folders.give(j)
	}
}

// acknowledged are the drained tasks whose containers can know it, if they can be told.
func (w *owner) acknowledged() map[string]spec.Drain {
	out := map[string]spec.Drain{}
	for task, d := range w.drained {
		if w.marked[task] {
			out[task] = d
		}
	}
	return out
}

func (w *owner) foldersDone(d seatsDone) {
	w.marked = d.drained
	if d.err == nil {
		w.written, w.complaint = d.version, ""
		return
	}
	if text := d.err.Error(); text != w.complaint {
		w.complaint = text
		w.o.Log.WithError(d.err).Error("seat folders not written")
	}
}

func (w *owner) volumesDone(d volumesDone) {
	if d.err != nil && (w.freed.err == nil || w.freed.err.Error() != d.err.Error()) {
		w.o.Log.WithError(d.err).Error("persistent volumes not removed; trying again")
	}
	w.freed = d
}

func (w *owner) leftoversDone(err error) {
	was := w.notEnded
	if w.notEnded = ""; err != nil {
		w.notEnded = err.Error()
	}
	if w.notEnded != "" && w.notEnded != was {
		w.o.Log.WithError(err).Error("leftover containers not stopped; trying again")
	}
}
