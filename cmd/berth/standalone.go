package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/registrator"
	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/scheduler/calico"
	"github.com/berth-project/berth/spec"
	"github.com/berth-project/berth/standalone"
)

// standaloneOptions are the flags of `berth standalone`.
type standaloneOptions struct {
	daemonOptions
	schedulerOptions
	hostOptions
	OfferCPUs    float64
	OfferMem     float64
	FetchLimit   int64
	FetchCache   int64
	EngineListen string
	Simulate     string
	Endpoints    []string
	// EndpointTimeout is how long one may be silent.
	EndpointTimeout time.Duration
}

const standaloneLong = `standalone runs everything on this machine: the embedded engine on the local Docker Engine, the scheduler with the
Marathon API, and the host's agent (addresses, quotas, probes, Consul, Zabbix). State is in --state-dir.

Containers outlive it: after a crash or a restart, running instances are found again and nothing is restarted.

The API is root on this machine, so it is closed: a unix socket (0660) in --run-dir, and with --listen TCP for clients
that show the token of --token-file (Authorization: Bearer TOKEN, token=TOKEN, or basic auth as user "berth").

With --endpoint it is several hosts instead of this one: each is a Docker Engine with a name, and looked after by a "berth agent"
of its own (--api unix:///run/berth/api.sock --hostname NAME --docker-host URL, with --state-dir, --run-dir and --ipam-name of its
own). An endpoint whose NAME is this machine's --hostname is looked after by this process. All must find --state-dir at the same path.
Settings of an endpoint:
  cpus=N,mem=N     what to offer of it, memory in MiB (default: what its Docker Engine says, as of a whole machine)
  state-dir=DIR    --state-dir of its agent (default: /var/lib/berth)
  rack=r1, ...     any other: an attribute, for constraints

With --simulate nothing runs: the hosts are simulated, with their agents, and tasks start and end after the given times.
It needs neither Docker nor root, and keeps its state apart (examples/rehearsal). Settings, with their defaults:
  hosts=N          how many hosts (required)
  cpus=16,mem=65536,disk=1048576   what each has, memory and disk in MiB
  racks=20,zones=4 the hosts' attributes "rack" (rack-000 ...) and "zone" (zone-0 ...); 0: none
  start=200ms,stop=200ms   from launch to running, from kill to end; each task takes half to one and a half of it
  life=0s          how long tasks run before they end by themselves; 0s: for ever
  fail=0%          the share of tasks that fail instead of running
  data=11264       bytes that a real agent sends along when a task runs
  seed=1           of everything that varies`

const standaloneExample = `  berth standalone
  berth standalone --listen 127.0.0.1:8080 --token-file /etc/berth/token --pools pools.yaml --authorized-keys ~/.ssh/authorized_keys
  berth standalone --consul 127.0.0.1:8500
  berth standalone --simulate hosts=500,cpus=32,fail=1%
  berth standalone --endpoint h1=unix:///run/h1/docker.sock,rack=r1,state-dir=/var/lib/berth-h1 --endpoint h2=unix:///run/h2/docker.sock,rack=r2,state-dir=/var/lib/berth-h2
  berth standalone --cleanup        # after it was stopped: remove its networks, firewall rules and sockets`

