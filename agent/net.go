package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent/bgp"
	"github.com/berth-project/berth/agent/document"
	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/agent/router"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// PathRouter is the host's network in routed mode; *router.Router is the real one.
type PathRouter interface {
	Router
	SetPath(ctx context.Context, want hostnet.Path) (router.Outcome, error)
	Endpoints() ([]hostnet.Endpoint, error)
	// Routed is what the kernel has of all containers with a link.
	Routed() (map[netip.Addr]hostnet.Found, error)
	DockerBridges() ([]string, error)
	Spoofed() (map[string]uint64, error)
	SetShims(ctx context.Context, want []hostnet.Shim) error
	Announce(ctx context.Context, claims []hostnet.Claim) error
	Occupied(ctx context.Context, parent string, a netip.Addr) (string, error)
	SetPolicies(ctx context.Context, want hostnet.Filter) error
	// HasPolicies says whether there are any.
	HasPolicies() (bool, error)
	PolicyCounts(f hostnet.Filter) ([]spec.PolicyCount, error)
}

// DocumentSource tells the host document.
type DocumentSource interface {
	Document() *watch.Value[*spec.HostDocument]
	Run(ctx context.Context) error
	// Trouble is why there is no newer document; "": there is none.
	Trouble() string
}

// NetOptions are what the process that keeps a host's network needs. Of Options, Host, StateDir, API, Token, IPAMName,
// PluginDir, Engine, Inventory, HostAddresses, Transport and Log are used.
type NetOptions struct {
	Options
	Mode     hostnet.Mode      // default bridge
	Parent   string            // the interface in the VLAN, in mode L2
	Parents  map[string]string // that of single pools, where it is another
	MTU      int               // of containers in routed mode; 0: as the interface of the host's default route
	Document string            // a local file with the host document; "": the scheduler's
	// BGPPasswordFile holds the password of peers for which the document names no file; "": they have none.
	BGPPasswordFile string
	// Path is the routed network, default the real one; Options.Router is not used.
	Path PathRouter
	// Speaker is the BGP of routed mode, default the real one.
	Speaker Speaker
	// Own are the addresses under which other hosts reach this one, one of each family at most; none: what Source says.
	Own []netip.Addr
	// Source is the host's own address towards the scheduler; invalid: there is none. Default the kernel's word.
	Source func(api string) netip.Addr
	// Status is where Status is asked for; nil: nowhere.
	Status net.Listener
}

// endpointsFile is where the endpoints are kept, in the state folder.
const endpointsFile = "endpoints.json"

// Net keeps the network of one host: it answers Docker, and makes links, routes and rules as the document and the containers
// want them. It does nothing else, so that nothing else can take the network down with it.
type Net struct {
	o        NetOptions
	source   DocumentSource
	client   *document.Client // the source, and who is told of the host; nil on a host without a scheduler
	plugin   *netplugin.Plugin
	networks *worker[networksJob, networksDone]
	path     *worker[pathJob, pathDone]
	routing  *worker[routingJob, routingDone]
	vlan     *worker[vlanJob, error]
	around   *worker[int, surroundings]
	status   watch.Value[NetStatus]
}

// NewNet makes it; Run does the work.
func NewNet(o NetOptions) (*Net, error) {
	if o.Mode == "" {
		o.Mode = hostnet.Bridge
	}
	if o.Mode != hostnet.Bridge && o.Mode != hostnet.Routed && o.Mode != hostnet.L2 {
		return nil, fmt.Errorf("check network options: mode %q is none of %s, %s and %s", o.Mode, hostnet.Bridge, hostnet.Routed, hostnet.L2)
	}
	if o.Path == nil {
		name := o.IPAMName
		if name == "" {
			name = router.Default
		}
		r, err := router.New(name)
		if err != nil {
			return nil, fmt.Errorf("check network options: %w", err)
		}
		o.Path = r
	}
	o.Router = o.Path
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.Log = o.Log.WithField("component", "net")
	n := &Net{o: o, networks: newWorker[networksJob, networksDone](), path: newWorker[pathJob, pathDone](), routing: newWorker[routingJob, routingDone](),
		vlan: newWorker[vlanJob, error](), around: newWorker[int, surroundings]()}
	if n.o.Source == nil {
		n.o.Source = sourceTo
	}
	if n.o.Speaker == nil {
		n.o.Speaker = bgp.New(n.o.Log)
	}
	var err error
	if o.Document != "" {
		n.source, err = document.NewLocal(o.Document, o.Host, o.Log)
	} else {
		// A file of its own: the agent beside it keeps the document, too, and reports.
		n.client, err = document.New(document.Options{
			API: o.API, Token: o.Token, Host: o.Host, File: filepath.Join(o.StateDir, "net-document.json"), Net: o.Mode == hostnet.Routed, Transport: o.Transport, Log: o.Log,
		})
		n.source = n.client
	}
	if err != nil {
		return nil, err
	}
	po := netplugin.Options{Name: o.IPAMName, Dir: o.PluginDir, Inventory: o.Inventory, Log: o.Log}
	if o.Mode == hostnet.Routed {
		po.Journal, po.Found = filepath.Join(o.StateDir, endpointsFile), o.Path.Endpoints
	}
	if o.Mode == hostnet.L2 {
		po.Occupied = n.occupied
	}
	n.plugin, err = netplugin.New(po)
	return n, err
}

