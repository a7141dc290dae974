package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/scheduler/admit"
	"github.com/berth-project/berth/scheduler/calico"
	"github.com/berth-project/berth/spec"
)

// standaloneOptions are the flags of `berth standalone`, one field a flag.
type standaloneOptions struct {
	StateDir, RunDir  string
	Listen, TokenFile string
	InsecureAPI       bool
	AllowOrigins      []string
	MaxConcurrent     int
	MaxDeployments    int
	PoolsFile         string
	AuthorizedKeys    string
	DockerHost        string
	Consul            string
	ConsulTokenFile   string
	BaseImage         string
	OfferCPUs         float64
	OfferMem          float64
	Admit             admit.Policy
	FetchLimit        int64
	FetchCache        int64
	IPAMName          string
	AddressRest       time.Duration
	KillGrace         time.Duration
	LogLevel          string
	EngineListen      string
	ZabbixGroup       string
	Hostname          string
	Cleanup           bool
}

const standaloneLong = `standalone runs everything on this machine: the embedded engine on the local Docker Engine, the scheduler with the
Marathon API, and the host's agent (addresses, quotas, probes, Consul, Zabbix). State is in --state-dir.

Containers outlive it: after a crash or a restart, running instances are found again and nothing is restarted.

The API is root on this machine, so it is closed: a unix socket (0660) in --run-dir, and with --listen TCP for clients
that show the token of --token-file (Authorization: Bearer TOKEN, token=TOKEN, or basic auth as user "berth").`

