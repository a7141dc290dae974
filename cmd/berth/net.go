package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/agent"
	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/scheduler/api"
)

// netOptions are the flags of `berth net`.
type netOptions struct {
	daemonOptions
	DockerHost string
	IPAMName   string
	Network    string
	MTU        int
	Document   string
	Passwords  string
	Addresses  []string
	Cleanup    bool
}

const netLong = `net keeps the network of this host, and does nothing else: it answers Docker as IPAM and network driver, and makes the
containers' links, routes and packet filter rules as the host document wants them. "berth agent --net external" and
plain "docker run" use what it makes.

With --network routed each container has a link of its own and a /32 route; any address of a pool can be on any host that
the other hosts and routers have a route to. A container can send only with its own address and hardware
address. The host announces its blocks and containers to the BGP peers that the document names, and writes what they
announce into the kernel. Network policies are enforced there, and only there. With --network bridge each pool is a bridge of Docker's.

With --network l2=INTERFACE containers are in the VLAN that the interface is in, side by side with the hosts, by Docker's
macvlan driver; l2=eth1,POOL=eth1.20 names another interface for one pool. Nobody needs routes: an address that moves to another host is
announced there, and one that somebody in the VLAN has is not given to a container.

The document comes from the scheduler at --api, is kept in --state-dir, and is good for as long as the scheduler is
away. A host without a scheduler has it in a file (--document), such as
  {"Schema": 1, "Pools": [{"Name": "berth", "CIDR": "10.88.0.0/16", "NATOutgoing": true}], "Blocks": ["10.88.4.0/26"]}
which is looked at every two seconds. Containers that name no address get one from the host's blocks.

Start it before Docker, and stop it after. It may be killed and started again at any time: containers keep their network, and only
starting and stopping them waits meanwhile.`

const netExample = `  berth net --network routed --api http://10.0.0.5:8080 --token-file /etc/berth/token
  berth net --network routed --document /etc/berth/host.json       # without a scheduler
  berth net --network l2=eth1 --api http://10.0.0.5:8080 --token-file /etc/berth/token
  docker run --net berth --ip 10.88.4.9 IMAGE                      # on a pool's network, with a chosen address
  docker run --net berth IMAGE                                     # or one of the host's blocks
  docker run --network name=berth,driver-opt=berth.ingress=100Mbit,driver-opt=berth.egress=20Mbit IMAGE
  berth net status                                                 # what it knows and does; -o json for scripts
  berth net --cleanup        # after it was stopped and the host has no container left on the pools`

func newNetCommand(c *cli) *cobra.Command {
	var o netOptions
	cmd := &cobra.Command{
		Use: "net", Short: "Keep the network of this host: addresses, links, routes, the Docker network driver", Long: netLong, Example: netExample,
		Args: cobra.NoArgs, GroupID: groupDaemons,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := settings{standaloneOptions: standaloneOptions{
				daemonOptions: o.daemonOptions, hostOptions: hostOptions{DockerHost: o.DockerHost, IPAMName: o.IPAMName, Cleanup: o.Cleanup},
			}}
			if err := s.settleDaemon(c); err != nil {
				return err
			}
			// The environment's address is for the verbs, too: a file that is named comes before it.
			if err := o.check(cmd.Flags().Changed("api") || os.Getenv("BERTH_API") != "" && o.Document == ""); err != nil {
				return err
			}
			if err := runNet(cmd.Context(), s, o, c.address); err != nil {
				return &failure{err}
			}
			return nil
		},
	}
	o.daemonOptions.register(cmd)
	f := cmd.Flags()
	f.StringVar(&o.DockerHost, "docker-host", "", "the Docker Engine (default: DOCKER_HOST, then unix:///var/run/docker.sock)")
	f.StringVar(&o.IPAMName, "ipam-name", "berth", "name of Berth's Docker drivers")
	f.StringVar(&o.Network, "network", string(hostnet.Bridge), "how this host carries its pools: bridge, routed or l2=INTERFACE[,POOL=INTERFACE...]")
	f.IntVar(&o.MTU, "mtu", 0, "MTU of containers that start, with --network routed (default: of the default route's interface)")
	f.StringVar(&o.Document, "document", "", "file with the host document, on a host without a scheduler")
	f.StringVar(&o.Passwords, "bgp-password-file", "", "file with the TCP MD5 password of BGP peers for which no file is named (default: they have none)")
	f.StringArrayVar(&o.Addresses, "host-address", nil, "address under which other hosts reach this one, for BGP where no Node resource names it (repeatable, one of each family; default: the source address towards --api)")
	f.BoolVar(&o.Cleanup, "cleanup", false, "remove the networks, links, routes and rules of a stopped berth net, then exit")
	cmd.AddCommand(newNetStatusCommand(c))
	return cmd
}

