package api

import (
	"context"
	"net/netip"
	"time"

	"github.com/berth-project/berth/scheduler/ipcheck"
	"github.com/berth-project/berth/scheduler/prepull"
	"github.com/berth-project/berth/spec"
)

// Backend is the scheduler as the API sees it. The owner loop answers every call but View; all values it hands out are
// immutable.
type Backend interface {
	// View is the state after the last decision, at least as new as what any call that has returned did. It never waits for
	// the owner loop: who may be asked often uses it.
	View(ctx context.Context) (*View, error)
	// Snapshot is the same with everything that the owner loop knows beside it, of one moment.
	Snapshot(ctx context.Context) (*Snapshot, error)
	// Versions lists an app's stored versions, newest first. Unknown app: ErrNotFound.
	Versions(ctx context.Context, app spec.AppID) ([]*spec.App, error)
	// TreeChanges lists the stored changes of the tree, newest first (see spec.TreeChange).
	TreeChanges(ctx context.Context) ([]spec.TreeChange, error)
	// Change decides and stores a new set of apps and starts a deployment towards it. It returns when the change is durable.
	Change(ctx context.Context, c Change) (*Changed, error)
	// Kill ends tasks by id; unknown ids are skipped. Replacements start, unless scale.
	Kill(ctx context.Context, ids []string, opts KillOptions) (killed []*spec.Task, changed *Changed, err error)
	// CancelDeployment stops a deployment. With force nothing is reverted and the result is nil; otherwise a new deployment
	// back to the original apps begins.
	CancelDeployment(ctx context.Context, id string, force bool) (*Changed, error)
	// Records are the deployments and stops that are remembered: of an app, or one deployment (else ErrNotFound), if they are named.
	Records(ctx context.Context, app spec.AppID, id string) (*Records, error)
	// ResetDelay ends the app's launch delay. An app that is not in the queue: ErrNotFound.
	ResetDelay(ctx context.Context, app spec.AppID) error
	// HostDocument waits until the host's document is newer than version, or ctx ends (then it returns nil, nil).
	HostDocument(ctx context.Context, host string, version uint64) (*spec.HostDocument, error)
	// NetDocument is HostDocument for the process that keeps the host's network, which has the document of version applied in force. With
	// the answer, also without anything newer, the host may count on the addresses of its seats for the fence time.
	NetDocument(ctx context.Context, host string, version, applied uint64) (*spec.HostDocument, error)
	// HostDead is an operator's word that the host is off: its tasks are over, and their addresses move at once. Unknown host:
	// ErrNotFound.
	HostDead(ctx context.Context, host string) (*HostDeath, error)
	// DrainHost has the host emptied and given nothing new, until UndrainHost. Both say what follows, and are true of a host that is so
	// already; the first is told why. Unknown host: ErrNotFound.
	DrainHost(ctx context.Context, host, reason string) (*HostDrain, error)
	UndrainHost(ctx context.Context, host string) error
	// Report takes in what an agent found.
	Report(ctx context.Context, r spec.HostReport) error
	// Asked is what the hosts are asked, and a channel that closes when it is no longer that. It never waits.
	Asked() (spec.HostAsk, <-chan struct{})
	// Survey asks all hosts to read their addresses anew (anew: and to set their networks before), and waits until those that
	// are in touch have answered or ctx ends. It returns the question's number (HostEndpoints.Survey of an answer to it).
	Survey(ctx context.Context, anew bool) (uint64, error)
	// RepairAddresses does what findings say that a repair does, as far as they are still true, and returns for each what was done.
	RepairAddresses(ctx context.Context, found []ipcheck.Finding) ([]string, error)
	// ReleaseAddress gives up a lease that nobody wants: ErrNotFound without one, *ConflictError when somebody does.
	ReleaseAddress(ctx context.Context, a netip.Addr) (spec.Lease, error)
	// UpdateSeats changes what is kept of an app's instances: of one seat, or with -1 of all that there are. It returns their
	// numbers. An unknown app or seat: ErrNotFound.
	UpdateSeats(ctx context.Context, app spec.AppID, seat int, u SeatUpdate) ([]int, error)
	// Prepull has hosts pull an image, all those whose agents speak unless some are named, and returns the number of the wish. An unknown
	// host: ErrNotFound; too many wishes: *ConflictError.
	Prepull(ctx context.Context, image string, hosts []string, refresh bool) (uint64, error)
	// Prepulled is how far the hosts are. One that has expired, or that a scheduler before this one was told: ErrNotFound.
	Prepulled(ctx context.Context, number uint64) (*prepull.View, error)
}

