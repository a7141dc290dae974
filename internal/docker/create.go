package docker

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/go-connections/nat"
	"github.com/docker/go-units"
)

// CreateSpec is everything a container is created from. The zero value of a field leaves it to the engine or the image.
type CreateSpec struct {
	Name       string
	Image      string
	Entrypoint []string // nil: the image's own; [""] clears it
	Cmd        []string
	Env        []string // KEY=value
	Labels     map[string]string
	User       string
	WorkingDir string
	TTY        bool
	Init       *bool

	Hostname       string
	Domainname     string
	Network        string // "host", "bridge", "none", "container:NAME" or a network's name; "" means the engine's default
	IP             netip.Addr
	IP6            netip.Addr
	MacAddress     string
	NetworkAliases []string
	PortBindings   []PortBinding
	Expose         []string // "80/tcp"
	DNS            []string
	DNSSearch      []string
	DNSOptions     []string
	AddHosts       []string // "name:address"

	Memory            int64 // bytes
	MemorySwap        int64 // bytes, memory and swap together; -1 unlimited
	MemoryReservation int64 // bytes
	MemorySwappiness  *int64
	OomScoreAdj       int
	OomKillDisable    bool
	CPUShares         int64
	CPUQuota          int64 // microseconds a period; -1: none
	CPUPeriod         int64
	NanoCPUs          int64
	CpusetCpus        string
	CpusetMems        string
	PidsLimit         *int64
	BlkioWeight       uint16
	CgroupParent      string

	Binds       []string // "/host:/container[:options]" or "volume:/container"
	Volumes     []string // anonymous volumes
	VolumesFrom []string
	Tmpfs       map[string]string // path -> options
	ShmSize     int64             // bytes
	Devices     []Device
	ReadOnly    bool
	StorageOpt  map[string]string

	CapAdd      []string
	CapDrop     []string
	Privileged  bool
	SecurityOpt []string
	GroupAdd    []string
	Ulimits     []Ulimit
	Sysctls     map[string]string
	IPC         string
	PID         string
	UTS         string
	Userns      string
	Cgroupns    string
	Runtime     string

	StopSignal  string
	StopTimeout *int // seconds
	// LogDriver "" means json-file; it is bounded (DefaultLogOpts) unless LogOpts say otherwise.
	LogDriver string
	LogOpts   map[string]string
}

// PortBinding publishes a container port on the host.
type PortBinding struct {
	HostIP        string
	HostPort      int // 0: the engine chooses
	ContainerPort int
	Protocol      string // "tcp", "udp", "sctp"
}

// Device is a host device in the container.
type Device struct {
	HostPath, ContainerPath, Permissions string
}

// Ulimit is one resource limit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// DefaultLogOpts bound the log of a container that does not say otherwise: an unbounded one fills the host's disk.
func DefaultLogOpts() map[string]string { return map[string]string{"max-size": "10m", "max-file": "3"} }

// Create creates a container and returns its id.
func (c *Client) Create(ctx context.Context, s CreateSpec) (string, error) {
	config, err := s.config()
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", s.Name, err)
	}
	host := s.hostConfig()
	net := s.networking()
	if s.MacAddress != "" {
		// Before API 1.44 the address belongs to the container, since then to the endpoint; the client refuses the other.
		if c.api.NegotiateAPIVersion(ctx); versions.LessThan(c.api.ClientVersion(), "1.44") {
			config.MacAddress = s.MacAddress //nolint:staticcheck // the only field that older engines know
		} else {
			for _, e := range net.EndpointsConfig {
				e.MacAddress = s.MacAddress
			}
		}
	}
	made, err := c.api.ContainerCreate(ctx, config, host, net, nil, s.Name)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", s.Name, err)
	}
	return made.ID, nil
}

func (s *CreateSpec) config() (*container.Config, error) {
	exposed := nat.PortSet{}
	for _, b := range s.PortBindings {
		exposed[b.port()] = struct{}{}
	}
	for _, e := range s.Expose {
		port, err := nat.NewPort(nat.SplitProtoPort(e))
		if err != nil {
			return nil, fmt.Errorf("expose %q: %w", e, err)
		}
		exposed[port] = struct{}{}
	}
	volumes := map[string]struct{}{}
	for _, v := range s.Volumes {
		volumes[v] = struct{}{}
	}
	return &container.Config{
		Hostname: s.Hostname, Domainname: s.Domainname, User: s.User, Tty: s.TTY, OpenStdin: s.TTY,
		Env: s.Env, Cmd: s.Cmd, Entrypoint: s.Entrypoint, Image: s.Image, WorkingDir: s.WorkingDir,
		Labels: s.Labels, StopSignal: s.StopSignal, StopTimeout: s.StopTimeout,
		ExposedPorts: exposed, Volumes: volumes,
	}, nil
}

