// Package standalone is the embedded engine: it serves the Mesos v1 scheduler API over HTTP and runs the tasks on this
// machine's Docker Engine, as a Mesos master with one agent and the Docker containerizer would; or on several Docker Engines,
// each of which is a host with an agent's id of its own. In come calls of frameworks and the container inventories; out go
// events, and calls to Docker. It keeps no database: what it must remember about a task is in the labels and the name of the
// task's container. It never decides what should run.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

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

// Options configure an Engine. Hosts, StateDir and Log are required.
type Options struct {
	// Hosts are what tasks run on: this machine alone, or several Docker Engines that are offered as the agents of a cluster.
	Hosts []Host
	// StateDir holds the ids of removed frameworks. It may be that of one of the hosts.
	StateDir string

	// Principal and Secret are the HTTP basic credentials that every call needs. Both empty: no authentication.
	Principal, Secret string

	HeartbeatInterval time.Duration // default 15 s
	// UnreachableAfter is how long a Docker Engine may be silent until its host counts as unreachable, as an agent does whose
	// pings a master misses. 0: never; where there is one host, nothing could be done about it.
	UnreachableAfter time.Duration
	Log              logrus.FieldLogger
}

// Host is one Docker Engine and what is offered of it. Docker, Inventory, Hostname, StateDir, CPUs and MemMiB are required.
type Host struct {
	Docker    Docker
	Inventory Inventory
	// Hostname is the agent's name in offers; of several hosts each has its own.
	Hostname string
	// Attributes are the agent's, for constraints.
	Attributes map[string]string
	// StateDir holds the agent's id and the tasks' sandboxes. Docker must find it at the same path; no two hosts share it.
	StateDir string
	// VolumesDir holds the persistent volumes: a mount from below it is made when it is missing. "": there are none.
	VolumesDir string
	// Elsewhere are the folders that tasks name by a path common to all hosts, and where this host has them. Hosts that share a
	// file system need it.
	Elsewhere map[string]string

	// What the agent offers.
	CPUs    float64
	MemMiB  float64
	DiskMiB float64
	// Ports are the host ports offered; default 31000-32000.
	PortBegin, PortEnd int

	// Fetch bounds what tasks download into their sandboxes, and says which files of the host they may have. CacheDir
	// defaults to a folder in StateDir, Log to the engine's.
	Fetch fetch.Options

	KillGrace time.Duration // where neither task nor call say; default 5 s
	// KeepEnded is how long an ended container stays for its log; default 6 h. Of one seat only the newest stays.
	KeepEnded time.Duration
	// Launches bounds the containers being created and started at the same time; default 4.
	Launches int
}

func (o Options) withDefaults() Options {
	if o.HeartbeatInterval == 0 {
		o.HeartbeatInterval = 15 * time.Second
	}
	hosts := make([]Host, len(o.Hosts))
	for i, h := range o.Hosts {
		hosts[i] = h.withDefaults()
	}
	o.Hosts = hosts
	return o
}

func (h Host) withDefaults() Host {
	if h.PortBegin == 0 && h.PortEnd == 0 {
		h.PortBegin, h.PortEnd = 31000, 32000
	}
	if h.KillGrace == 0 {
		h.KillGrace = 5 * time.Second
	}
	if h.KeepEnded == 0 {
		h.KeepEnded = 6 * time.Hour
	}
	if h.Launches == 0 {
		h.Launches = 4
	}
	return h
}

// Validate names everything that is wrong.
func (o Options) Validate() error {
	var errs []error
	wrong := func(is bool, text string) {
		if is {
			errs = append(errs, errors.New(text))
		}
	}
	wrong(o.Log == nil, "no log")
	wrong(o.StateDir == "", "no state folder")
	wrong(len(o.Hosts) == 0, "no hosts")
	wrong((o.Principal == "") != (o.Secret == ""), "principal and secret go together")
	wrong(o.HeartbeatInterval < 0 || o.UnreachableAfter < 0, "intervals must not be negative")
	names, folders := map[string]bool{}, map[string]bool{}
	for _, h := range o.Hosts {
		if err := h.validate(); err != nil {
			errs = append(errs, fmt.Errorf("host %q: %w", h.Hostname, err))
		}
		wrong(names[h.Hostname], fmt.Sprintf("two hosts are named %q", h.Hostname))
		wrong(folders[filepath.Clean(h.StateDir)], fmt.Sprintf("two hosts have the state folder %q", h.StateDir))
		names[h.Hostname], folders[filepath.Clean(h.StateDir)] = true, true
	}
	return errors.Join(errs...)
}

func (h Host) validate() error {
	var errs []error
	wrong := func(is bool, text string) {
		if is {
			errs = append(errs, errors.New(text))
		}
	}
	wrong(h.Docker == nil, "no docker")
	wrong(h.Inventory == nil, "no inventory")
	wrong(h.Hostname == "", "no host name")
	wrong(h.StateDir == "", "no state folder")
	wrong(h.CPUs <= 0, "cpus must be positive")
	wrong(h.MemMiB <= 0, "memory must be positive")
	wrong(h.DiskMiB < 0, "disk must not be negative")
	wrong(h.PortBegin < 0 || h.PortEnd > 65535 || h.PortBegin > h.PortEnd, "the port range is none")
	wrong(h.KillGrace < 0 || h.KeepEnded < 0 || h.Launches < 0, "intervals and bounds must not be negative")
	return errors.Join(errs...)
}

// Engine serves the scheduler API for its hosts.
type Engine struct {
	opts     Options
	log      logrus.FieldLogger
	prepared []*preparedHost // in the order of the options
	removed  []string        // ids of frameworks removed by earlier runs
}

const removedFile = "removed_frameworks"

// New prepares an engine: it reads the state folders, or makes them with new agents' ids. Nothing runs before Run.
func New(o Options) (*Engine, error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("set up the engine: %w", err)
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the engine's state folder: %w", err)
	}
	e := &Engine{opts: o, log: o.Log.WithField("component", "engine")}
	for _, h := range o.Hosts {
		p, err := prepare(h, e.log)
		if err != nil {
			return nil, err
		}
		e.prepared = append(e.prepared, p)
	}
	removed, err := os.ReadFile(filepath.Join(o.StateDir, removedFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the removed frameworks: %w", err)
	}
	e.removed = strings.Fields(string(removed))
	return e, nil
}

// AgentID is the id of a host's agent; it stays the same as long as the host's state folder does. "": there is no such host.
func (e *Engine) AgentID(hostname string) string {
	for _, h := range e.prepared {
		if h.opts.Hostname == hostname {
			return h.agentID
		}
	}
	return ""
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
