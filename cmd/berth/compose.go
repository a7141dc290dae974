package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/berth-project/berth/agent"
	"github.com/berth-project/berth/cpuquota"
	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/monitor"
	"github.com/berth-project/berth/registrator"
	"github.com/berth-project/berth/scheduler"
	"github.com/berth-project/berth/scheduler/admit"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
	"github.com/berth-project/berth/standalone"
	"github.com/berth-project/berth/standalone/fetch"
)

// composition is one process being put together; each method adds what it names to the group.
type composition struct {
	settings
	group     run.Group
	docker    *docker.Client // this host's
	inventory *docker.Inventory
	engines   []followed // whose containers the engine runs tasks in: this host's, and other endpoints
	state     *watch.Value[spec.HostState]
	dataDir   watch.Value[string] // this host's Docker Engine's, once it has answered
	agentID   string              // the engine's, which stays as long as the state folder does

	committing sync.Mutex // held while an image is made of an instance
}

// followed is a Docker Engine whose containers are followed.
type followed struct {
	client    *docker.Client
	inventory *docker.Inventory
}

// compose wires the components of a standalone machine. They meet through HTTP, the host document, Docker and Consul, just
// as on a fleet; only the inventory of containers is shared.
func compose(ctx context.Context, s settings) (*run.Group, error) {
	c := &composition{settings: s}
	info, err := c.addDocker(ctx)
	if err != nil {
		return nil, err
	}
	engineURL, secret, err := c.addEngine(info)
	if err != nil {
		return nil, err
	}
	cluster := engineSide{
		mesos:        mesos.Options{Masters: []string{engineURL}, Principal: enginePrincipal, Secret: secret, Framework: mesos.Framework{Name: "berth"}},
		hostStateDir: c.StateDir, features: map[string]bool{marathon.FeatureGPU: true}, logs: c.logs, instances: instances{c},
	}
	if _, err := c.addScheduler(ctx, cluster); err != nil {
		return nil, err
	}
	if err := c.addHost("unix://"+c.socket(), ""); err != nil {
		return nil, err
	}
	return &c.group, nil
}

// addDocker connects to the Docker Engine, which must answer, and follows its containers.
func (c *composition) addDocker(ctx context.Context) (docker.Info, error) {
	if err := c.followDocker(); err != nil {
		return docker.Info{}, err
	}
	info, err := c.docker.Info(ctx)
	if err != nil {
		return docker.Info{}, fmt.Errorf("ask the Docker Engine: %w (is dockerd running?)", err)
	}
	return info, nil
}

// followDocker follows the containers of the Docker Engine from when it answers on.
func (c *composition) followDocker() error {
	var err error
	if c.docker, err = docker.New(c.DockerHost); err != nil {
		return fmt.Errorf("connect to the Docker Engine: %w", err)
	}
	c.state = &watch.Value[spec.HostState]{}
	c.inventory = c.follow(c.docker, c.Hostname)
	c.group.Add("live-restore", c.needLiveRestore)
	return nil
}