func newStandaloneCommand(c *cli) *cobra.Command {
	var o standaloneOptions
	cmd := &cobra.Command{
		Use: "standalone", Short: "Run everything on this machine", Long: standaloneLong, Example: standaloneExample,
		Args: cobra.NoArgs, GroupID: groupDaemons,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.settle(c)
			if err != nil {
				return err
			}
			if err := runStandalone(cmd.Context(), s); err != nil {
				return &failure{err}
			}
			return nil
		},
	}
	f := cmd.Flags()
	o.daemonOptions.register(cmd)
	o.schedulerOptions.register(cmd)
	o.hostOptions.register(cmd)
	f.StringArrayVar(&o.Roles, "role", nil, "role that definitions may name, the first for those that name none (repeatable; default: *). This machine serves them all")
	f.Float64Var(&o.OfferCPUs, "offer-cpus", 0, "cores to offer (default: all)")
	f.Float64Var(&o.OfferMem, "offer-mem", 0, "MiB of memory to offer (default: all but 1 GiB, or half of less than 2 GiB)")
	f.Int64Var(&o.FetchLimit, "fetch-limit", 4096, "MiB that one task may fetch; unpacked it may be four times as much")
	f.Int64Var(&o.FetchCache, "fetch-cache", 2048, "MiB of fetched files kept for tasks whose definition says \"cache\"")
	f.StringVar(&o.EngineListen, "engine-listen", "127.0.0.1:0", "loopback address of the embedded engine's Mesos API")
	f.StringVar(&o.Simulate, "simulate", "", "simulate a fleet, such as hosts=10000,cpus=16,start=200ms,fail=1%: nothing runs")
	f.StringArrayVar(&o.Endpoints, "endpoint", nil, "Docker Engine to offer as a host of its own, as NAME=URL[,SETTING=VALUE...]; its agent is a process of its own (repeatable; default: this machine's Docker Engine only)")
	f.DurationVar(&o.EndpointTimeout, "endpoint-timeout", 75*time.Second, "how long an endpoint's Docker Engine may be silent until its host counts as unreachable")
	return cmd
}

// settings are the options after everything that they name was read and checked. Each daemon uses its part.
type settings struct {
	standaloneOptions
	zabbixAllow []netip.Prefix    // ZabbixServer, read
	fleet       *standalone.Fleet // nil: nothing is simulated
	endpoints   []endpoint        // none: this machine only
	token       string
	// discoveryToken opens what monitoring discovers by, and nothing else; "": nobody has such a token.
	discoveryToken string
	pools          []spec.Pool
	network        calico.Resources // pools, and what else the operators said of the fleet's network
	keys           []string
	log            *logrus.Logger
	// externalNet: another process keeps this host's network.
	externalNet bool
	// alone: there is no scheduler.
	alone    bool
	registry registrator.Options // less what it looks at and who it is
}

// settleConsul checks the flags of Consul.
func (s *settings) settleConsul(others services.Others) (err error) {
	s.registry, err = s.consulOptions.registrator(others)
	return err
}

// settle reads the files that the flags name; it finds every fault, not just the first.
func (o standaloneOptions) settle(c *cli) (settings, error) {
	s := settings{standaloneOptions: o}
	errs := []error{s.settleDaemon(c), s.settleScheduler(), s.settleSimulation(), s.settleEndpoints(), s.settleConsul(services.OthersAsking), s.monitorOptions.settle(), s.trapperOptions.settle()}
	s.Admit.Pods = true // the embedded engine runs them
	if s.network.Policies != nil && len(s.endpoints) == 0 && s.fleet == nil && !o.Cleanup {
		errs = append(errs, fmt.Errorf("--pools %s: network policies need the routed network of \"berth net --network routed\" on each host; "+
			"the bridges of a single machine do not enforce them: take NetworkPolicy and GlobalNetworkPolicy out of the file, or offer hosts with --endpoint", o.PoolsFile))
	}
	if o.FetchLimit < 0 || o.FetchCache < 0 {
		errs = append(errs, errors.New("--fetch-limit and --fetch-cache must not be negative"))
	}
	return s, errors.Join(errs...)
}

func runStandalone(ctx context.Context, s settings) error {
	if local := s.localEndpoint(); local != nil {
		s.DockerHost = local.url
	}
	if s.Cleanup && len(s.endpoints) > 0 && s.localEndpoint() == nil {
		return errors.New("--cleanup: this process is no host's agent; each endpoint's network and rules are removed by its own: berth agent --cleanup")
	}
	if s.Cleanup {
		return cleanup(ctx, s, filepath.Join(s.RunDir, "api.sock"), "zabbix.sock", "berth.pid")
	}
	return s.serve(ctx, "berth.pid", func() (*run.Group, error) {
		if err := s.checkMarker(); err != nil {
			return nil, err
		}
		switch {
		case s.fleet != nil:
			return composeSimulated(ctx, s)
		case len(s.endpoints) > 0:
			return composeEndpoints(ctx, s)
		}
		return compose(ctx, s)
	})
}
