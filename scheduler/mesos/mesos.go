// Package mesos is the client of the Mesos v1 scheduler API: the events of one subscription come out of Run as values in
// the scheduler's own words, and calls go in as methods. It keeps the subscription alive (heartbeat watchdog, backoff,
// redirects to the leading master, or its election in ZooKeeper) and translates; it never decides what to do with an offer or a task.
//
// Wire types (Mesos protobufs) do not leave this package. The embedded engine speaks the same API, so one machine and a
// cluster of thousands are the same to this package.
package mesos

import (
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/spec"
)

// Event is one thing that the engine, or the connection to it, reported.
type Event interface{ event() }

// Subscribed begins a session: calls work from now on, offers of earlier sessions are void, and nothing is suppressed.
// The framework id must be stored before the first launch.
type Subscribed struct {
	FrameworkID string
	Master      string // the master's address as it was reached, "http://10.0.0.1:5050"
	MasterID    string
	Version     string // of the master
	Heartbeat   time.Duration
}

// Disconnected says that there is no session: an existing one ended, or an attempt to begin one failed. Calls fail with
// ErrDisconnected until the next Subscribed. All offers are void.
type Disconnected struct {
	Err   error         // ErrFailedOver when another scheduler took the framework over
	Retry time.Duration // the next attempt begins after this
}

// Offers are new offers. They stay valid until used, rescinded, or the session ends.
type Offers struct{ Offers []spec.Offer }

// Rescinded withdraws one offer.
type Rescinded struct{ OfferID string }

// Update is a task's status. When its UUID is set it must be acknowledged, otherwise it comes again.
type Update struct{ Status spec.TaskStatus }

// AgentFailed says that the master removed an agent; its tasks are reported apart.
type AgentFailed struct{ AgentID string }

// ExecutorFailed says that an executor ended by itself.
type ExecutorFailed struct {
	AgentID, ExecutorID string
	Status              int // wait status
}

// FrameworkRemoved says that the master has ended the framework and all its tasks for good: its failover timeout passed or
// an operator tore it down. Run returns ErrFrameworkRemoved; beginning anew under another id needs an operator's word.
type FrameworkRemoved struct{ Message string }

func (Subscribed) event()       {}
func (Disconnected) event()     {}
func (Offers) event()           {}
func (Rescinded) event()        {}
func (Update) event()           {}
func (AgentFailed) event()      {}
func (ExecutorFailed) event()   {}
func (FrameworkRemoved) event() {}

var (
	// ErrDisconnected is the error of calls made, or still waiting for an answer, while there is no session.
	ErrDisconnected = errors.New("not subscribed to the engine")
	// ErrFrameworkRemoved is Run's error after FrameworkRemoved.
	ErrFrameworkRemoved = errors.New("the framework has been removed by the master")
	// ErrAbandoned is Disconnected's error when the master had removed the framework that Options.Abandon names.
	ErrAbandoned = errors.New("the removed framework is given up")
	// ErrFailedOver is Disconnected's error after another scheduler subscribed with the same framework id.
	ErrFailedOver = errors.New("another scheduler has subscribed with the same framework id")
	// ErrSilent is Disconnected's error when the master sent nothing, not even heartbeats, for too long.
	ErrSilent = errors.New("the master is silent")
)

// MasterError is an ERROR event other than the ones with an error of their own.
type MasterError struct{ Message string }

func (e *MasterError) Error() string { return "the master refuses: " + e.Message }

// CallError is a call, or SUBSCRIBE, that the master answered with another status than success.
type CallError struct {
	Call   string // "ACCEPT"
	Status int
	Body   string // the beginning of the answer's text
}

func (e *CallError) Error() string {
	if e.Body == "" {
		return fmt.Sprintf("%s: the master answered %d", e.Call, e.Status)
	}
	return fmt.Sprintf("%s: the master answered %d: %s", e.Call, e.Status, e.Body)
}
