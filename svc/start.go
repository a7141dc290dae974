package svc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// Start starts units and what they require, and stops what cannot be beside them.
func (s *Supervisor) Start(ctx context.Context, names ...string) error {
	rest, nativeErr := s.withoutNatives(ctx, names)
	order, err := s.set().StartOrder(rest...)
	if err != nil {
		return refused(err)
	}
	if rivals := s.set().Conflicting(s.running(), order...); len(rivals) > 0 {
		if err := s.stopAll(ctx, s.set().StopOrder(s.running(), rivals...), rivals, false); err != nil {
			return err
		}
	}
	return together([]error{nativeErr, s.startAll(ctx, order, names)})
}

// refused translates a start that package unit does not allow.
func refused(err error) error {
	bad := (*unit.OrderError)(nil)
	if !errors.As(err, &bad) {
		return err
	}
	return &manager.Error{Unit: bad.Unit, Result: string(bad.Load), Err: bad}
}

// withoutNatives starts the image's own services among units and gives the others.
func (s *Supervisor) withoutNatives(ctx context.Context, names []string) (rest []string, err error) {
	var errs []error
	for _, name := range names {
		if n, ok := s.native(name); ok {
			errs = append(errs, s.startNative(ctx, n))
		} else {
			rest = append(rest, name)
		}
	}
	return rest, together(errs)
}

// startAll starts units, each when those before it are up, and gives the errors of those that were asked for.
func (s *Supervisor) startAll(ctx context.Context, order, asked []string) error {
	g := s.graph(order)
	errs := g.run(func(u *unit.Unit, earlier map[string]error) error {
		for _, need := range slices.Concat(u.Requires, u.BindsTo) {
			if err := earlier[g.resolve(need)]; err != nil && !unsupported(err) {
				return &manager.Error{Unit: u.Name, Result: "dependency", Err: fmt.Errorf("%s failed, which it requires", need)}
			}
		}
		for _, need := range u.Requisite {
			if r, err := s.read(g.resolve(need)); strings.HasSuffix(need, ".service") && (err != nil || r.Active != manager.IsActive) {
				return &manager.Error{Unit: u.Name, Result: "dependency", Err: fmt.Errorf("%s is not active, which it needs", need)}
			}
		}
		return s.startUnit(ctx, u, slices.Contains(asked, u.Name))
	})
	return g.of(errs, asked)
}

// startUnit starts one unit whose dependencies are up.
func (s *Supervisor) startUnit(ctx context.Context, u *unit.Unit, asked bool) error {
	if u.OfInit() {
		return nil
	}
	// Also what cannot work here may be left out by its own conditions, and that is no error: many a socket unit says "not in a container".
	if u.Kind != unit.KindService {
		if failed, ok := s.conditions(u); !ok {
			return s.skip(u, failed)
		}
	}
	switch {
	case u.Kind == unit.KindService:
		if n, ok := s.native(u.Name); ok {
			return s.startNative(ctx, n)
		}
		return s.startService(ctx, u)
	case u.Kind == unit.KindTarget:
		_, err := s.update(u.Name, func(r *record) { r.set(manager.IsActive, "active", uptime()) })
		return err
	case u.Kind == unit.KindTimer:
		return s.startTimer(u)
	case u.Kind == unit.KindSocket:
		return s.startSocket(u)
	case asked:
		return &manager.Error{Unit: u.Name, Result: "not-supported", Err: fmt.Errorf("units of type %s do not work in a container", u.Kind)}
	}
	return nil
}

// unsupported says whether a start failed because of what no container has. Nobody who requires that could start at all if that counted.
func unsupported(err error) bool {
	bad := (*manager.Error)(nil)
	return errors.As(err, &bad) && bad.Result == "not-supported"
}

// startService starts a service and waits until that has succeeded or failed.
func (s *Supervisor) startService(ctx context.Context, u *unit.Unit) error {
	if _, err := os.Stat(s.path(stoppingFile)); err == nil {
		return &manager.Error{Unit: u.Name, Result: "canceled", Err: errors.New("the container is being stopped")}
	}
	for {
		job, state, err := s.enlist(u)
		switch {
		case err != nil:
			return err
		case state == manager.IsActive:
			return nil
		case state == manager.Deactivating:
			err := s.await(ctx, u.Name, func(r *record) bool { return r.Active != manager.Deactivating || r.abandoned() })
			if err = errors.Join(err, s.resume(u.Name)); err != nil {
				return err
			}
			continue
		case state == manager.Inactive:
			if begun, err := s.begin(ctx, u); err != nil || !begun {
				return err
			}
		}
		return s.outcome(ctx, u, job)
	}
}

