package svc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// native is one of the image's own services, which s6 runs without a unit. Its units file says by which names of units it is known, the first
// being its own.
type native struct {
	folder string // in /run/service
	names  []string
}

// natives lists the image's own services.
func (s *Supervisor) natives() []native {
	entries, err := os.ReadDir(s.path(nativeFolder))
	if err != nil {
		return nil
	}
	var out []native
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		n := native{folder: e.Name()}
		text, _ := os.ReadFile(s.path(nativeFolder, e.Name(), "units"))
		if n.names = strings.Fields(string(text)); len(n.names) == 0 {
			n.names = []string{e.Name() + ".service"}
		}
		out = append(out, n)
	}
	return out
}

// native finds the image's own service of a unit's name. A package's unit of the same name yields to it; one that only has the name as an alias
// takes its place.
func (s *Supervisor) native(name string) (native, bool) {
	for _, n := range s.natives() {
		if slices.Contains(n.names, name) && !s.aliasOfAnother(name, n) {
			return n, true
		}
	}
	return native{}, false
}

// aliasOfAnother says whether a name of a native service is an alias of a unit that is not it.
func (s *Supervisor) aliasOfAnother(name string, n native) bool {
	u := s.set().Unit(name)
	return u.Load == unit.Loaded && !slices.Contains(n.names, u.Name)
}

// makeWay stops an image's own service whose name a unit has as an alias.
func (s *Supervisor) makeWay(ctx context.Context, u *unit.Unit) {
	for _, n := range s.natives() {
		if !slices.Contains(n.names, u.Name) && slices.ContainsFunc(u.Names, func(name string) bool { return slices.Contains(n.names, name) }) {
			_ = s.stopNative(ctx, n)
		}
	}
}

func (s *Supervisor) startNative(ctx context.Context, n native) error {
	if err := command(ctx, "s6-svc", "-wu", "-T", "5000", "-u", s.serviceFolder(n.folder)); err != nil {
		return &manager.Error{Unit: n.names[0], Result: "resources", Err: err}
	}
	return nil
}

func (s *Supervisor) stopNative(ctx context.Context, n native) error {
	limit := 30 * time.Second
	if end, ok := ctx.Deadline(); ok {
		limit = time.Until(end)
	}
	err := command(ctx, "s6-svc", "-wD", "-T", fmt.Sprint(limit.Milliseconds()), "-d", s.serviceFolder(n.folder))
	if err != nil {
		return &manager.Error{Unit: n.names[0], Result: "timeout", Err: err}
	}
	return nil
}

// reloadNative sends HUP, by which daemons of old read their configuration again; the unit of the same name says so where there is one.
func (s *Supervisor) reloadNative(ctx context.Context, n native) error {
	if !s.nativeUp(n) {
		return &manager.Error{Unit: n.names[0], Result: "not-active", Err: errors.New("it is not active, cannot reload")}
	}
	return command(ctx, "s6-svc", "-h", s.serviceFolder(n.folder))
}

func (s *Supervisor) nativeUp(n native) bool { return s.nativeState(n).Active == manager.IsActive }

// taiAhead is by how many seconds TAI, in which s6 counts, is ahead of UTC since 2017.
const taiAhead = 37

// s6Status is what of s6-supervise's status file is of use here.
type s6Status struct {
	since    time.Time
	pid      int
	finished bool // run has ended, finish is at work
}

// parseS6Status reads supervise/status of s6 2.11 to 2.13: two TAI64N stamps, process, group, how the last one ended, and flags.
func parseS6Status(b []byte) (s6Status, error) {
	if len(b) < 35 {
		return s6Status{}, fmt.Errorf("a status of %d bytes is not s6-supervise's", len(b))
	}
	seconds := binary.BigEndian.Uint64(b) - 1<<62 - taiAhead
	return s6Status{
		since:    time.Unix(int64(seconds), int64(binary.BigEndian.Uint32(b[8:]))),
		pid:      int(binary.BigEndian.Uint64(b[24:])),
		finished: b[34]&2 != 0,
	}, nil
}

// nativeState is how one of the image's own services is.
func (s *Supervisor) nativeState(n native) manager.State {
	state := manager.State{Active: manager.Inactive, Sub: "dead", Result: "success"}
	content, err := os.ReadFile(filepath.Join(s.serviceFolder(n.folder), "supervise/status"))
	if err != nil {
		return state
	}
	status, err := parseS6Status(content)
	if err != nil {
		return state
	}
	state.Since = status.since
	p, alive := look(status.pid)
	if status.pid == 0 || status.finished || !alive {
		return state
	}
	state.Active, state.Sub, state.MainPID = manager.IsActive, "running", status.pid
	state.Started = status.since
	r := record{Main: p, Supervised: p.PID}
	for _, p := range members(&r) {
		state.Processes = append(state.Processes, p.PID)
	}
	return state
}