// Run works until ctx ends. It fails at once when another process answers Docker under the same name.
func (n *Net) Run(ctx context.Context) error {
	own := newNetOwner(n)
	own.look() // the plugin must know the kept document's pools before Docker can ask
	l, err := n.plugin.Listen()
	if err != nil {
		return err
	}
	return n.work(ctx, own, func(ctx context.Context) error { return n.plugin.Serve(ctx, l) }, n.serveStatus)
}

// work runs the loop and everything beside it until ctx ends or one of them fails. The plugin ends first: what Docker has
// asked by then is still done.
func (n *Net) work(ctx context.Context, own *netOwner, beside ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var outer, wg sync.WaitGroup
	start := func(wg *sync.WaitGroup, ctx context.Context, part func(context.Context) error) {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err) // without effect when ctx has ended: the first cause stays
			}
		})
	}
	for _, part := range beside {
		start(&outer, ctx, part)
	}
	start(&outer, ctx, func(ctx context.Context) error { <-ctx.Done(); return nil })
	for _, part := range []func(context.Context) error{
		n.source.Run, own.run,
		func(ctx context.Context) error {
			return n.networks.run(ctx, func(ctx context.Context, j networksJob) networksDone { return applyNetworks(ctx, n.o.Options, j) })
		},
		func(ctx context.Context) error {
			return n.path.run(ctx, (&pathSetter{router: n.o.Path}).apply)
		},
		n.o.Speaker.Run,
		func(ctx context.Context) error { return own.surveyor.worker.run(ctx, n.survey) },
		func(ctx context.Context) error {
			return n.routing.run(ctx, func(ctx context.Context, j routingJob) routingDone {
				return routingDone{j, speak(ctx, n.o.Speaker, n.o.BGPPasswordFile, j)}
			})
		},
		func(ctx context.Context) error {
			return n.vlan.run(ctx, func(ctx context.Context, j vlanJob) error { return applyVLAN(ctx, n.o.Path, j) })
		},
		func(ctx context.Context) error {
			return n.around.run(ctx, func(context.Context, int) surroundings { return n.lookAround() })
		},
	} {
		start(&wg, inner, part)
	}
	outer.Wait()
	stop()
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// netOwner is the loop's state; only the loop touches it.
type netOwner struct {
	*Net
	doc       *spec.HostDocument
	snap      docker.Snapshot
	endpoints netplugin.Endpoints
	learned   bgp.Learned
	changes   [6]<-chan struct{}
	pools     *pools
	surveyor  *surveyor
	policing  policing
	mtu       int
	again     int

	job       pathJob
	saying    routingJob
	complaint string // the last error of the path's worker, said once
	unsaid    string // and the routing's
	refused   map[string]string
	spoofed   map[string]uint64
	vlans     vlans

	fence *fence
	// Whether job and saying were done without an error.
	done, said bool

	received time.Time         // when doc came
	unmade   map[string]string // link -> why it is not complete
}

func newNetOwner(n *Net) *netOwner {
	return &netOwner{
		Net: n, pools: &pools{o: n.o.Options, mode: n.o.Mode, parent: n.o.Parent, parents: n.o.Parents, plugin: n.plugin, worker: n.networks}, spoofed: map[string]uint64{},
		surveyor: newSurveyor(), fence: newFence(filepath.Join(n.o.StateDir, fenceFile), n.o.Log, time.Now()),
	}
}

