// Package standalone is the embedded engine: it serves the Mesos v1 scheduler API over HTTP and runs the tasks on this
// machine's Docker Engine, as a Mesos master with one agent and the Docker containerizer would. In come calls of
// frameworks and the container inventory; out go events, and calls to Docker. It keeps no database: what it must remember
// about a task is in the labels and the name of the task's container. It never decides what should run.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/standalone/fetch"
)

// Docker is what the engine asks of a Docker Engine; *docker.Client is the real one.
type Docker interface {
	Create(ctx context.Context, s docker.CreateSpec) (string, error)
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id string, grace time.Duration) error
	Kill(ctx context.Context, id, signal string) error
	Remove(ctx context.Context, id string, force bool) error
	Rename(ctx context.Context, id, name string) error
	Inspect(ctx context.Context, id string) (docker.Container, error)
	ImageExists(ctx context.Context, ref string) (bool, error)
	Pull(ctx context.Context, ref string, as docker.Credentials) error
}

// Inventory is the engine's view of what runs; *docker.Inventory is the real one, and somebody else runs it.
type Inventory interface {
	Get() (docker.Snapshot, <-chan struct{})
}

// Options configure an Engine. Docker, Inventory, Hostname, StateDir, CPUs, MemMiB and Log are required.
type Options struct {
	Docker    Docker
	Inventory Inventory
	// Hostname is the agent's name in offers.
	Hostname string
	// StateDir holds the agent's id, the ids of removed frameworks and the tasks' sandboxes.
	StateDir string
	// VolumesDir holds the persistent volumes: a mount from below it is made when it is missing. "": there are none.
	VolumesDir string

	// What the agent offers.
	CPUs    float64
	MemMiB  float64
	DiskMiB float64
	// Ports are the host ports offered; default 31000-32000.
	PortBegin, PortEnd int

	// Principal and Secret are the HTTP basic credentials that every call needs. Both empty: no authentication.
	Principal, Secret string

	// Fetch bounds what tasks download into their sandboxes, and says which files of the host they may have. CacheDir
	// defaults to a folder in StateDir, Log to the engine's.
	Fetch fetch.Options

	HeartbeatInterval time.Duration // default 15 s
	KillGrace         time.Duration // where neither task nor call say; default 5 s
	// KeepEnded is how long an ended container stays for its log; default 6 h. Of one seat only the newest stays.
	KeepEnded time.Duration
	// Launches bounds the containers being created and started at the same time; default 4.
	Launches int
	Log      logrus.FieldLogger
}

func (o Options) withDefaults() Options {
	if o.PortBegin == 0 && o.PortEnd == 0 {
		o.PortBegin, o.PortEnd = 31000, 32000
	}
	if o.HeartbeatInterval == 0 {
		o.HeartbeatInterval = 15 * time.Second
	}
	if o.KillGrace == 0 {
		o.KillGrace = 5 * time.Second
	}
	if o.KeepEnded == 0 {
		o.KeepEnded = 6 * time.Hour
	}
	if o.Launches == 0 {
		o.Launches = 4
	}
	return o
}

// Validate names everything that is wrong.
func (o Options) Validate() error {
	var errs []error
	wrong := func(is bool, text string) {
		if is {
			errs = append(errs, errors.New(text))
		}
	}
	wrong(o.Docker == nil, "no docker")
	wrong(o.Inventory == nil, "no inventory")
	wrong(o.Log == nil, "no log")
	wrong(o.Hostname == "", "no host name")
	wrong(o.StateDir == "", "no state folder")
	wrong(o.CPUs <= 0, "cpus must be positive")
	wrong(o.MemMiB <= 0, "memory must be positive")
	wrong(o.DiskMiB < 0, "disk must not be negative")
	wrong(o.PortBegin < 0 || o.PortEnd > 65535 || o.PortBegin > o.PortEnd, "the port range is none")
	wrong((o.Principal == "") != (o.Secret == ""), "principal and secret go together")
	wrong(o.HeartbeatInterval < 0 || o.KillGrace < 0 || o.KeepEnded < 0 || o.Launches < 0, "intervals and bounds must not be negative")
	return errors.Join(errs...)
}

// Engine serves the scheduler API for one machine.
type Engine struct {
	opts    Options
	log     logrus.FieldLogger
	agentID string
	removed []string // ids of frameworks removed by earlier runs
	fetcher *fetch.Fetcher
}

const (
	agentFile   = "agent_id"
	removedFile = "removed_frameworks"
	sandboxDir  = "sandboxes"
	fetchedDir  = "fetched"
)

// New prepares an engine: it reads the state folder, or makes it with a new agent id. Nothing runs before Run.
func New(o Options) (*Engine, error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("set up the engine: %w", err)
	}
	dir, err := filepath.Abs(o.StateDir) // Docker takes mounts by absolute path only
	if err != nil {
		return nil, fmt.Errorf("find the engine's state folder: %w", err)
	}
	o.StateDir = dir
	if err := os.MkdirAll(filepath.Join(o.StateDir, sandboxDir), 0o700); err != nil {
		return nil, fmt.Errorf("make the engine's state folder: %w", err)
	}
	e := &Engine{opts: o, log: o.Log.WithField("component", "engine")}
	if e.agentID, err = readAgentID(filepath.Join(o.StateDir, agentFile)); err != nil {
		return nil, err
	}
	if o.Fetch.CacheDir == "" {
		o.Fetch.CacheDir = filepath.Join(o.StateDir, fetchedDir)
	}
	if o.Fetch.Log == nil {
		o.Fetch.Log = e.log
	}
	if e.fetcher, err = fetch.New(o.Fetch); err != nil {
		return nil, err
	}
	removed, err := os.ReadFile(filepath.Join(o.StateDir, removedFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the removed frameworks: %w", err)
	}
	e.removed = strings.Fields(string(removed))
	return e, nil
}

// AgentID is the id of this machine's agent; it stays the same as long as the state folder does.
func (e *Engine) AgentID() string { return e.agentID }

func readAgentID(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(raw))) > 0 {
		return strings.TrimSpace(string(raw)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the agent id: %w", err)
	}
	id := uuid.NewString() + "-S0"
	// A half written id would orphan every container: write beside it, then rename.
	next := file + ".new"
	if err := os.WriteFile(next, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the agent id: %w", err)
	}
	if err := os.Rename(next, file); err != nil {
		return "", fmt.Errorf("write the agent id: %w", err)
	}
	return id, nil
}

// rememberRemoved appends a framework's id before its tasks are ended, so that a crash in between does not revive it.
func (e *Engine) rememberRemoved(id string) error {
	f, err := os.OpenFile(filepath.Join(e.opts.StateDir, removedFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("remember removed framework %s: %w", id, err)
	}
	_, err = f.WriteString(id + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("remember removed framework %s: %w", id, err)
	}
	return nil
}
