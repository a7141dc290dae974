package mesos

import (
	"context"
	"errors"
	"fmt"
)

var (
	// ErrNoLeader is Disconnected's error while ZooKeeper names no leading master.
	ErrNoLeader = errors.New("no master leads")
	// ErrNewLeader is Disconnected's error when ZooKeeper names another leading master than the one that the session is with.
	ErrNewLeader = errors.New("another master leads now")
)

// finder says which master to subscribe at.
type finder interface {
	// next is the master to try, and a channel that closes when another one should be tried instead; nil: never. failed says
	// that subscribing at the last one did not work.
	next(failed bool) (master string, changed <-chan struct{}, err error)
	// run keeps the knowledge fresh until ctx ends.
	run(ctx context.Context)
}

// list tries masters in turn: any of them redirects to the one that leads.
type list struct {
	masters []string
	at      int
}

func (l *list) next(failed bool) (string, <-chan struct{}, error) {
	if failed { // after a lost session the same master is the best guess
		l.at = (l.at + 1) % len(l.masters)
	}
	return l.masters[l.at], nil, nil
}

func (*list) run(context.Context) {}

func (o Options) finder() finder {
	if o.ZooKeeper != nil {
		return newDetector(*o.ZooKeeper, o.Log.WithField("component", "zookeeper"))
	}
	return &list{masters: o.Masters}
}

// subscribeAt finds the master and stays subscribed there as long as it can. changed is nil or closes when another master
// should be tried at once.
func (c *Client) subscribeAt(ctx context.Context, f finder, failed bool, events chan<- Event) (subscribed bool, changed <-chan struct{}, err error) {
	master, changed, err := f.next(failed)
	if err != nil {
		return false, changed, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // a nil channel never closes
		select {
		case <-changed:
			cancel(ErrNewLeader)
		case <-ctx.Done():
		}
	}()
	subscribed, err = c.attempt(ctx, master, events)
	if err == nil {
		err = fmt.Errorf("subscription at %s ended", master)
	}
	return subscribed, changed, err
}