// needLiveRestore warns when the engine that answers first runs without it.
func (c *composition) needLiveRestore(ctx context.Context) error {
	for {
		snap, changed := c.inventory.Get()
		if snap.Connected {
			if info, err := c.docker.Info(ctx); err == nil {
				c.dataDir.Set(info.RootDir)
				if !info.LiveRestore {
					c.log.Warn("the Docker Engine runs without live-restore: containers end with it (start dockerd with --live-restore)")
				}
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// follow has the containers of a Docker Engine followed.
func (c *composition) follow(client *docker.Client, host string) *docker.Inventory {
	i := docker.NewInventory(client, c.log.WithField("host", host))
	c.engines = append(c.engines, followed{client, i})
	c.group.Add("inventory of "+host, i.Run)
	return i
}

// fetchRoots are the folders from which tasks may fetch files of this machine.
func (c *composition) fetchRoots() []string {
	if c.PullConfigs == "" {
		return c.Admit.HostPaths
	}
	return append(slices.Clone(c.Admit.HostPaths), c.PullConfigs)
}

const enginePrincipal = "berth"

// addEngine adds the embedded engine.
func (c *composition) addEngine(info docker.Info) (url, secret string, err error) {
	l, secret, err := c.engineListener()
	if err != nil {
		return "", "", err
	}
	cpus, mem := c.OfferCPUs, c.OfferMem
	if cpus == 0 {
		cpus = float64(info.NCPU)
	}
	if mem == 0 {
		mem = offeredMem(info)
	}
	disk, err := freeDisk(c.StateDir)
	if err != nil {
		return "", "", err
	}
	engine, err := standalone.New(standalone.Options{
		StateDir: c.StateDir, Principal: enginePrincipal, Secret: secret, Log: c.log,
		Hosts: []standalone.Host{{
			Docker: c.docker, Inventory: c.inventory, Hostname: c.Hostname, StateDir: c.StateDir, VolumesDir: agent.VolumesDir(c.StateDir),
			Attributes: withLXCFS(nil),
			Fetch:      fetch.Options{Bytes: c.FetchLimit << 20, CacheBytes: c.FetchCache << 20, Roots: c.fetchRoots()},
			CPUs:       cpus, MemMiB: float64(int(mem)), DiskMiB: disk,
		}},
	})
	if err != nil {
		return "", "", err
	}
	c.agentID = engine.AgentID(c.Hostname)
	c.group.Add("engine", func(ctx context.Context) error { return engine.Run(ctx, l) })
	return "http://" + l.Addr().String(), secret, nil
}

// offeredMem is what to offer of a machine's memory, in MiB: all but 1 GiB, or half of less than 2 GiB.
func offeredMem(info docker.Info) float64 {
	total := float64(info.MemTotal) / (1 << 20)
	return float64(int(max(total-1024, total/2)))
}

// engineSide is what differs between the embedded engine and a Mesos cluster.
type engineSide struct {
	mesos        mesos.Options // without the framework's id, host name and log
	roles        []string      // the framework's; empty where there are none to tell apart
	hostStateDir string        // --state-dir of the hosts' agents
	features     map[string]bool
	nativeChecks bool
	// logs copies a task's output; nil where the scheduler cannot get at it.
	logs func(ctx context.Context, taskID string, o api.LogOptions, w io.Writer) error
	// instances looks into instances; nil as logs.
	instances api.Instances
}

func (c *composition) addScheduler(ctx context.Context, e engineSide) (*scheduler.Scheduler, error) {
	db, err := store.Open(filepath.Join(c.StateDir, "berth.db"), store.BoltOptions{Log: c.log})
	if err != nil {
		return nil, err
	}
	state, err := db.Load(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	listeners, err := c.listen()
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if c.Listen != "" {
		e.mesos.Framework.WebURL = "http://" + c.leader(listeners) // where Mesos's console sends people
	}
	e.mesos.Framework.ID, e.mesos.Framework.Hostname, e.mesos.Log = state.FrameworkID, c.Hostname, c.log
	client, err := mesos.New(e.mesos)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	events := api.NewLog(api.DefaultEventBacklog)
	sched, err := scheduler.New(scheduler.Options{
		Roles: e.roles,
		Store: db, State: state, Engine: client, Events: events, Pools: c.pools, BGP: c.network.BGP, Policies: c.network.Policies, Hosts: c.network.Hosts, AuthorizedKeys: c.keys, Cluster: c.Cluster,
		Launch:      launch.Options{BaseImage: c.BaseImage, SeatsDir: agent.SeatsDir(e.hostStateDir), VolumesDir: agent.VolumesDir(e.hostStateDir), PullConfigDir: c.PullConfigs, KillGrace: c.KillGrace, DrainFor: c.drainFor(), NativeChecks: e.nativeChecks},
		AddressRest: c.AddressRest, FenceAfter: c.FenceAfter, MaxRunningDeployments: c.MaxDeployments, Log: c.log,
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	server, err := api.New(api.Options{
		Backend: sched, Events: events, Log: c.log, Marathon: c.definitions(e),
		Admit: func(a *spec.App) error { return admit.Check(a, c.Admit) }, Logs: e.logs, Instances: e.instances, Level: c.log,
		AllowOrigins: c.AllowOrigins, MaxConcurrent: c.MaxConcurrent,
		Info: c.info(e, listeners),
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	c.group.Add("collector", paceCollector)
	c.group.Add("scheduler", func(ctx context.Context) error { return errors.Join(sched.Run(ctx), db.Close()) })
	c.group.Add("api", func(ctx context.Context) error { return server.Serve(ctx, listeners) })
	return sched, nil
}

// info is what clients are told of this installation.
func (c *composition) info(e engineSide, listeners []api.Listener) api.Info {
	f := e.mesos.Framework
	return api.Info{
		Version: buildVersion(), Cluster: c.Cluster, FrameworkName: f.Name, Role: c.firstRole(), User: f.User, FailoverTimeout: f.FailoverTimeout,
		Hostname: c.Hostname, Leader: c.leader(listeners), HTTPPort: portOf(listeners), DefaultNetwork: c.pools[0].Name, LocalPortMin: 10000, LocalPortMax: 20000,
	}
}

// definitions are the settings on which the meaning of a definition depends.
func (c *composition) definitions(e engineSide) marathon.Options {
	features := map[string]bool{marathon.FeaturePullConfig: c.PullConfigs != ""}
	maps.Copy(features, e.features)
	return marathon.Options{DefaultNetworkName: c.pools[0].Name, Roles: c.Roles, Features: features, BridgeName: api.BridgeName}
}

// firstRole is what Marathon calls mesos_role.
func (c *composition) firstRole() string {
	if len(c.Roles) == 0 {
		return "*"
	}
	return c.Roles[0]
}

func (c *composition) socket() string { return filepath.Join(c.RunDir, "api.sock") }

// leader is where clients find the API. One that is bound to all addresses, or to any port, is named as others reach it.
func (c *composition) leader(listeners []api.Listener) string {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "unix:" + c.socket()
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = c.Hostname
	}
	return net.JoinHostPort(host, strconv.Itoa(portOf(listeners)))
}

// portOf is the API's TCP port, 0 without one.
func portOf(listeners []api.Listener) int {
	for _, l := range listeners {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			return tcp.Port
		}
	}
	return 0
}

func (c *composition) listen() ([]api.Listener, error) {
	l, err := api.ListenUnix(c.socket())
	if err != nil {
		return nil, err
	}
	out := []api.Listener{{Listener: l}}
	if c.Listen != "" {
		tcp, err := net.Listen("tcp", c.Listen)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("--listen: %w", err), l.Close())
		}
		if c.token == "" {
			c.log.WithField("address", tcp.Addr().String()).Warn("the API is open: everyone who reaches this address is root on this machine")
		}
		out = append(out, api.Listener{Listener: tcp, Token: c.token, DiscoveryToken: c.discoveryToken})
	}
	return out, nil
}

// addHost adds what every host of a fleet has: the agent, the quota keeper, the registrator and the monitor.
// api is where the scheduler is, token what it asks for.
func (c *composition) addHost(api, token string) error {
	groups, err := cgroup.Open("", "")
	if err != nil {
		return err
	}
	rules, err := c.rules()
	if err != nil {
		return err
	}
	keeper, err := cpuquota.New(cpuquota.Options{State: c.state, Inventory: c.inventory, Groups: groups, Rules: rules, Log: c.log})
	if err != nil {
		return err
	}
	var drained *watch.Value[map[string]spec.Drain]
	if c.Consul != "" {
		o := c.registry
		o.Host, o.Owner, o.State, o.Inventory, o.Log = c.Hostname, c.agentID, c.state, c.inventory, c.log
		reg, err := registrator.New(o)
		if err != nil {
			return err
		}
		drained = reg.Drained()
		c.group.Add("registrator", reg.Run)
	} else {
		c.log.Info("no Consul configured: instances are not registered (--consul 127.0.0.1:8500)")
	}
	if err := c.addAgent(api, token, drained, keeper.Usage()); err != nil {
		return err
	}
	mon, err := monitor.New(monitor.Options{
		State: c.state, Inventory: c.inventory, Groups: groups, Socket: filepath.Join(c.RunDir, "zabbix.sock"), SocketGroup: c.ZabbixGroup,
		Listen: c.ZabbixListen, Allow: c.zabbixAllow,
		Host: c.Hostname, Version: buildVersion(), Usage: keeper.Usage(), DataDir: &c.dataDir, Log: c.log,
		Every: c.MonitorInterval, Outputs: c.monitorOptions.outputs(),
	})
	if err != nil {
		return err
	}
	c.group.Add("cpuquota", keeper.Run)
	c.group.Add("monitor", mon.Run)
	return c.addTrapper(mon)
}

// addAgent adds who talks with the scheduler. Without one the document is empty for good, and the components look at containers only.
func (c *composition) addAgent(api, token string, drained *watch.Value[map[string]spec.Drain], usage *watch.Value[map[string]spec.Usage]) error {
	if c.alone {
		c.state.Set(spec.HostState{Document: spec.HostDocument{Schema: 1, Version: 1, Host: c.Hostname}})
		return nil
	}
	a, err := agent.New(agent.Options{
		Host: c.Hostname, StateDir: c.StateDir, API: api, Token: token, IPAMName: c.IPAMName, Engine: c.docker, ExternalNetwork: c.externalNet,
		Inventory: c.inventory, State: c.state, Drained: drained, Usage: usage, Metrics: c.MetricsListen, Log: c.log,
	})
	if err != nil {
		return err
	}
	c.group.Add("agent", a.Run)
	return nil
}

// cleanup removes what a stopped daemon left on the machine beside its state: networks, rules, and files of the run folder.
// One that answers at the socket is left alone.
func cleanup(ctx context.Context, s settings, socket string, files ...string) error {
	if c, err := net.DialTimeout("unix", socket, time.Second); err == nil {
		_ = c.Close()
		return fmt.Errorf("clean up: a Berth answers at %s; stop it first", socket)
	}
	client, err := docker.New(s.DockerHost)
	if err != nil {
		return fmt.Errorf("connect to the Docker Engine: %w", err)
	}
	errs := []error{agent.Cleanup(ctx, agent.Options{Engine: client, IPAMName: s.IPAMName, Log: s.log})}
	for _, name := range append(files, filepath.Base(socket)) {
		if err := os.Remove(filepath.Join(s.RunDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