// enlist joins a start that is under way, or makes this the one that does it. The state tells which: Inactive is "go on".
func (s *Supervisor) enlist(u *unit.Unit) (job string, state manager.Active, err error) {
	limited := false
	var waits process
	self, _ := look(os.Getpid())
	r, err := s.update(u.Name, func(r *record) {
		switch state = r.Active; {
		case state == manager.IsActive, state == manager.Reloading:
			state = manager.IsActive
			return
		case state == manager.Deactivating:
			return
		case state == manager.Activating && r.Job != "":
			job = r.Job
			return
		case state == manager.Activating:
			if r.Sub == "auto-restart" {
				waits = r.Finisher
			}
		default:
			state = manager.Inactive
			now := uptime()
			if _, ok := admit(r.Starts, now, u.StartLimitBurst, u.StartLimitInterval); !ok {
				limited = true
				r.Result = "start-limit-hit"
				r.set(manager.Failed, "failed", uptime())
				return
			}
			// The limit is for crash loops. systemd counts also what people and scripts start, and leaves a service down that was restarted a few
			// times by hand just before it crashed; here each start by hand is the first of a new count.
			r.Starts = []time.Duration{now}
			r.Restarts, r.ExitCode, r.ExitReason, r.Condition, r.Result = 0, 0, "", "", ""
			r.set(manager.Activating, "start", now)
			r.Worker = self
		}
		job = newInvocation()
		r.Job, r.Wanted, r.Verdict = job, wantUp, ""
	})
	if limited {
		return "", "", &manager.Error{Unit: u.Name, Result: r.Result, Err: errors.New("start request repeated too quickly")}
	}
	send(unix.SIGTERM, waits)
	return job, state, err
}

// begin has s6 start a service whose record says that this is under way. It is false if a condition does not hold.
func (s *Supervisor) begin(ctx context.Context, u *unit.Unit) (bool, error) {
	if failed, ok := s.conditions(u); !ok {
		return false, s.skip(u, failed)
	}
	s.makeWay(ctx, u)
	err := s.keep(u)
	if err == nil {
		err = s.launchService(ctx, u.Name)
	}
	if err == nil {
		self, _ := look(os.Getpid())
		_, err = s.update(u.Name, func(r *record) { r.release(self) }) // s6 looks after it now
	}
	if err != nil {
		out, done := s.logOf(u.Name)
		defer done()
		(&life{name: u.Name, out: out}).say("%s: Failed to run 'start' task: %v", u.Name, err)
		_, _ = s.update(u.Name, func(r *record) {
			r.Result = "resources"
			r.decide(r.Result)
			r.set(manager.Failed, "failed", uptime())
		})
		return false, &manager.Error{Unit: u.Name, Result: "resources", Err: err}
	}
	return true, nil
}

// skip is the end of a start whose condition does not hold.
func (s *Supervisor) skip(u *unit.Unit, failed unit.Condition) error {
	out, done := s.logOf(u.Name)
	defer done()
	l := life{name: u.Name, out: out}
	if failed.Assert {
		l.say("%s: Starting requested but asserts failed.", u.Name)
	} else {
		l.say("%s was skipped because of an unmet condition check (%s).", title(u), failed)
	}
	_, err := s.update(u.Name, func(r *record) {
		r.Condition, r.Wanted, r.Result = failed.String(), wantDown, "success"
		r.set(manager.Inactive, "dead", uptime())
		if failed.Assert {
			r.decide("assert") // the start has failed, but not the unit
		} else {
			r.decide(r.Result)
		}
	})
	if err == nil && failed.Assert {
		return &manager.Error{Unit: u.Name, Result: "assert", Err: fmt.Errorf("%s does not hold", failed)}
	}
	return err
}

// outcome waits for the end of a start.
func (s *Supervisor) outcome(ctx context.Context, u *unit.Unit, job string) error {
	var r record
	if err := s.await(ctx, u.Name, func(now *record) bool {
		r = *now
		return now.Job != job
	}); err != nil {
		return err
	}
	s.tidy(ctx, u.Name)
	switch r.Verdict {
	case "success", "exec-condition", "":
		return nil
	}
	return &manager.Error{Unit: u.Name, Result: r.Verdict, Err: errors.New(sentence(r.Verdict, &r))}
}

// sentence is why a start or a stop failed.
func sentence(result string, r *record) string {
	switch result {
	case "exit-code":
		return fmt.Sprintf("its process exited with code %d (%s)", r.ExitCode, unit.ExitName(r.ExitCode))
	case "signal", "core-dump":
		return "its process was ended by " + unit.SignalName(r.ExitCode)
	case "timeout":
		return "a timeout was exceeded"
	case "protocol":
		return "it did not do what its Type= promises"
	case "start-limit-hit":
		return "start request repeated too quickly"
	case "canceled":
		return "the job was canceled by a stop"
	}
	return "it failed with result " + result
}
