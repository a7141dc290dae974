package svc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/internal/wholefile"
	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// record is what is kept of a unit between the processes that look after it. Times are since the kernel's boot.
type record struct {
	Active    manager.Active `json:"active"`
	Sub       string         `json:"sub"`
	Since     time.Duration  `json:"since"`
	Result    string         `json:"result,omitempty"`
	Condition string         `json:"condition,omitempty"`
	Status    string         `json:"status,omitempty"`

	Supervised int     `json:"supervised,omitempty"` // run's process: the daemon itself, or the one that follows it; also its session
	Followed   bool    `json:"followed,omitempty"`   // Supervised only follows
	Main       process `json:"main,omitzero"`
	Last       process `json:"last,omitzero"` // the main process that was or is
	Control    int     `json:"control,omitempty"`
	Finisher   process `json:"finisher,omitzero"` // finish's process, while it is at work
	Worker     process `json:"worker,omitzero"`   // the process nobody would start again that is to bring it to its next state, while it is at work
	ExitCode   int     `json:"exitCode,omitempty"`
	ExitReason string  `json:"exitReason,omitempty"`

	Invocation string          `json:"invocation,omitempty"`
	Wanted     wanted          `json:"wanted,omitempty"`
	Started    bool            `json:"started,omitempty"`   // its start-up succeeded, so ExecStop is due when it ends
	StopRan    bool            `json:"stopRan,omitempty"`   // ExecStop has had its turn
	Signalled  bool            `json:"signalled,omitempty"` // all its processes have been asked to end
	Again      bool            `json:"again,omitempty"`     // it is stopped to be started again
	Restarts   int             `json:"restarts,omitempty"`
	Starts     []time.Duration `json:"starts,omitempty"`  // those that the start limit counts
	Job        string          `json:"job,omitempty"`     // of the start that waits; empty when it is decided
	Verdict    string          `json:"verdict,omitempty"` // the Result that the last such start had
}

// wanted is what the last one who gave an order wants a unit to be.
type wanted string

const (
	wantUp   wanted = "up"
	wantDown wanted = "down"
)

const (
	recordFile   = "state"
	snapshotFile = "unit"
	lockFile     = "lock"
)

// tick is the unit of a process's start: USER_HZ, which is 100 on all of Linux.
const tick = 10 * time.Millisecond

// set changes the state, and its time if ActiveState changes with it.
func (r *record) set(active manager.Active, sub string, now time.Duration) {
	if r.Active != active {
		r.Since = now
	}
	r.Active, r.Sub = active, sub
}

// decide ends the wait of whoever started the unit.
func (r *record) decide(result string) {
	if r.Job != "" {
		r.Job, r.Verdict = "", result
	}
}

// state is a record as the outside sees it.
func (r *record) state(now time.Time, up time.Duration) manager.State {
	out := manager.State{Active: r.Active, Sub: r.Sub, Result: r.Result, ControlPID: r.Control, ExitCode: r.ExitCode, ExitReason: r.ExitReason,
		Restarts: r.Restarts, StatusText: r.Status, Condition: r.Condition}
	if r.Since > 0 {
		out.Since = now.Add(r.Since - up)
	}
	if r.Last.PID != 0 {
		out.Started = now.Add(time.Duration(r.Last.Start)*tick - up)
	}
	if r.Main.alive() {
		out.MainPID = r.Main.PID
	} else if r.ExitReason != "" {
		out.ExitPID = r.Last.PID
	}
	return out
}

// abandoned says whether a unit would stay in its state for ever: who was about to start, end or reload it was killed. Those that s6 starts, run
// and finish, are not meant: s6 sees to it that they go on.
func (r *record) abandoned() bool { return r.Worker.PID != 0 && !r.Worker.alive() }

// release is what a process does that has done its work. Another may be at work by then.
func (r *record) release(worker process) {
	if r.Worker.PID == worker.PID {
		r.Worker = process{}
	}
}

// revert undoes what was begun and abandoned. A stop is not among it: it has to be brought to its end (see order).
func (r *record) revert() {
	switch {
	case r.Active != manager.Activating && r.Active != manager.Reloading || !r.abandoned():
		return
	case r.Active == manager.Reloading:
		r.set(manager.IsActive, "running", uptime())
	default:
		r.decide("canceled")
		r.Wanted = wantDown
		r.set(manager.Inactive, "dead", uptime())
	}
	r.Worker = process{}
}

// down says whether nothing of a unit runs, nor will by itself.
func (r *record) down() bool { return r.Active == manager.Inactive || r.Active == manager.Failed }

// read gives a unit's record; one without a record is inactive.
func (s *Supervisor) read(name string) (record, error) {
	content, err := os.ReadFile(filepath.Join(s.stateOf(name), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return record{Active: manager.Inactive, Sub: "dead", Result: "success"}, nil
	}
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, fmt.Errorf("read the state of %s: %w", name, err)
	}
	r.revert()
	return r, nil
}

// update changes a unit's record, with all others that want to kept out.
func (s *Supervisor) update(name string, change func(*record)) (record, error) {
	dir := s.stateOf(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return record{}, err
	}
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return record{}, err
	}
	defer unlock()
	r, err := s.read(name)
	if err != nil {
		r = record{Active: manager.Inactive, Sub: "dead"} // a half-written one cannot be; one of another version can
	}
	change(&r)
	if r.Main.PID != 0 {
		r.Last = r.Main
	}
	content, err := json.Marshal(&r)
	if err != nil {
		return record{}, err
	}
	// Every user may ask how a unit is, as on a server.
	return r, wholefile.ReplaceFor(filepath.Join(dir, recordFile), content, 0o644)
}

// lock takes a lock that ends with the process at the latest.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// keep saves what a unit is started with: it is stopped and restarted by the same words, whatever becomes of its file.
func (s *Supervisor) keep(u *unit.Unit) error {
	content, err := json.Marshal(u)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.stateOf(u.Name), 0o755); err != nil {
		return err
	}
	return wholefile.Replace(filepath.Join(s.stateOf(u.Name), snapshotFile), content)
}

// kept gives what a unit was started with.
func (s *Supervisor) kept(name string) (*unit.Unit, error) {
	content, err := os.ReadFile(filepath.Join(s.stateOf(name), snapshotFile))
	if err != nil {
		return nil, err
	}
	u := new(unit.Unit)
	if err := json.Unmarshal(content, u); err != nil {
		return nil, fmt.Errorf("read what %s was started with: %w", name, err)
	}
	return u, nil
}
