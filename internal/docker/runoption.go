package docker

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-connections/nat"
	"github.com/docker/go-units"
)

// SetOption applies one option of `docker run`, as in "--key=value". Options that may be given several times (label, env,
// volume, ...) add to what is there; others replace it. Unknown options and bad values are errors in docker's manner.
// Options that make no sense for a container that somebody else names, starts and watches (name, detach, rm, restart,
// attach, interactive, cidfile, health-*, link, env-file, label-file) are unknown here.
func (s *CreateSpec) SetOption(key, value string) error {
	known, err := s.setText(key, value)
	for _, set := range []func(string, string) (bool, error){s.setList, s.setNumber, s.setSwitch, s.setParsed} {
		if known || err != nil {
			break
		}
		known, err = set(key, value)
	}
	switch {
	case err != nil:
		return fmt.Errorf("invalid argument %q for \"--%s\" flag: %w", value, key, err)
	case !known:
		return fmt.Errorf("unknown flag: --%s", key)
	}
	return nil
}

// setText handles options whose value is taken as it is.
func (s *CreateSpec) setText(key, value string) (bool, error) {
	target := map[string]*string{
		"hostname": &s.Hostname, "h": &s.Hostname, "domainname": &s.Domainname, "user": &s.User, "u": &s.User,
		"workdir": &s.WorkingDir, "w": &s.WorkingDir, "net": &s.Network, "network": &s.Network, "mac-address": &s.MacAddress,
		"cpuset-cpus": &s.CpusetCpus, "cpuset-mems": &s.CpusetMems, "cgroup-parent": &s.CgroupParent,
		"ipc": &s.IPC, "pid": &s.PID, "uts": &s.UTS, "userns": &s.Userns, "cgroupns": &s.Cgroupns, "runtime": &s.Runtime,
		"stop-signal": &s.StopSignal, "log-driver": &s.LogDriver,
	}[key]
	if target == nil {
		return false, nil
	}
	*target = value
	return true, nil
}

// setList handles options that add their value to a list.
func (s *CreateSpec) setList(key, value string) (bool, error) {
	target := map[string]*[]string{
		"cap-add": &s.CapAdd, "cap-drop": &s.CapDrop, "dns": &s.DNS, "dns-search": &s.DNSSearch, "dns-option": &s.DNSOptions,
		"dns-opt": &s.DNSOptions, "add-host": &s.AddHosts, "group-add": &s.GroupAdd, "security-opt": &s.SecurityOpt,
		"network-alias": &s.NetworkAliases, "net-alias": &s.NetworkAliases, "volumes-from": &s.VolumesFrom, "expose": &s.Expose,
	}[key]
	if target == nil {
		return false, nil
	}
	*target = append(*target, value)
	return true, nil
}

// setNumber handles whole numbers and byte sizes.
func (s *CreateSpec) setNumber(key, value string) (bool, error) {
	if target := map[string]*int64{
		"cpu-shares": &s.CPUShares, "c": &s.CPUShares, "cpu-quota": &s.CPUQuota, "cpu-period": &s.CPUPeriod,
	}[key]; target != nil {
		n, err := strconv.ParseInt(value, 0, 64)
		*target = n
		return true, err
	}
	if target := map[string]*int64{
		"memory": &s.Memory, "m": &s.Memory, "memory-swap": &s.MemorySwap, "memory-reservation": &s.MemoryReservation, "shm-size": &s.ShmSize,
	}[key]; target != nil {
		if key == "memory-swap" && value == "-1" {
			*target = -1
			return true, nil
		}
		n, err := units.RAMInBytes(value)
		*target = n
		return true, err
	}
	switch key {
	case "pids-limit", "memory-swappiness":
		n, err := strconv.ParseInt(value, 0, 64)
		if key == "pids-limit" {
			s.PidsLimit = &n
		} else {
			s.MemorySwappiness = &n
		}
		return true, err
	case "stop-timeout", "oom-score-adj":
		n, err := strconv.Atoi(value)
		if key == "stop-timeout" {
			s.StopTimeout = &n
		} else {
			s.OomScoreAdj = n
		}
		return true, err
	case "blkio-weight":
		n, err := strconv.ParseUint(value, 0, 16)
		s.BlkioWeight = uint16(n)
		return true, err
	case "cpus":
		cores, err := strconv.ParseFloat(value, 64)
		if err == nil && !(cores >= 0 && cores <= 1<<20) { // so that NaN is refused, too
			err = errors.New("not a number of CPUs")
		}
		if err == nil {
			s.NanoCPUs = int64(cores * float64(time.Second))
		}
		return true, err
	}
	return false, nil
}

// setSwitch handles booleans.
func (s *CreateSpec) setSwitch(key, value string) (bool, error) {
	target := map[string]*bool{
		"privileged": &s.Privileged, "read-only": &s.ReadOnly, "tty": &s.TTY, "t": &s.TTY, "oom-kill-disable": &s.OomKillDisable,
	}[key]
	if target == nil && key != "init" {
		return false, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return true, err
	}
	if key == "init" {
		s.Init = &on
	} else {
		*target = on
	}
	return true, nil
}

