// Package agent owns one host: it fetches the host document, makes the pools' Docker networks and the packet filter,
// answers Docker's address requests, writes the folders that seats mount, probes the instances, and reports what it found.
// One loop decides; what takes time happens in workers that are given the newest state and answer with messages. It starts no
// container, and stops only what the document says has outlived its task: the rest is the engine's.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/agent/probe"
	"github.com/berth-project/berth/agent/router"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// Engine is the part of the Docker Engine that the agent uses; *docker.Client is the real one.
type Engine interface {
	Networks(ctx context.Context) ([]docker.Network, error)
	CreateNetwork(ctx context.Context, s docker.NetworkSpec) error
	RemoveNetwork(ctx context.Context, name string) error
	Exec(ctx context.Context, id string, cmd []string) (exitCode int, output []byte, err error)
	Stop(ctx context.Context, id string, grace time.Duration) error
	ImageExists(ctx context.Context, ref string) (bool, error)
	PullWatched(ctx context.Context, ref string, as docker.Credentials, progress func(got, of int64)) error
}

// Inventory is the host's containers; *docker.Inventory is the real one, and whoever composes the process runs it.
type Inventory interface {
	Get() (docker.Snapshot, <-chan struct{})
}

// Router is the host's network.
type Router interface {
	Set(ctx context.Context, want hostnet.Rules) error
	Cleanup(ctx context.Context) error
	// Carry keeps a pool's bridge up, with its address and route.
	Carry(bridge string, gateway netip.Prefix) error
	// Bridged looks for containers on the pools' bridges.
	Bridged([]hostnet.Spot) (map[netip.Addr]hostnet.Found, error)
}

// Options are what an agent needs. Engine, Inventory and Log must be given.
type Options struct {
	Host     string // the name under which the scheduler knows this host
	StateDir string // default /var/lib/berth
	API      string // the scheduler's, default unix:///run/berth/api.sock
	Token    string // for an API over TCP
	// IPAMName names Berth's IPAM driver and, with it, everything that keeps several agents on one machine apart. Default
	// "berth".
	IPAMName string
	// ExternalNetwork: another process on this host (Net) answers Docker and makes the pools' networks. The agent then only
	// looks whether they are there.
	ExternalNetwork bool
	// PluginDir is where Docker looks for plugin sockets. Default /run/docker/plugins.
	PluginDir string

	Engine    Engine
	Inventory Inventory
	// State is where the agent publishes what the host's other components need; nil: a value of its own. A composition
	// whose components give values to the agent as well makes it itself.
	State *watch.Value[spec.HostState]
	// Drained says which tasks clients no longer know, by id. Nil: nobody is told of instances, so none has to be told otherwise.
	Drained *watch.Value[map[string]spec.Drain]
	// Usage are figures for people, task id -> usage. May be nil.
	Usage *watch.Value[map[string]spec.Usage]
	// Metrics is where this process serves Prometheus, for the scheduler's list of targets: spec.HostReport.Metrics.
	Metrics string
	Log     logrus.FieldLogger

	// Credentials are those for an image's registry; default: what this user's Docker configuration has.
	Credentials func(ctx context.Context, image string) (docker.Credentials, error)
	// Router, Prober, HostAddresses and Transport default to the real ones.
	Router        Router
	Prober        probe.Prober
	HostAddresses func() (map[netip.Prefix]string, error) // address and its network -> interface
	Transport     http.RoundTripper
}

// Validate fills defaults and says what is wrong.
func (o *Options) Validate() error {
	if err := o.network(); err != nil {
		return err
	}
	if o.Inventory == nil {
		return errors.New("check agent options: inventory is needed")
	}
	if o.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("check agent options: no host name given, and %w", err)
		}
		o.Host = name
	}
	if o.State == nil {
		o.State = &watch.Value[spec.HostState]{}
	}
	if o.StateDir == "" {
		o.StateDir = "/var/lib/berth"
	}
	if o.API == "" {
		o.API = "unix:///run/berth/api.sock"
	}
	if o.Prober == nil {
		o.Prober = probe.NewProber(o.Engine)
	}
	if o.Credentials == nil {
		o.Credentials = func(ctx context.Context, image string) (docker.Credentials, error) {
			return docker.Configured(ctx, "", image)
		}
	}
	if o.HostAddresses == nil {
		o.HostAddresses = router.HostAddresses
	}
	return nil
}

// network is the part of Validate that Cleanup needs, too.
func (o *Options) network() error {
	if o.Engine == nil || o.Log == nil {
		return errors.New("check agent options: engine and log are needed")
	}
	if o.IPAMName == "" {
		o.IPAMName = "berth"
	}
	if o.PluginDir == "" {
		o.PluginDir = netplugin.Dir
	}
	if o.Router == nil && !o.ExternalNetwork {
		r, err := router.New(o.IPAMName)
		if err != nil {
			return fmt.Errorf("check agent options: %w", err)
		}
		o.Router = r
	}
	return nil
}

func (o *Options) documentFile() string { return filepath.Join(o.StateDir, "document.json") }

// SeatsDir holds one folder a seat, named SeatID.Safe(), which the seat's container mounts at spec.SeatMount.
func SeatsDir(stateDir string) string { return filepath.Join(stateDir, "seats") }
