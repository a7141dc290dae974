package svc

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// Stop stops units, and those that cannot be without them.
func (s *Supervisor) Stop(ctx context.Context, names ...string) error {
	return s.stopAll(ctx, s.set().StopOrder(s.running(), names...), names, false)
}

// stopAll stops units, each when those after it are down.
func (s *Supervisor) stopAll(ctx context.Context, order, asked []string, again bool) error {
	g := s.graph(order)
	errs := g.reversed().run(func(u *unit.Unit, _ map[string]error) error { return s.stopUnit(ctx, u, again) })
	return g.of(errs, asked)
}

// stopUnit stops one unit. With again it will be started at once, and s6 keeps it.
func (s *Supervisor) stopUnit(ctx context.Context, u *unit.Unit, again bool) error {
	if n, ok := s.native(u.Name); ok {
		return s.stopNative(ctx, n)
	}
	switch u.Kind {
	case unit.KindTimer:
		return s.stopTimer(u)
	case unit.KindSocket:
		return s.stopSocket(u)
	case unit.KindTarget:
		_, err := s.update(u.Name, func(r *record) { r.set(manager.Inactive, "dead", uptime()) })
		return err
	}
	return s.stopService(ctx, u.Name, again)
}

// stopService orders a service to stop and waits until it has. One that somebody has begun to start anew is told again, but by a restart, which
// wants nothing else.
func (s *Supervisor) stopService(ctx context.Context, name string, again bool) error {
	if err := s.order(name, again); err != nil {
		return err
	}
	var r record
	for !r.down() {
		if err := s.await(ctx, name, func(now *record) bool {
			r = *now
			return r.down() || r.Wanted == wantUp || r.abandoned()
		}); err != nil {
			return err
		}
		var err error
		switch {
		case r.down():
		case r.Wanted != wantUp:
			err = s.resume(name)
		case again:
			return nil
		default:
			err = s.order(name, again)
		}
		if err != nil {
			return err
		}
	}
	if !again {
		s.tidy(ctx, name)
	}
	return nil
}

// resume goes on with a stop in whose middle the process that did it was killed.
func (s *Supervisor) resume(name string) error {
	abandoned := false
	_, err := s.update(name, func(r *record) {
		if abandoned = r.Active == manager.Deactivating && r.abandoned(); abandoned {
			r.Worker = process{}
		}
	})
	if err != nil || !abandoned {
		return err
	}
	return s.detach("end", name)
}

// order tells whoever looks after a service to stop it.
func (s *Supervisor) order(name string, again bool) error {
	if r, err := s.read(name); err != nil || r.down() {
		return err
	}
	r, err := s.update(name, func(r *record) {
		if r.down() {
			return
		}
		r.Wanted, r.Again = wantDown, again
		if r.Job != "" {
			r.decide("canceled")
		}
	})
	switch {
	case err != nil:
		return err
	case r.down():
		return nil
	case r.Active == manager.Deactivating:
		return s.resume(name)
	case r.Sub == "auto-restart":
		send(unix.SIGTERM, r.Finisher)
		return nil
	case r.Sub == "exited":
		return s.detach("end", name)
	case r.Followed || r.Active == manager.Activating:
		if p, ok := look(r.Supervised); ok && r.Supervised > 1 {
			send(unix.SIGTERM, p)
		}
		return nil
	}
	return s.detach("end", name)
}

// await waits until a record is as it should be.
func (s *Supervisor) await(ctx context.Context, name string, done func(*record) bool) error {
	for pause := 2 * time.Millisecond; ; pause = min(pause+pause/2, 30*time.Millisecond) {
		r, err := s.read(name)
		if err != nil || done(&r) {
			return err
		}
		select {
		case <-ctx.Done():
			return &manager.Error{Unit: name, Result: "timeout", Err: context.Cause(ctx)}
		case <-time.After(pause):
		}
	}
}

// tidyPatience is how long a run and a finish that have nothing to do any more may take.
const tidyPatience = 5 * time.Second

// tidy takes a service from s6 that is down for good, unless somebody starts it meanwhile.
func (s *Supervisor) tidy(ctx context.Context, name string) {
	unlock, err := s.lockService(name)
	if err != nil {
		return
	}
	defer unlock()
	r, err := s.read(name)
	exited := r.Active == manager.IsActive && r.Sub == "exited"
	if err != nil || !exited && !r.down() {
		return
	}
	folder := s.serviceFolder(name)
	if !watchedBy(folder) || command(ctx, "s6-svwait", "-D", "-t", fmt.Sprint(tidyPatience.Milliseconds()), folder) == nil {
		s.retire(ctx, name)
	}
}
