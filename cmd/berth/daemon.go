package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/scheduler/admit"
	"github.com/berth-project/berth/scheduler/calico"
	"github.com/berth-project/berth/spec"
)

const (
	defaultStateDir = "/var/lib/berth"
	defaultRunDir   = "/run/berth"
)

// daemonOptions are the flags of every daemon.
type daemonOptions struct {
	StateDir, RunDir string
	TokenFile        string
	Hostname         string
	LogLevel         string
}

func (o *daemonOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.StateDir, "state-dir", defaultStateDir, "folder for the state (bbolt), the seats' folders and ids")
	f.StringVar(&o.RunDir, "run-dir", defaultRunDir, "folder for sockets and the pid file")
	f.StringVar(&o.TokenFile, "token-file", "", "file with the API's token, which TCP clients must show")
	f.StringVar(&o.Hostname, "hostname", "", "name of this host (default: the machine's)")
	f.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
}

// schedulerOptions are the flags of everything that runs a scheduler with its API.
type schedulerOptions struct {
	Listen         string
	InsecureAPI    bool
	AllowOrigins   []string
	MaxConcurrent  int
	MaxDeployments int
	PoolsFile      string
	AuthorizedKeys string
	Cluster        string
	DiscoveryToken string // the file
	BaseImage      string
	PullConfigs    string
	Roles          []string
	Admit          admit.Policy
	AddressRest    time.Duration
	FenceAfter     time.Duration
	KillGrace      time.Duration
	DrainSeconds   float64
}

func (o *schedulerOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", "", "TCP address of the API, such as 127.0.0.1:8080 (default: unix socket only)")
	f.BoolVar(&o.InsecureAPI, "insecure-api", false, "serve TCP without a token: everyone who reaches it is root on this machine")
	f.StringArrayVar(&o.AllowOrigins, "access-control-allow-origin", nil, "web origin whose pages may use the API, such as https://ui.example.com (repeatable; * for all)")
	f.IntVar(&o.MaxConcurrent, "http-max-concurrent-requests", 1000, "API requests under way beyond which further ones get 503")
	f.IntVar(&o.MaxDeployments, "max-running-deployments", 100, "deployments under way beyond which a change that starts a further one gets 403")
	f.StringVar(&o.PoolsFile, "pools", "", "Calico v3 YAML: IPPool (the first is the default), BGPConfiguration, BGPPeer, Node, NetworkPolicy, GlobalNetworkPolicy, NetworkSet, GlobalNetworkSet (default: one pool, berth, 10.88.0.0/16)")
	f.StringVar(&o.AuthorizedKeys, "authorized-keys", "", "file with the operators' public SSH keys, for every instance")
	f.StringVar(&o.Cluster, "zabbix-cluster", spec.DefaultCluster, "name of this cluster in Zabbix's host names (NAME.APP.SEAT), where one Zabbix watches several; another name is other hosts with a history of their own")
	f.StringVar(&o.DiscoveryToken, "discovery-token-file", "", "file with a token that opens Zabbix's discovery and Prometheus's (GET /berth/v1/zabbix/discovery, /berth/v1/prometheus/targets) on --listen, and nothing else")
	f.StringVar(&o.BaseImage, "base-image", spec.BaseImage, "image of apps that name none")
	f.StringVar(&o.PullConfigs, "pull-configs", "", "folder, on every host, of docker configurations that pullConfig may name (default: pullConfig is refused)")
	f.BoolVar(&o.Admit.AllowPrivileged, "allow-privileged", false, "admit privileged containers")
	f.BoolVar(&o.Admit.AllowHostNetwork, "allow-host-network", false, "admit the docker parameter net=host")
	f.StringArrayVar(&o.Admit.HostPaths, "allow-host-path", nil, "admit host volumes and file:// URIs below this path (repeatable)")
	f.StringArrayVar(&o.Admit.Parameters, "allow-docker-parameter", nil, "admit this docker parameter, with any value (repeatable)")
	f.DurationVar(&o.AddressRest, "address-rest", 10*time.Minute, "how long a released address rests before another app gets it")
	f.DurationVar(&o.FenceAfter, "fence-after", 5*time.Minute, "how long after its last sign of life a host's addresses may move to other hosts, at least; the host itself withdraws them after four fifths of it")
	f.DurationVar(&o.KillGrace, "kill-grace", 10*time.Second, "time between TERM and KILL for apps that name none")
	f.Float64Var(&o.DrainSeconds, "drain-seconds", 0, "longest wait for an instance's connections to end, after its clients find it no more and before TERM, for apps without the label BERTH_DRAIN_SECONDS")
}