const standaloneExample = `  berth standalone
  berth standalone --listen 127.0.0.1:8080 --token-file /etc/berth/token --pools pools.yaml --authorized-keys ~/.ssh/authorized_keys
  berth standalone --consul 127.0.0.1:8500
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
	f.StringVar(&o.StateDir, "state-dir", "/var/lib/berth", "folder for the state (bbolt), the seats' folders and ids")
	f.StringVar(&o.RunDir, "run-dir", "/run/berth", "folder for sockets and the pid file")
	f.StringVar(&o.Listen, "listen", "", "TCP address of the API, such as 127.0.0.1:8080 (default: unix socket only)")
	f.StringVar(&o.TokenFile, "token-file", "", "file with the token that TCP clients must show")
	f.BoolVar(&o.InsecureAPI, "insecure-api", false, "serve TCP without a token: everyone who reaches it is root on this machine")
	f.StringArrayVar(&o.AllowOrigins, "access-control-allow-origin", nil, "web origin whose pages may use the API, such as https://ui.example.com (repeatable; * for all)")
	f.IntVar(&o.MaxConcurrent, "http-max-concurrent-requests", 1000, "API requests under way beyond which further ones get 503")
	f.IntVar(&o.MaxDeployments, "max-running-deployments", 100, "deployments under way beyond which a change that starts a further one gets 403")
	f.StringVar(&o.PoolsFile, "pools", "", "Calico v3 IPPool YAML; the first pool is the default (default: berth, 10.88.0.0/16)")
	f.StringVar(&o.AuthorizedKeys, "authorized-keys", "", "file with the operators' public SSH keys, for every instance")
	f.StringVar(&o.DockerHost, "docker-host", "", "the Docker Engine (default: DOCKER_HOST, then unix:///var/run/docker.sock)")
	f.StringVar(&o.Consul, "consul", "", "the local Consul agent, such as 127.0.0.1:8500 (default: instances are not registered)")
	f.StringVar(&o.ConsulTokenFile, "consul-token-file", "", "file with the Consul ACL token")
	f.StringVar(&o.BaseImage, "base-image", spec.BaseImage, "image of apps that name none")
	f.Float64Var(&o.OfferCPUs, "offer-cpus", 0, "cores to offer (default: all)")
	f.Float64Var(&o.OfferMem, "offer-mem", 0, "MiB of memory to offer (default: all but 1 GiB, or half of less than 2 GiB)")
	f.BoolVar(&o.Admit.AllowPrivileged, "allow-privileged", false, "admit privileged containers")
	f.BoolVar(&o.Admit.AllowHostNetwork, "allow-host-network", false, "admit the docker parameter net=host")
	f.StringArrayVar(&o.Admit.HostPaths, "allow-host-path", nil, "admit host volumes and file:// URIs below this path (repeatable)")
	f.StringArrayVar(&o.Admit.Parameters, "allow-docker-parameter", nil, "admit this docker parameter, with any value (repeatable)")
	f.Int64Var(&o.FetchLimit, "fetch-limit", 4096, "MiB that one task may fetch; unpacked it may be four times as much")
	f.Int64Var(&o.FetchCache, "fetch-cache", 2048, "MiB of fetched files kept for tasks whose definition says \"cache\"")
	f.StringVar(&o.IPAMName, "ipam-name", "berth", "name of Berth's Docker IPAM driver")
	f.DurationVar(&o.AddressRest, "address-rest", 10*time.Minute, "how long a released address rests before another app gets it")
	f.DurationVar(&o.KillGrace, "kill-grace", 10*time.Second, "time between TERM and KILL for apps that name none")
	f.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.EngineListen, "engine-listen", "127.0.0.1:0", "loopback address of the embedded engine's Mesos API")
	f.StringVar(&o.ZabbixGroup, "zabbix-group", "", "group that may read the Zabbix socket (default: zabbix, where it exists)")
	f.StringVar(&o.Hostname, "hostname", "", "name of this host (default: the machine's)")
	f.BoolVar(&o.Cleanup, "cleanup", false, "remove the networks, rules and sockets of a stopped standalone, then exit")
	return cmd
}

// settings are the options after everything that they name was read and checked.
type settings struct {
	standaloneOptions
	token string
	pools []spec.Pool
	keys  []string
	log   *logrus.Logger
}

// settle reads the files that the flags name; it finds every fault, not just the first.
func (o standaloneOptions) settle(c *cli) (settings, error) {
	s := settings{standaloneOptions: o, log: logrus.New()}
	s.log.SetOutput(c.err)
	var errs []error
	level, err := logrus.ParseLevel(o.LogLevel)
	if err != nil {
		errs = append(errs, fmt.Errorf("--log-level: %w", err))
	}
	s.log.SetLevel(level)
	if s.pools, err = o.readPools(); err != nil {
		errs = append(errs, err)
	}
	if s.keys, err = readKeys(o.AuthorizedKeys); err != nil {
		errs = append(errs, err)
	}
	s.Admit.Pods = true // the embedded engine runs them
	if o.FetchLimit < 0 || o.FetchCache < 0 {
		errs = append(errs, errors.New("--fetch-limit and --fetch-cache must not be negative"))
	}
	if o.MaxDeployments < 1 {
		errs = append(errs, errors.New("--max-running-deployments must be at least 1"))
	}
	if err := o.Admit.Validate(); err != nil {
		errs = append(errs, err)
	}
	if o.TokenFile != "" {
		b, err := os.ReadFile(o.TokenFile)
		if s.token = strings.TrimSpace(string(b)); err == nil && s.token == "" {
			err = fmt.Errorf("%s is empty", o.TokenFile)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--token-file: %w", err))
		}
	}
	if o.Listen != "" && s.token == "" && !o.InsecureAPI {
		errs = append(errs, errors.New("--listen needs --token-file: the API is root on this machine (or say --insecure-api)"))
	}
	if s.Hostname == "" {
		if s.Hostname, err = os.Hostname(); err != nil {
			errs = append(errs, fmt.Errorf("no --hostname, and %w", err))
		}
	}
	return s, errors.Join(errs...)
}

func (o standaloneOptions) readPools() ([]spec.Pool, error) {
	text := []byte(defaultPools)
	if o.PoolsFile != "" {
		var err error
		if text, err = os.ReadFile(o.PoolsFile); err != nil {
			return nil, fmt.Errorf("--pools: %w", err)
		}
	}
	pools, err := calico.DecodePools(text)
	if err == nil && len(pools) == 0 {
		err = errors.New("no IPPool in it")
	}
	if err != nil {
		return nil, fmt.Errorf("--pools %s: %w", o.PoolsFile, err)
	}
	return pools, nil
}

// defaultPools is what `berth standalone` uses without --pools.
const defaultPools = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: berth}
spec: {cidr: 10.88.0.0/16, natOutgoing: true}
`

// readKeys reads an authorized_keys file; a line that sshd would skip is an error here.
func readKeys(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--authorized-keys: %w", err)
	}
	var out []string
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err != nil {
			return nil, fmt.Errorf("--authorized-keys %s line %d: not a public key", file, i+1)
		}
		out = append(out, line)
	}
	return out, nil
}

func runStandalone(ctx context.Context, s settings) error {
	if s.Cleanup {
		return cleanup(ctx, s)
	}
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{{s.StateDir, 0o700}, {s.RunDir, 0o755}} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return fmt.Errorf("prepare folders: %w", err)
		}
	}
	pid := filepath.Join(s.RunDir, "berth.pid")
	group, err := compose(ctx, s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(pid, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	defer os.Remove(pid)
	return group.Run(ctx)
}