// run is the loop: take in what changed, decide, hand out.
func (w *netOwner) run(ctx context.Context) error {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	fence := time.NewTimer(0)
	defer fence.Stop()
	if w.o.Mode == hostnet.Routed {
		w.surrounded(w.lookAround()) // before anything is decided: Docker's networks must not be open to containers meanwhile
	}
	for {
		w.look()
		if again := w.decide(time.Now()); again.IsZero() {
			fence.Stop()
		} else {
			fence.Reset(max(0, time.Until(again)) + time.Millisecond)
		}
		w.show()
		select {
		case <-ctx.Done():
			return nil
		case <-w.changes[0]:
		case <-w.changes[1]:
		case <-w.changes[2]:
		case <-w.changes[3]:
		case <-w.changes[4]:
		case <-w.surveyor.due:
			w.surveyor.due = nil
		case e := <-w.surveyor.worker.done:
			w.surveyor.done(e)
		case <-w.changes[5]:
		case <-fence.C:
		case <-tick.C:
			w.anew()
		case d := <-w.networks.done:
			w.pools.done(d)
		case d := <-w.path.done:
			w.pathDone(d)
		case d := <-w.routing.done:
			w.routingDone(d)
		case <-w.vlans.repeat:
			w.vlans.repeated()
		case err := <-w.vlan.done:
			w.vlanDone(err)
		case s := <-w.around.done:
			w.surrounded(s)
		}
	}
}

// anew has everything compared with the host once more.
func (w *netOwner) anew() {
	w.again++
	w.pools.recheck()
	if w.o.Mode == hostnet.Routed {
		w.around.give(w.again)
	}
}

// surroundings are what others have made of the host.
type surroundings struct {
	closed []string // the bridges of Docker's own networks
	err    error    // why they are unknown
	mtu    int
}

// lookAround finds them out. It may take as long as somebody else holds the lock of the packet filter.
func (n *Net) lookAround() surroundings {
	s := surroundings{mtu: n.o.MTU}
	if s.closed, s.err = n.o.Path.DockerBridges(); s.mtu == 0 {
		s.mtu = router.DefaultMTU()
	}
	return s
}

// surrounded takes them in.
func (w *netOwner) surrounded(s surroundings) {
	if w.mtu = s.mtu; s.err != nil {
		w.o.Log.WithError(s.err).Warn("Docker's own networks are unknown; those known before stay closed to containers")
		return
	}
	w.pools.closed = s.closed
}

func (w *netOwner) look() {
	was, old := w.snap.Connected, w.doc
	if w.client != nil { // first: the document is as new as the contact at least
		w.fence.contact, w.changes[5] = w.fence.newer(w.client.Contact())
	}
	w.doc, w.changes[0] = w.source.Document().Get()
	if w.doc != old {
		w.received = time.Now()
	}
	w.snap, w.changes[1] = w.o.Inventory.Get()
	if w.o.Mode == hostnet.Routed {
		w.endpoints, w.changes[2] = w.plugin.Endpoints()
		w.learned, w.changes[3] = w.o.Speaker.Learned()
	}
	if w.client != nil {
		var ask spec.HostAsk
		if ask, w.changes[4] = w.client.Ask().Get(); w.surveyor.asked(ask) {
			w.anew()
		}
	}
	if w.snap.Connected && !was {
		w.pools.rechecks++ // Docker may have started anew, with its chains and without ours
	}
	w.pools.look(w.doc, w.doc == old)
}

// decide compiles the inputs and hands out what changed. Without a document the pools stay as a predecessor left them;
// containers that come to an end are let go all the same.
// It says when to decide again at the latest; zero: when something changes.
func (w *netOwner) decide(now time.Time) (again time.Time) {
	if w.doc != nil {
		w.pools.give(w.doc, w.snap)
		w.tell()
	}
	if w.o.Mode == hostnet.L2 && w.doc != nil {
		w.decideVLAN()
	}
	if w.o.Mode != hostnet.Routed {
		return
	}
	if w.doc != nil {
		again = w.fence.decide(w.fenceInput(now), w.doc.Version)
	}
	w.policing.look(w.doc, func(err error) {
		w.o.Log.WithError(err).Error("the document's network policies are no policies; those before stay in force")
	})
	j := pathJob{version: w.endpoints.Version, path: hostnet.CompilePath(w.input(), hostnet.Options{MTU: w.mtu}), filter: w.policing.filter, again: w.again,
		unfit: w.policing.fault, selected: w.policing.selected}
	if w.client != nil { // a document of people's own may tell of addresses without seats, and comes with nobody's start
		j.unknown = unknown(w.doc, w.endpoints.List)
	}
	if !reflect.DeepEqual(j, w.job) {
		w.job, w.done = j, false
		w.path.give(j)
	}
	if w.doc == nil {
		return again // peers keep what an earlier process told them
	}
	if s := (routingJob{peers: w.doc.BGP, announced: announced(w.doc, w.endpoints, w.fence.withdrawn), again: w.again}); !reflect.DeepEqual(s, w.saying) {
		w.saying, w.said = s, false
		w.routing.give(s)
	}
	w.inForce()
	return again
}

// inForce tells the scheduler that the document is in force, once nothing of it is still to be done.
func (w *netOwner) inForce() {
	if w.client != nil && w.done && w.said {
		w.client.Applied(w.doc.Version)
	}
}