// Change is one atomic change of the wanted apps.
type Change struct {
	// Decide runs in the owner loop with the newest tree and returns the apps and groups to put (value) and to remove (nil). Its
	// error goes to the caller unchanged and nothing is stored. It must not block and must not change current. Version,
	// LastScaling, LastConfigChange and service ports of the returned apps are assigned by the scheduler afterwards.
	Decide func(current Tree) (Tree, error)
	// DryRun only says what would happen: nothing is stored, and locks do not matter.
	DryRun bool
	// Force cancels deployments that touch the same apps; without it such a change fails with *LockedError.
	Force bool
	// Restart lists apps that are restarted although nothing changed.
	Restart []spec.AppID
	// Gone lists seats that are taken away by name: where their app keeps seats and shrinks, they go before the highest.
	Gone []spec.SeatID
	// Group is what group_change_failed names, as a change that fails may not know what it would have changed; "" is the root.
	Group spec.AppID
	// ClientIP and URI (the path alone) go into api_post_event; Post says whether one is published for each changed app.
	ClientIP, URI string
	Post          bool
}

// Tree is a set of apps (and pods) and groups by id. In the result of Change.Decide a nil value removes.
type Tree struct {
	Apps   map[spec.AppID]*spec.App
	Groups map[spec.AppID]*spec.Group
}

// Changed is the result of a change.
type Changed struct {
	Version      time.Time
	DeploymentID string                   // "" after a dry run
	Apps         map[spec.AppID]*spec.App // as stored
	Created      map[spec.AppID]bool
	Steps        []spec.Step
	// InPlace are the apps, sorted, of which more changes than their number of instances although none is restarted.
	InPlace []spec.AppID
	// Warnings are what the client should know although the change was taken: what can never fit the hosts known now.
	Warnings []string
}

// KillOptions are the query flags of the kill calls.
type KillOptions struct {
	Scale, Wipe, Force bool
	// Idle, with Wipe: the app whose seats without a task give their persistent volumes up, too.
	Idle spec.AppID
	// Seats, with Wipe: those of these seats that have no task give their persistent volumes up, too.
	Seats []spec.SeatID
}

// View is what most calls need of the scheduler's state. It is immutable: a task, an app, a deployment or an app's list of
// tasks that changes is another one, so whoever has looked at one before knows it by its address.
type View struct {
	// Generation grows with every change; 0: not counted, so that two views are never known to be the same.
	Generation  uint64
	Apps        map[spec.AppID]*spec.App
	Groups      map[spec.AppID]*spec.Group
	Tasks       map[spec.AppID][]*spec.Task // live tasks, by seat, then creation
	Deployments []*spec.Deployment          // oldest first
	LastFailure map[spec.AppID]*spec.TaskFailure
	FrameworkID string
	EngineURL   string // the Mesos master or the embedded engine
	Connected   bool   // subscribed to the engine
	Counters    Counters
	Version     time.Time
	Now         time.Time
}

// Counters are what happened since the scheduler was started.
type Counters struct {
	TasksLaunched  uint64
	OffersReceived uint64
	OffersUsed     uint64
	OffersDeclined uint64
	Revives        uint64
	Suppresses     uint64
}

// Snapshot is a View and what else there is to know at that moment.
type Snapshot struct {
	View
	Queue   []QueueItem // by app id
	Seats   map[spec.SeatID]spec.Seat
	Leases  []spec.Lease
	Usage   map[string]spec.Usage // task id -> last measured
	Pools   []spec.Pool
	Held    []spec.Held           // addresses that something else holds
	Hosts   []HostView            // by name
	Waiting map[spec.AppID]string // what an app's instances wait for as a whole; missing: for nothing
	// Settling are apps whose leases are about to be looked at.
	Settling map[spec.AppID]bool
	Fenced   map[string]Fenced // task id -> what the seat of an unreachable task waits for
	// Policies are the network policies; nil: there are none.
	Policies *spec.NetworkPolicies
}

