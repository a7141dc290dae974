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

var _ manager.Manager = (*Supervisor)(nil)

// Reconsider is daemon-reload: the generators run again, and units are read anew.
func (s *Supervisor) Reconsider() error {
	s.units = nil
	return s.generate(context.Background())
}

// Known lists the units that have a state.
func (s *Supervisor) Known() ([]string, error) {
	entries, err := os.ReadDir(s.path(stateFolder))
	if err != nil && !missing(err) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	for _, n := range s.natives() {
		if !s.aliasOfAnother(n.names[0], n) {
			names = append(names, n.names[0])
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// State tells how a unit is.
func (s *Supervisor) State(name string) (manager.State, error) {
	if n, ok := s.native(name); ok {
		return s.nativeState(n), nil
	}
	r, err := s.read(s.set().Unit(name).Name)
	if err != nil {
		return manager.State{}, err
	}
	state := r.state(time.Now(), uptime())
	if socket := s.set().Unit(name).Socket; socket != nil && state.Sub == "listening" {
		if service, err := s.State(socket.Service); err == nil && service.Active == manager.IsActive {
			state.Sub = "running"
		}
	}
	if r.Active != manager.Inactive && r.Active != manager.Failed {
		for _, p := range members(&r) {
			state.Processes = append(state.Processes, p.PID)
		}
	}
	return state, nil
}

// running lists the units that are up, or on their way.
func (s *Supervisor) running() []string {
	known, _ := s.Known()
	return slices.DeleteFunc(known, func(name string) bool {
		r, err := s.read(name)
		return err != nil || r.down()
	})
}

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

// together is errors.Join that leaves a single error as it is, as callers look into it.
func together(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
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

// Restart stops and starts units, and those that were stopped because of them.
func (s *Supervisor) Restart(ctx context.Context, names ...string) error {
	for _, name := range names {
		if u := s.set().Unit(name); u.Load != unit.Loaded {
			if _, ok := s.native(name); !ok {
				_, err := s.set().StartOrder(name)
				return refused(err)
			}
		}
	}
	running := s.running()
	order := s.set().StopOrder(running, names...)
	if err := s.stopAll(ctx, order, names, true); err != nil {
		return err
	}
	again := slices.Clone(names)
	for _, name := range order {
		if slices.Contains(running, name) && !slices.Contains(again, name) {
			again = append(again, name)
		}
	}
	return s.Start(ctx, again...)
}

// Reload asks services to read their configuration again.
func (s *Supervisor) Reload(ctx context.Context, names ...string) error {
	var errs []error
	for _, name := range names {
		if n, ok := s.native(name); ok {
			errs = append(errs, s.reloadNative(ctx, n))
			continue
		}
		u := s.set().Unit(name)
		errs = append(errs, s.reloadUnit(ctx, u))
		for _, other := range s.set().ReloadsWith(s.running(), name) {
			errs = append(errs, s.reloadUnit(ctx, s.set().Unit(other)))
		}
	}
	return together(errs)
}

func (s *Supervisor) reloadUnit(ctx context.Context, u *unit.Unit) error {
	r, err := s.read(u.Name)
	if err != nil {
		return err
	}
	if r.Active != manager.IsActive && r.Active != manager.Reloading {
		return &manager.Error{Unit: u.Name, Result: "not-active", Err: errors.New("it is not active, cannot reload")}
	}
	if u.Kind != unit.KindService {
		return nil
	}
	out, done := s.logOf(u.Name)
	defer done()
	l, err := s.lead(u.Name, out)
	if err != nil {
		return err
	}
	// What is new in the file counts for a reload, too: that is how it gets its ExecReload.
	if u.Load == unit.Loaded && u.Service != nil {
		l.u, l.sv = u, u.Service
	}
	if len(l.sv.ExecReload) == 0 && l.sv.Type != unit.NotifyReload {
		return &manager.Error{Unit: u.Name, Result: "not-supported", Err: fmt.Errorf("job type reload is not applicable for unit %s", u.Name)}
	}
	if err := l.reload(ctx); err != nil {
		return &manager.Error{Unit: u.Name, Result: resultOf(err), Err: err}
	}
	return nil
}

// Kill signals processes of units.
func (s *Supervisor) Kill(_ context.Context, signal, whom string, names ...string) error {
	number, ok := unit.Signal(signal)
	if !ok {
		return fmt.Errorf("unknown signal %q", signal)
	}
	for _, name := range names {
		state, err := s.State(name)
		if err != nil {
			return err
		}
		var to []int
		switch whom {
		case "main":
			to = []int{state.MainPID}
		case "control":
			to = []int{state.ControlPID}
		default:
			to = append(state.Processes, state.ControlPID)
		}
		sent := false
		slices.Sort(to)
		for _, pid := range slices.Compact(to) {
			sent = pid > 1 && unix.Kill(pid, unix.Signal(number)) == nil || sent
		}
		if !sent {
			return &manager.Error{Unit: name, Result: "no-process", Err: fmt.Errorf("no %s process to kill", strings.TrimSuffix(whom, "all"))}
		}
	}
	return nil
}

// ResetFailed forgets failures and the starts that the start limit counts.
func (s *Supervisor) ResetFailed(names ...string) error {
	if len(names) == 0 {
		names, _ = s.Known()
	}
	var errs []error
	for _, name := range names {
		name = s.set().Unit(name).Name
		if _, err := os.Stat(s.stateOf(name)); err != nil {
			continue
		}
		_, err := s.update(name, func(r *record) {
			r.Starts, r.Restarts = nil, 0
			if r.Active == manager.Failed {
				r.Result = "success"
				r.set(manager.Inactive, "dead", uptime())
			}
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
