// Package store keeps the scheduler's state: what goes in are transactions of changed records, what comes out is the whole
// state at the next start. It decides nothing, and it is never read while the scheduler runs: the owner loop holds the state.
//
// One Commit is one atomic, durable transaction. When it returns nil, the records survive a crash of the process and of the
// machine; the scheduler tells the engine of a task only after that.
//
// The state holds the private SSH host keys of the seats, so backends keep it readable by its owner only.
package store

import (
	"context"
	"net/netip"
	"time"

	"github.com/berth-project/berth/spec"
)

// MaxVersions is how many versions of one app are kept; the oldest go first.
const MaxVersions = 50

// State is everything that is stored. After Load the caller owns it and everything it points to. Its maps are never nil.
type State struct {
	FrameworkID string
	FenceAfter  time.Duration // the longest fence time that hosts may still go by
	Sequence    uint64        // versions of the host documents; only grows
	Apps        map[spec.AppID]*spec.App
	Groups      map[spec.AppID]*spec.Group
	Versions    map[spec.AppID][]*spec.App // oldest first, at most MaxVersions each
	Changes     []spec.TreeChange          // oldest first, at most MaxVersions
	Tasks       map[string]*spec.Task
	Seats       map[spec.SeatID]spec.Seat
	Leases      map[netip.Addr]spec.Lease
	Blocks      map[netip.Prefix]spec.Block
	Addresses   map[string]spec.HostAddress // by host, as they said
	Drains      map[string]spec.HostDrain   // by host
	Deployments map[string]*spec.Deployment
	Failures    map[spec.AppID]*spec.TaskFailure
	Delays      map[spec.AppID]Delay
}

// NewState is the state of a scheduler that has never run.
func NewState() *State {
	return &State{
		Apps:        map[spec.AppID]*spec.App{},
		Groups:      map[spec.AppID]*spec.Group{},
		Versions:    map[spec.AppID][]*spec.App{},
		Tasks:       map[string]*spec.Task{},
		Seats:       map[spec.SeatID]spec.Seat{},
		Leases:      map[netip.Addr]spec.Lease{},
		Blocks:      map[netip.Prefix]spec.Block{},
		Addresses:   map[string]spec.HostAddress{},
		Drains:      map[string]spec.HostDrain{},
		Deployments: map[string]*spec.Deployment{},
		Failures:    map[spec.AppID]*spec.TaskFailure{},
		Delays:      map[spec.AppID]Delay{},
	}
}

// Delay is an app's launch delay after failures (Marathon's backoff).
type Delay struct {
	Until         time.Time     // no launch before
	Delay         time.Duration // the present length, from which the next is made
	Reference     time.Time     // when the delay last grew
	ConfigVersion time.Time     // App.LastConfigChange that the delay belongs to; another configuration starts afresh
	Since         time.Time     // when the app began to wait
}

// Store is a durable place for the state, with one writer.
type Store interface {
	// Load reads the whole state. A record that cannot be decoded is an error that names its bucket and key.
	Load(ctx context.Context) (*State, error)
	// Commit makes all of t durable, or nothing of it. ctx is looked at before the transaction begins, not during it.
	Commit(ctx context.Context, t Txn) error
	// Close ends the use of the store. It waits for a running Commit.
	Close() error
}