// hostOptions are the flags of everything that looks after the instances of this host.
type hostOptions struct {
	consulOptions
	quotaOptions
	monitorOptions
	trapperOptions
	DockerHost  string
	IPAMName    string
	ZabbixGroup string
	// ZabbixListen is where Zabbix servers ask, those of ZabbixServer.
	ZabbixListen string
	ZabbixServer []string
	Cleanup      bool
}

func (o *hostOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	o.monitorOptions.register(f)
	f.StringVar(&o.DockerHost, "docker-host", "", "the Docker Engine (default: DOCKER_HOST, then unix:///var/run/docker.sock)")
	o.consulOptions.register(cmd)
	f.StringVar(&o.IPAMName, "ipam-name", "berth", "name of Berth's Docker IPAM driver")
	f.StringVar(&o.ZabbixGroup, "zabbix-group", "", "group that may read the Zabbix socket (default: zabbix, where it exists)")
	o.quotaOptions.register(cmd)
	f.StringVar(&o.ZabbixListen, "zabbix-listen", "", "TCP address at which Zabbix servers may ask as they ask a Zabbix agent, such as :10060 (default: none)")
	f.StringSliceVar(&o.ZabbixServer, "zabbix-server", []string{"127.0.0.1", "::1"}, "addresses and networks (CIDR) of the Zabbix servers and proxies that may ask at --zabbix-listen; zabbix_agentd's Server=")
	o.trapperOptions.register(cmd)
	f.BoolVar(&o.Cleanup, "cleanup", false, "remove the networks, rules and sockets of a stopped daemon, then exit")
}

// settleDaemon makes the logger, names the host and reads the token.
func (s *settings) settleDaemon(c *cli) error {
	var errs []error
	s.log = logrus.New()
	s.log.SetOutput(c.err)
	level, err := logrus.ParseLevel(s.LogLevel)
	if err != nil {
		errs = append(errs, fmt.Errorf("--log-level: %w", err))
	}
	s.log.SetLevel(level)
	if s.token, err = readSecret(s.TokenFile); err != nil {
		errs = append(errs, fmt.Errorf("--token-file: %w", err))
	}
	if s.Hostname == "" {
		if s.Hostname, err = os.Hostname(); err != nil {
			errs = append(errs, fmt.Errorf("no --hostname, and %w", err))
		}
	}
	if s.zabbixAllow, err = prefixes(s.ZabbixServer); err != nil {
		errs = append(errs, fmt.Errorf("--zabbix-server: %w", err))
	}
	return errors.Join(errs...)
}