func (s *CreateSpec) hostConfig() *container.HostConfig {
	h := &container.HostConfig{
		Binds: s.Binds, NetworkMode: container.NetworkMode(s.Network), RestartPolicy: container.RestartPolicy{Name: "no"},
		VolumesFrom: s.VolumesFrom, CapAdd: s.CapAdd, CapDrop: s.CapDrop,
		DNS: s.DNS, DNSOptions: s.DNSOptions, DNSSearch: s.DNSSearch, ExtraHosts: s.AddHosts, GroupAdd: s.GroupAdd,
		IpcMode: container.IpcMode(s.IPC), PidMode: container.PidMode(s.PID), UTSMode: container.UTSMode(s.UTS),
		UsernsMode: container.UsernsMode(s.Userns), CgroupnsMode: container.CgroupnsMode(s.Cgroupns),
		Privileged: s.Privileged, ReadonlyRootfs: s.ReadOnly, SecurityOpt: s.SecurityOpt, StorageOpt: s.StorageOpt,
		Tmpfs: s.Tmpfs, ShmSize: s.ShmSize, Sysctls: s.sysctls(), Runtime: s.Runtime, Init: s.Init, OomScoreAdj: s.OomScoreAdj,
		PortBindings: nat.PortMap{},
		LogConfig:    container.LogConfig{Type: s.LogDriver, Config: s.LogOpts},
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = "json-file"
	}
	if len(s.LogOpts) == 0 && h.LogConfig.Type == "json-file" {
		h.LogConfig.Config = DefaultLogOpts()
	}
	for _, b := range s.PortBindings {
		binding := nat.PortBinding{HostIP: b.HostIP}
		if b.HostPort != 0 {
			binding.HostPort = strconv.Itoa(b.HostPort)
		}
		h.PortBindings[b.port()] = append(h.PortBindings[b.port()], binding)
	}
	h.Resources = s.resources()
	return h
}

// loopback6 is the setting that takes ::1 away.
const loopback6 = "net.ipv6.conf.lo.disable_ipv6"

// sysctls are those asked for, and ::1. The engine turns IPv6 off in a container without an address of that kind, also on loopback, where
// every machine has it and daemons are configured to listen. A network of others is not ours to change.
func (s *CreateSpec) sysctls() map[string]string {
	if s.Network == "host" || strings.HasPrefix(s.Network, "container:") {
		return s.Sysctls
	}
	if _, asked := s.Sysctls[loopback6]; asked {
		return s.Sysctls
	}
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/lo"); err != nil {
		return s.Sysctls // a kernel without IPv6
	}
	out := map[string]string{loopback6: "0"}
	maps.Copy(out, s.Sysctls)
	return out
}

func (s *CreateSpec) resources() container.Resources {
	r := container.Resources{
		CPUShares: s.CPUShares, CPUQuota: s.CPUQuota, CPUPeriod: s.CPUPeriod, NanoCPUs: s.NanoCPUs,
		CpusetCpus: s.CpusetCpus, CpusetMems: s.CpusetMems, BlkioWeight: s.BlkioWeight, CgroupParent: s.CgroupParent,
		Memory: s.Memory, MemorySwap: s.MemorySwap, MemoryReservation: s.MemoryReservation,
		MemorySwappiness: s.MemorySwappiness, PidsLimit: s.PidsLimit,
	}
	if s.OomKillDisable {
		r.OomKillDisable = &s.OomKillDisable
	}
	for _, u := range s.Ulimits {
		r.Ulimits = append(r.Ulimits, &units.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, d := range s.Devices {
		r.Devices = append(r.Devices, container.DeviceMapping{
			PathOnHost: d.HostPath, PathInContainer: d.ContainerPath, CgroupPermissions: d.Permissions,
		})
	}
	return r
}

// networking gives the endpoint's settings; nil where there is nothing to say, as engines refuse endpoint settings on
// host and none networks, and on another container's.
func (s *CreateSpec) networking() *network.NetworkingConfig {
	if s.Network == "" || s.Network == "host" || s.Network == "none" || strings.HasPrefix(s.Network, "container:") {
		return nil
	}
	e := &network.EndpointSettings{Aliases: s.NetworkAliases}
	if s.IP.IsValid() || s.IP6.IsValid() {
		e.IPAMConfig = &network.EndpointIPAMConfig{}
		if s.IP.IsValid() {
			e.IPAMConfig.IPv4Address = s.IP.String()
		}
		if s.IP6.IsValid() {
			e.IPAMConfig.IPv6Address = s.IP6.String()
		}
	}
	return &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{s.Network: e}}
}

func (b PortBinding) port() nat.Port {
	proto := b.Protocol
	if proto == "" {
		proto = "tcp"
	}
	return nat.Port(strconv.Itoa(b.ContainerPort) + "/" + proto)
}

// seconds rounds a grace period up: the engine counts whole seconds, and a shorter grace than asked for loses data.
func seconds(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int((d + time.Second - 1) / time.Second)
}
