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
			return &manager.Error{Unit: name, Result: "no-process", Err: fmt.Errorf("no %sprocess to kill", strings.TrimPrefix(whom+" ", "all "))}
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

// together is errors.Join that leaves a single error as it is, as callers look into it.
func together(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
