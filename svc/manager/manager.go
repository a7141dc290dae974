// Package manager has the words for what a manager of services is asked and what it answers. Package svc is the one under S6; svc/verbs,
// what people type, knows only this. It does nothing.
package manager

import (
	"context"
	"time"
)

// Active is systemd's ActiveState.
type Active string

// Active states.
const (
	IsActive     Active = "active"
	Reloading    Active = "reloading"
	Inactive     Active = "inactive"
	Failed       Active = "failed"
	Activating   Active = "activating"
	Deactivating Active = "deactivating"
)

// State is how a unit is now.
type State struct {
	Active Active
	Sub    string    // systemd's SubState: "running", "exited", "dead", "failed", "auto-restart", "start-pre", "stop-sigterm", ...
	Since  time.Time // of Active; zero if it never was anything else than inactive
	Result string    // systemd's Result: "success", "exit-code", "signal", "timeout", "start-limit-hit", "protocol", "resources", "oom-kill"

	MainPID    int // 0: none
	ControlPID int
	// Of the last main process that ended.
	ExitCode   int    // its exit code, or the signal's number
	ExitReason string // "exited", "killed", "dumped"; empty: none has ended
	ExitPID    int
	Started    time.Time // when the main process that runs, or else ended last, was started; zero if unknown
	Restarts   int       // automatic ones since the last start by hand
	StatusText string    // what the service said of itself with STATUS=
	Condition  string    // the condition that kept it from starting, empty: none
	Processes  []int     // all of the service, main process first
}

// Manager does to units what systemd's manager does. A name is complete ("nginx.service"); an alias is accepted. A call waits until the job
// is done, or ctx ends. Errors are *Error.
type Manager interface {
	// Start starts a unit and what it requires, in order. A unit that is active is left alone. A condition that does not hold is no error.
	Start(ctx context.Context, names ...string) error
	// Stop stops units, and those that require them, in reverse order.
	Stop(ctx context.Context, names ...string) error
	Restart(ctx context.Context, names ...string) error // starts what does not run
	Reload(ctx context.Context, names ...string) error
	Kill(ctx context.Context, signal, whom string, names ...string) error // whom: "main", "control", "all"
	ResetFailed(names ...string) error                                    // of all without names
	State(name string) (State, error)
	// Known lists the units that have a state, by name: those that run, have failed, or were started since the container's start.
	Known() ([]string, error)
	// Reconsider is daemon-reload: units are read again. Running services keep what they were started with until they are restarted.
	Reconsider() error
}

// Error is why a job failed.
type Error struct {
	Unit   string
	Result string // as State.Result; "not-found", "masked", "bad-setting", "dependency", "not-supported" for what could not begin
	Err    error
}

// Error says it in a sentence.
func (e *Error) Error() string { return e.Unit + ": " + e.Err.Error() }

// Unwrap is for errors.Is.
func (e *Error) Unwrap() error { return e.Err }