// QueueItem is one app that waits for launches.
type QueueItem struct {
	App          *spec.App
	Count        int
	Since        time.Time
	BackoffUntil time.Time // zero: no delay
	Processed    int       // offers looked at
	Unused       int
	LastUnused   time.Time
	LastUsed     time.Time
	// Refusals is the funnel of the last offers, in Marathon's order of reasons; Attempt the same since the app waits.
	Refusals []Refusal
	Attempt  []Refusal
	// Why is Berth's own: every reason, for people, with numbers.
	Why []Reason
	// UnusedOffers are some of the last offers that the app could not use.
	UnusedOffers []UnusedOffer
}

// Reason is one thing that an app waits for.
type Reason struct {
	Kind ReasonKind
	Text string
}

// Texts are the texts of some reasons.
func Texts(reasons []Reason) []string {
	out := make([]string, 0, len(reasons))
	for _, r := range reasons {
		out = append(out, r.Text)
	}
	return out
}

// ReasonKind says what a reason for waiting is about.
type ReasonKind string

// The kinds of reasons for waiting.
const (
	ReasonNever   ReasonKind = "never"   // cannot come true on the hosts and in the pools known now
	ReasonBackoff ReasonKind = "backoff" // the launch delay after failures
	ReasonAddress ReasonKind = "address" // no address for a seat
	ReasonEngine  ReasonKind = "engine"  // no connection, no offers
	ReasonHosts   ReasonKind = "hosts"   // offers do not fit
)

// UnusedOffer is an offer that an app could not use, and why.
type UnusedOffer struct {
	Offer  spec.Offer
	Reason string // Marathon's name, or one of Berth's own
	Why    string // for people, with numbers
	At     time.Time
}

// HostView is a host as the scheduler knows it.
type HostView struct {
	Name    string
	AgentID string // "" while the engine has not offered anything of it
	// CPUs (cores), Mem and Disk (MiB), GPUs are all that the host can give, as far as offers told; zero while unknown.
	CPUs, Mem, Disk, GPUs float64
	Tasks                 int
	Reported              bool              // its agent has spoken
	Networks              map[string]string // pool -> "" when containers can be attached, otherwise why not
	Held                  []spec.Held
	Blocks                []spec.Block        // sorted
	Endpoints             *spec.HostEndpoints // as last told, at ToldAt; nil: never
	ToldAt                time.Time
	Policies              *spec.PolicyReport // nil: never told
	Metrics               string             // where its agent serves Prometheus, as it told: HOST:PORT or :PORT; "": nowhere
	Contact               time.Time          // when its `berth net` was last answered; zero: not since the scheduler began
	Dead                  time.Time          // when it was declared dead; zero: it is not, or was heard of since
	Drain                 *HostDrain         // nil: it is not being drained
	Starting, MaxStarting int                // launches under way, and how many there may be at most just now
}

// HostDeath is what declaring a host dead did.
type HostDeath struct {
	Host      string
	Tasks     []string // that are over, by seat
	Addresses []netip.Addr
}

// HostDrain is how far a host is with being emptied.
type HostDrain struct {
	spec.HostDrain
	Deployment string // that empties it; "": it has ended, as nothing is left that can go elsewhere
	Tasks      []DrainTask
}

// DrainTask is a task that is still on a host that is drained.
type DrainTask struct {
	Task  *spec.Task
	Stays bool   // it cannot go elsewhere, and nothing is done about it
	Why   string // what it waits for, or why it stays; "": its turn has not come
}

// Fenced is an address that may not move to another host yet.
type Fenced struct {
	Host    string
	Address netip.Addr
	Heard   time.Time // when the host was last heard of
	Until   time.Time // when the address is free to move; zero: never by itself
	Told    bool      // the host answers, and was told to withdraw the address: once it confirms, it is free
}

// Refusal is one stage of the funnel: Processed offers reached it, Declined were refused there.
type Refusal struct {
	Reason    string // Marathon's name
	Declined  int
	Processed int
}
