package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/internal/wholefile"
	"github.com/berth-project/berth/registrator/services"
)

// agentOptions are the flags of `berth agent`.
type agentOptions struct {
	daemonOptions
	hostOptions
	dropInOptions
	Net       string
	Registrar bool
	Alone     bool
}

// Who keeps the host's network.
const (
	netOwn      = "own"
	netExternal = "external"
)

const agentLong = `agent looks after the instances of this host, one of a Mesos cluster: the pools' Docker networks and Berth's IPAM driver, the
packet filter, the seats' folders, quotas, probes, Consul and Zabbix. It starts no container, and
stops only one that outlived its task; the rest is Mesos's.

It fetches what it must know from the scheduler at --api (http://HOST:PORT, with the token of --token-file), keeps it in
--state-dir, and goes on with that while the scheduler is away. --hostname must be the name under which the Mesos agent
of this host offers it (mesos-agent --hostname).

With --alone there is no scheduler: the host's containers, of a real Marathon or of docker run, get their quotas, are registered in
Consul and shown to Zabbix and Prometheus; their network is Docker's.

With --registrar-only it takes the place of gliderlabs/registrator: it registers this host's containers in Consul by Registrator's
conventions (SERVICE_NAME, SERVICE_TAGS, SERVICE_80_CHECK_HTTP and so on), takes its flags, also with one dash, and its URI
(consul://HOST:PORT, consul-tls://, consul-unix://), and needs neither a scheduler nor root, only Docker's socket. --cleanup then
removes what Registrator has left in Consul of this host's containers.

With --net external it leaves networks, addresses and the packet filter to a process of their own, "berth net", which goes on
when the agent does not.`

const agentExample = `  berth agent --api http://10.0.0.5:8080 --token-file /etc/berth/token
  berth agent --api http://10.0.0.5:8080 --token-file /etc/berth/token --hostname node7.example.com --consul 127.0.0.1:8500
  berth agent --api http://10.0.0.5:8080 --token-file /etc/berth/token --net external      # beside berth net
  berth agent --alone --consul 127.0.0.1:8500              # beside a real Marathon, or docker run
  berth agent --registrar-only -ip 10.0.0.7 -cleanup consul://127.0.0.1:8500               # instead of gliderlabs/registrator
  berth agent --api http://10.0.0.5:8080 --token-file /etc/berth/token --zabbix-trapper zabbix.example.com      # each instance is a host of Zabbix's
  berth agent --cleanup        # after it was stopped and the host has no instance left: remove its networks and rules`

func newAgentCommand(c *cli) *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use: "agent", Short: "Look after the instances of this host of a Mesos cluster", Long: agentLong, Example: agentExample,
		Args: cobra.MaximumNArgs(1), GroupID: groupDaemons,
		RunE: func(cmd *cobra.Command, args []string) error {
			s := settings{standaloneOptions: standaloneOptions{daemonOptions: o.daemonOptions, hostOptions: o.hostOptions}}
			if err := errors.Join(s.settleDaemon(c), s.monitorOptions.settle(), s.trapperOptions.settle()); err != nil {
				return err
			}
			if o.Registrar {
				r, err := o.settleRegistrar(cmd, args)
				if err != nil {
					return err
				}
				if err := runRegistrar(cmd.Context(), s, r, cmd.Flags().Changed("state-dir")); err != nil {
					return &failure{err}
				}
				return nil
			}
			if len(args) > 0 {
				return fmt.Errorf("%s: only an agent with --%s takes an argument", args[0], registrarFlag)
			}
			if err := errors.Join(s.settleConsul(othersOf(o.Alone)), o.dropInOptions.apply(&s.registry)); err != nil {
				return err
			}
			s.registry.AntiEntropy = 0 // checks of instances are refreshed at that pace
			if o.Alone && cmd.Flags().Changed("api") {
				return errors.New("--alone means without a scheduler: leave --api out")
			}
			if !o.Cleanup && !o.Alone && !cmd.Flags().Changed("api") && os.Getenv("BERTH_API") == "" {
				return errors.New("--api is needed: where the scheduler is, such as http://10.0.0.5:8080")
			}
			if o.Net != netOwn && o.Net != netExternal {
				return fmt.Errorf("--net %q is unknown: %s or %s", o.Net, netOwn, netExternal)
			}
			s.externalNet, s.alone = o.Net == netExternal, o.Alone
			s.registry.Alone = o.Alone
			if err := runAgent(cmd.Context(), s, c.address); err != nil {
				return &failure{err}
			}
			return nil
		},
	}
	o.daemonOptions.register(cmd)
	o.hostOptions.register(cmd)
	o.dropInOptions.register(cmd)
	cmd.Flags().BoolVar(&o.Alone, "alone", false, "without a scheduler: quotas, Consul, Zabbix and Prometheus for whatever containers this host has")
	cmd.Flags().BoolVar(&o.Registrar, registrarFlag, false, "nothing but Consul: a drop-in for gliderlabs/registrator, with its flags and its registry URI")
	cmd.Flags().StringVar(&o.Net, "net", netOwn, "who keeps the network: own, or external for a berth net on this host")
	return cmd
}

// othersOf is which containers of nobody's definitions are registered when nobody says.
func othersOf(alone bool) services.Others {
	if alone {
		return services.OthersAll
	}
	return services.OthersAsking
}

// runAgent composes what every host of a cluster has.
func runAgent(ctx context.Context, s settings, api string) error {
	if s.Cleanup {
		return cleanup(ctx, s, filepath.Join(s.RunDir, "zabbix.sock"), "agent.pid")
	}
	return s.serve(ctx, "agent.pid", func() (*run.Group, error) {
		c := &composition{settings: s}
		var err error
		if c.agentID, err = ownID(s.StateDir); err != nil {
			return nil, err
		}
		// Docker may start later: while nobody answers its IPAM driver, it waits for this process itself.
		if err := c.followDocker(); err != nil {
			return nil, err
		}
		if err := c.addHost(api, s.token); err != nil {
			return nil, err
		}
		return &c.group, nil
	})
}

// ownID is the id by which this host's agent knows what it put into Consul; it stays as long as the state folder does.
func ownID(dir string) (string, error) {
	file := filepath.Join(dir, "host_id")
	b, err := os.ReadFile(file)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read this host's id: %w", err)
	}
	id := uuid.NewString()
	// Half an id, or none after a power cut, would leave services in Consul behind.
	if err := wholefile.ReplaceDurably(file, []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("write this host's id: %w", err)
	}
	return id, nil
}