// tell has the scheduler know which addresses containers are on.
func (w *netOwner) tell() {
	if w.client == nil {
		return
	}
	j := surveyJob{mode: w.o.Mode, pools: w.doc.Pools, connected: w.snap.Connected, again: w.again}
	j.shown, j.spots = shown(w.doc.Pools, w.snap)
	if w.o.Mode == hostnet.Routed {
		j.spots, j.bgp, j.announced = nil, w.doc.BGP != nil, announced(w.doc, w.endpoints, w.fence.withdrawn)
	}
	w.surveyor.give(j)
	if w.surveyor.result != nil {
		w.client.Report(spec.HostReport{Host: w.o.Host, Endpoints: w.surveyor.result, Policies: w.policing.report})
	}
}

// survey reads the kernel.
func (n *Net) survey(_ context.Context, j surveyJob) spec.HostEndpoints {
	if j.mode == hostnet.Routed {
		found, err := n.o.Path.Routed()
		e := endpoints(j, found, err)
		e.Own = n.own()
		return e
	}
	if j.mode == hostnet.L2 {
		return endpoints(j, inVLAN(j.shown), nil)
	}
	found, err := n.o.Path.Bridged(j.spots)
	return endpoints(j, found, err)
}

// input is what the routed network is compiled from.
func (w *netOwner) input() hostnet.PathInput {
	in := hostnet.PathInput{Endpoints: slices.Clone(w.endpoints.List), Partial: w.doc == nil}
	for i, e := range in.Endpoints { // also while there is no document: what an earlier process has withdrawn may be another host's by now
		in.Endpoints[i].Closed = slices.ContainsFunc(e.Addresses, func(a netip.Addr) bool { return w.fence.withdrawn[a] != "" })
	}
	if w.doc == nil {
		return in
	}
	in.Pools, in.Blocks, in.Learned = w.doc.Pools, hostnet.Blocks(w.doc.Pools, w.doc.Blocks), learned(w.learned)
	// Until all peers have spoken, a route that an earlier process has learned may only be late.
	in.Partial = w.doc.BGP != nil && !w.learned.Complete
	seats := map[netip.Addr]map[string]string{}
	for _, s := range w.doc.Seats {
		seats[s.Address] = s.Labels
	}
	for i, e := range in.Endpoints {
		for _, a := range e.Addresses {
			if rate, err := spec.ParseRate(seats[a][spec.AppLabelIngress]); err == nil {
				in.Endpoints[i].Rate = rate
			}
			if rate, err := spec.ParseRate(seats[a][spec.AppLabelEgress]); err == nil {
				in.Endpoints[i].Egress = rate
			}
		}
	}
	return in
}

// pathDone tells the plugin, which may be asked to wait for it, and says what became different.
func (w *netOwner) pathDone(d pathDone) {
	s := netplugin.Settled{Version: d.job.version, Failed: d.outcome.Failed, Missing: d.outcome.Missing, Idle: d.outcome.Idle, Unknown: d.job.unknown, Err: d.err}
	for id, reason := range d.job.path.Refused {
		if link, _, err := hostnet.LinkNames(id); err == nil {
			s.Failed[link] = reason
		}
		if w.refused[id] != reason {
			w.o.Log.WithFields(logrus.Fields{"what": id, "reason": reason}).Warn("left out of the routed network")
		}
	}
	w.refused, w.unmade = d.job.path.Refused, s.Failed
	w.policing.done(d)
	w.plugin.Settle(s)
	w.done = d.err == nil && reflect.DeepEqual(d.job, w.job)
	was, fault := w.complaint, errors.Join(d.policies, d.err)
	if w.complaint = ""; fault != nil {
		w.complaint = oneLine(fault)
	}
	if w.complaint != "" && w.complaint != was {
		w.o.Log.WithError(fault).Error("the routed network is not whole; trying again")
	} else if w.complaint == "" && was != "" {
		w.o.Log.Info("the routed network is whole again")
	}
	for link, n := range d.spoofed {
		if before := w.spoofed[link]; n > before {
			w.o.Log.WithFields(logrus.Fields{"link": link, "packets": n - before}).Warn("a container sent as somebody else; its packets were dropped")
		}
	}
	if d.spoofed != nil {
		w.spoofed = d.spoofed
	}
}

// routingDone says what became different.
func (w *netOwner) routingDone(d routingDone) {
	was := w.unsaid
	if w.unsaid = ""; d.err != nil {
		w.unsaid = oneLine(d.err)
	}
	w.said = d.err == nil && reflect.DeepEqual(d.job, w.saying)
	if w.unsaid != "" && w.unsaid != was {
		w.o.Log.WithError(d.err).Error("BGP is not as it should be; trying again")
	}
}