// setParsed handles options with a form of their own.
func (s *CreateSpec) setParsed(key, value string) (bool, error) {
	switch key {
	case "entrypoint":
		s.Entrypoint = []string{value}
	case "env", "e":
		if name, _, ok := strings.Cut(value, "="); !ok || name == "" {
			return true, errors.New("wanted NAME=value")
		}
		s.Env = append(s.Env, value)
	case "label", "l":
		s.Labels = put(s.Labels, value)
	case "sysctl":
		s.Sysctls = put(s.Sysctls, value)
	case "log-opt":
		s.LogOpts = put(s.LogOpts, value)
	case "storage-opt":
		s.StorageOpt = put(s.StorageOpt, value)
	case "tmpfs":
		where, options, _ := strings.Cut(value, ":")
		if s.Tmpfs == nil {
			s.Tmpfs = map[string]string{}
		}
		s.Tmpfs[where] = options
	case "volume", "v":
		return true, s.addVolume(value)
	case "mount":
		return true, s.addMount(value)
	case "ip", "ip6":
		a, err := netip.ParseAddr(value)
		if err == nil && a.Is4() != (key == "ip") {
			err = errors.New("wrong address family")
		}
		if err != nil {
			return true, err
		}
		if key == "ip" {
			s.IP = a
		} else {
			s.IP6 = a
		}
	case "ulimit":
		u, err := units.ParseUlimit(value)
		if err != nil {
			return true, err
		}
		s.Ulimits = append(s.Ulimits, Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	case "publish", "p":
		return true, s.addPorts(value)
	case "device":
		return true, s.addDevice(value)
	default:
		return false, nil
	}
	return true, nil
}

func put(into map[string]string, pair string) map[string]string {
	if into == nil {
		into = map[string]string{}
	}
	k, v, _ := strings.Cut(pair, "=")
	into[k] = v
	return into
}

func (s *CreateSpec) addVolume(value string) error {
	parts := strings.Split(value, ":")
	switch {
	case len(parts) == 1 && path.IsAbs(value):
		s.Volumes = append(s.Volumes, value)
	case (len(parts) == 2 || len(parts) == 3) && parts[0] != "" && path.IsAbs(parts[1]):
		s.Binds = append(s.Binds, value)
	default:
		return errors.New("wanted [SOURCE:]/PATH[:OPTIONS]")
	}
	return nil
}

// addMount handles the bind, volume and tmpfs forms of --mount by their older equivalents.
func (s *CreateSpec) addMount(value string) error {
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return err
	}
	kind, source, target, readOnly := "volume", "", "", false
	for _, f := range fields {
		k, v, has := strings.Cut(f, "=")
		switch strings.ToLower(k) {
		case "type":
			kind = v
		case "source", "src":
			source = v
		case "target", "destination", "dst":
			target = v
		case "readonly", "ro":
			if readOnly = true; has {
				if readOnly, err = strconv.ParseBool(v); err != nil {
					return err
				}
			}
		default:
			return fmt.Errorf("unexpected key %q", k)
		}
	}
	if target == "" {
		return errors.New("target is required")
	}
	mode := ""
	if readOnly {
		mode = ":ro"
	}
	switch {
	case kind == "tmpfs":
		_, err = s.setParsed("tmpfs", target)
		return err
	case kind == "bind" && source == "":
		return errors.New("source is required")
	case kind != "bind" && kind != "volume":
		return fmt.Errorf("mount type %q is not supported", kind)
	case source == "":
		return s.addVolume(target)
	}
	return s.addVolume(source + ":" + target + mode)
}

func (s *CreateSpec) addPorts(value string) error {
	mappings, err := nat.ParsePortSpec(value)
	if err != nil {
		return err
	}
	for _, m := range mappings {
		b := PortBinding{HostIP: m.Binding.HostIP, ContainerPort: m.Port.Int(), Protocol: m.Port.Proto()}
		if m.Binding.HostPort != "" {
			if b.HostPort, err = strconv.Atoi(m.Binding.HostPort); err != nil {
				return fmt.Errorf("host port %q: %w", m.Binding.HostPort, err)
			}
		}
		s.PortBindings = append(s.PortBindings, b)
	}
	return nil
}

func (s *CreateSpec) addDevice(value string) error {
	parts := strings.Split(value, ":")
	d := Device{HostPath: parts[0], ContainerPath: parts[0], Permissions: "rwm"}
	permissions := func(p string) bool { return p != "" && strings.Trim(p, "rwm") == "" }
	switch {
	case len(parts) == 2 && permissions(parts[1]):
		d.Permissions = parts[1]
	case len(parts) == 2:
		d.ContainerPath = parts[1]
	case len(parts) == 3 && permissions(parts[2]):
		d.ContainerPath, d.Permissions = parts[1], parts[2]
	case len(parts) != 1:
		return errors.New("wanted PATH[:PATH][:rwm]")
	}
	if !path.IsAbs(d.HostPath) || !path.IsAbs(d.ContainerPath) {
		return errors.New("wanted absolute paths")
	}
	s.Devices = append(s.Devices, d)
	return nil
}