// prefixes reads addresses and networks. Names are refused: who may ask must not hang on what DNS says.
func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if a, addrErr := netip.ParseAddr(text); addrErr == nil {
			p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// settleScheduler reads the pools and keys and checks what is admitted, and who may use the API. It comes after settleDaemon.
func (s *settings) settleScheduler() error {
	var errs []error
	var err error
	if s.network, err = s.readPools(); err != nil {
		errs = append(errs, err)
	}
	s.pools = s.network.Pools
	if s.keys, err = readKeys(s.AuthorizedKeys); err != nil {
		errs = append(errs, err)
	}
	if s.discoveryToken, err = readSecret(s.DiscoveryToken); err != nil {
		errs = append(errs, fmt.Errorf("--discovery-token-file: %w", err))
	}
	if s.discoveryToken != "" && s.discoveryToken == s.token {
		errs = append(errs, errors.New("--discovery-token-file has the token of --token-file: whoever can read it in Zabbix or Prometheus would be root on every host"))
	}
	if err := spec.CheckCluster(cmp.Or(s.Cluster, spec.DefaultCluster)); err != nil {
		errs = append(errs, fmt.Errorf("--zabbix-cluster: %w", err))
	}
	if err := s.Admit.Validate(); err != nil {
		errs = append(errs, err)
	}
	if s.PullConfigs != "" && !filepath.IsAbs(s.PullConfigs) {
		errs = append(errs, fmt.Errorf("--pull-configs %s: need an absolute path", s.PullConfigs))
	}
	for _, r := range s.Roles {
		if err := checkRole(r); err != nil {
			errs = append(errs, err)
		}
	}
	if s.FenceAfter != 0 && s.FenceAfter < minFence {
		errs = append(errs, fmt.Errorf("--fence-after %s is shorter than %s: hosts would withdraw their addresses between two answers of the scheduler", s.FenceAfter, minFence))
	}
	if _, err := spec.ParseDrain(strconv.FormatFloat(s.DrainSeconds, 'f', -1, 64)); err != nil {
		errs = append(errs, fmt.Errorf("--drain-seconds: %w", err))
	}
	if s.MaxDeployments < 1 {
		errs = append(errs, errors.New("--max-running-deployments must be at least 1"))
	}
	if s.Listen != "" && s.token == "" && !s.InsecureAPI {
		errs = append(errs, errors.New("--listen needs --token-file: the API is root on this machine (or say --insecure-api)"))
	}
	return errors.Join(errs...)
}

// drainFor is the default of BERTH_DRAIN_SECONDS.
func (o schedulerOptions) drainFor() time.Duration {
	return time.Duration(o.DrainSeconds * float64(time.Second))
}

// minFence leaves a host, which asks four times in four fifths of it, some time for each answer.
const minFence = 15 * time.Second

// checkRole holds a role to Mesos's rules for names; with hierarchical ones, each part.
func checkRole(role string) error {
	for part := range strings.SplitSeq(role, "/") {
		if part == "" || part == "." || part == ".." || part[0] == '-' || strings.ContainsAny(part, " \t\n\r\v\f\b\\") || part == "*" && role != "*" {
			return fmt.Errorf("--role %q is no name of a role", role)
		}
	}
	return nil
}

// readSecret reads a file with one secret; no file is no secret, but an empty one is an error.
func readSecret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	secret := strings.TrimSpace(string(b))
	if err == nil && secret == "" {
		err = fmt.Errorf("%s is empty", file)
	}
	return secret, err
}

// serve makes the folders, runs what build puts together, and has the pid file say who it is meanwhile.
func (s *settings) serve(ctx context.Context, pidFile string, build func() (*run.Group, error)) error {
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{{s.StateDir, 0o700}, {s.RunDir, 0o755}} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return fmt.Errorf("prepare folders: %w", err)
		}
	}
	group, err := build()
	if err != nil {
		return err
	}
	pid := filepath.Join(s.RunDir, pidFile)
	if err := os.WriteFile(pid, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	defer os.Remove(pid)
	return group.Run(ctx)
}

func (o schedulerOptions) readPools() (calico.Resources, error) {
	if o.PoolsFile == "" {
		pools, err := calico.DecodePools([]byte(defaultPools))
		return calico.Resources{Pools: pools}, err
	}
	text, err := os.ReadFile(o.PoolsFile)
	if err != nil {
		return calico.Resources{}, fmt.Errorf("--pools: %w", err)
	}
	r, err := calico.Decode(text)
	if err == nil && len(r.Pools) == 0 {
		err = errors.New("there is no IPPool in it")
	}
	if err != nil {
		return calico.Resources{}, fmt.Errorf("--pools %s: %w", o.PoolsFile, err)
	}
	return r, nil
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