// check says what is wrong with the flags together; api says that one was named.
func (o netOptions) check(api bool) error {
	if _, _, _, err := parseNetwork(o.Network); err != nil {
		return err
	}
	if _, err := parseOwn(o.Addresses); err != nil {
		return err
	}
	switch {
	case o.MTU != 0 && (o.MTU < 576 || o.MTU > 65535):
		return fmt.Errorf("--mtu %d is not between 576 and 65535", o.MTU)
	case o.Cleanup:
		return nil
	case !api && o.Document == "":
		return errors.New("--api or --document is needed: where the host document is, such as http://10.0.0.5:8080")
	case api && o.Document != "":
		return errors.New("--api and --document both say where the host document is; leave one out")
	}
	return nil
}

// parseOwn reads --host-address.
func parseOwn(texts []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil || !a.IsGlobalUnicast() || a.Zone() != "" || a.Is4In6() {
			return nil, fmt.Errorf("--host-address %q is no address that other hosts could reach", text)
		}
		if len(out) > 0 && (len(out) > 1 || out[0].Is4() == a.Is4()) {
			return nil, errors.New("--host-address: at most one of each family")
		}
		out = append(out, a)
	}
	return out, nil
}

// parseNetwork reads --network: the mode and, in mode L2, the interface of all pools and those of single ones.
func parseNetwork(text string) (mode hostnet.Mode, parent string, parents map[string]string, err error) {
	if text == string(hostnet.Bridge) || text == string(hostnet.Routed) {
		return hostnet.Mode(text), "", nil, nil
	}
	parents = map[string]string{}
	for i, part := range strings.Split(text, ",") {
		name, link, ok := strings.Cut(part, "=")
		if !ok || name == "" || link == "" || i == 0 && name != string(hostnet.L2) {
			return "", "", nil, fmt.Errorf("--network %q is unknown: bridge, routed or l2=INTERFACE[,POOL=INTERFACE...], such as l2=eth1,blue=eth1.20", text)
		}
		if i == 0 {
			parent = link
			continue
		}
		if parents[name] != "" {
			return "", "", nil, fmt.Errorf("--network names two interfaces for pool %s", name)
		}
		parents[name] = link
	}
	return hostnet.L2, parent, parents, nil
}

func runNet(ctx context.Context, s settings, o netOptions, address string) error {
	client, err := docker.New(s.DockerHost)
	if err != nil {
		return fmt.Errorf("connect to the Docker Engine: %w", err)
	}
	if s.Cleanup {
		return agent.Cleanup(ctx, agent.Options{Engine: client, IPAMName: s.IPAMName, StateDir: s.StateDir, Log: s.log})
	}
	mode, parent, parents, err := parseNetwork(o.Network)
	if err != nil {
		return err
	}
	own, err := parseOwn(o.Addresses)
	if err != nil {
		return err
	}
	return s.serve(ctx, "net.pid", func() (*run.Group, error) {
		// Docker is not asked for anything before it is needed: it may be waiting for this process to start itself.
		inventory := docker.NewInventory(client, s.log)
		status, err := api.ListenUnix(netSocket(s.RunDir))
		if err != nil {
			return nil, err
		}
		n, err := agent.NewNet(agent.NetOptions{
			Options: agent.Options{
				Host: s.Hostname, StateDir: s.StateDir, API: address, Token: s.token, IPAMName: s.IPAMName, Engine: client, Inventory: inventory, Log: s.log,
			},
			Status: status, Own: own, Mode: mode, Parent: parent, Parents: parents, MTU: o.MTU, Document: o.Document, BGPPasswordFile: o.Passwords,
		})
		if err != nil {
			return nil, err
		}
		var group run.Group
		group.Add("inventory", inventory.Run)
		group.Add("net", n.Run)
		return &group, nil
	})
}
