package admit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

const privilegedReason = "privileged containers are not allowed here; the operators can allow them with --allow-privileged"

// owned are the options that Berth sets itself or that would break what it promises. No policy opens them: the text says
// what to do instead.
var owned = map[string]string{
	"ip":           "addresses are leased by Berth; pin them with the label " + spec.AppLabelIPs,
	"ip6":          "addresses are leased by Berth; pin them with the label " + spec.AppLabelIPs,
	"name":         "containers are named by the engine; the instance's own name is its host name",
	"hostname":     "the host name is made of the app's id and the instance's number",
	"cpu-quota":    "the hard quota follows from cpus",
	"cpu-period":   "the hard quota follows from cpus",
	"cpus":         "the hard quota follows from cpus; set that field of the app",
	"memory":       "the limit follows from mem; set that field of the app",
	"publish":      "use container.portMappings with hostPort, so that the host's ports are accounted for",
	"publish-all":  "use container.portMappings with hostPort, so that the host's ports are accounted for",
	"restart":      "an ended container is replaced by Berth",
	"rm":           "containers are removed by the engine",
	"detach":       "containers are watched by the engine",
	"cidfile":      "containers are watched by the engine",
	"interactive":  "there is no terminal to attach; use berth ssh",
	"tty":          "use the app's field tty",
	"gpus":         "use the app's field gpus",
	"env-file":     "would read a file of the host; use the app's field env",
	"label-file":   "would read a file of the host; use parameters with key label",
	"volumes-from": "would take another container's files; use container.volumes",
	"link":         "would join another container; use its address or its Consul name",
}

// closed are options that reach out of the container. A policy can allow them by name, with any value.
var closed = map[string]string{
	"volume":           "use container.volumes",
	"mount":            "use container.volumes",
	"volume-driver":    "would run a plugin of the host",
	"device":           "would hand a device of the host to the container",
	"pid":              "would join other processes",
	"ipc":              "would join other processes",
	"uts":              "would take the host's name",
	"userns":           "would change who root is",
	"cgroupns":         "would show the host's control groups",
	"cgroup-parent":    "would leave the control group in which the quota is set",
	"security-opt":     "would loosen the container's confinement; only no-new-privileges is allowed",
	"runtime":          "would run the container by another program of the host",
	"oom-kill-disable": "would let the container stop the host when memory runs out",
	"oom-score-adj":    "would let other processes of the host be killed first",
	"mac-address":      "would let the container take over another's traffic",
	"storage-opt":      "depends on the host's storage driver",
	"cpuset-cpus":      "would pin the container to processors that Berth does not account for",
	"cpuset-mems":      "would pin the container to memory that Berth does not account for",
	"blkio-weight":     "would take a share of the host's disks that Berth does not account for",
	"domainname":       "the host name is made of the app's id and the instance's number",
}

// anyValue are the options that act inside the container only, whatever their value.
var anyValue = []string{
	"add-host", "cap-drop", "cpu-shares", "dns", "dns-opt", "dns-option", "dns-search", "entrypoint", "env", "expose",
	"group-add", "init", "memory-reservation", "memory-swap", "memory-swappiness", "net-alias", "network-alias",
	"pids-limit", "read-only", "shm-size", "stop-signal", "stop-timeout", "ulimit", "user", "workdir",
}

// byValue are options whose value decides; the rule returns the reason for a refusal.
var byValue = map[string]func(string) string{
	"cap-add":      capFault,
	"label":        labelFault,
	"log-driver":   logDriverFault,
	"log-opt":      logOptFault,
	"security-opt": securityFault,
	"sysctl":       sysctlFault,
	"tmpfs":        tmpfsFault,
}

// safeCaps are Docker's default capabilities and those that matter inside the container only. NET_ADMIN is not one of
// them: with it a container could take another's address.
var safeCaps = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
	"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "SYS_NICE",
}

// logDrivers keep their output on the host, below Docker's own folder or in its journal.
var logDrivers = []string{"json-file", "local", "journald", "none"}

// logOpts are the options of logDrivers; those of others could name sockets and files of the host.
var logOpts = []string{"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}

func checkParameters(parameters []spec.Parameter, p Policy, f *marathon.Faults) {
	for i, param := range parameters {
		at := fmt.Sprintf("/container/docker/parameters(%d)", i)
		if reason := p.keyFault(param); reason != "" {
			f.Add(at+"/key", "docker parameter %s: %s", param.Key, reason)
		} else if reason := p.valueFault(param); reason != "" {
			f.Add(at+"/value", "docker parameter %s: %s", param.Key, reason)
		}
	}
}

// keyFault decides what the key alone decides.
func (p Policy) keyFault(param spec.Parameter) string {
	key := param.Key
	if reason, is := owned[key]; is {
		return "is set by Berth: " + reason
	}
	switch key {
	case "net", "network":
		return p.networkFault(param.Value)
	case "privileged":
		if p.AllowPrivileged {
			return ""
		}
		return privilegedReason
	}
	_, ruled := byValue[key]
	switch {
	case ruled, slices.Contains(p.Parameters, key), slices.Contains(anyValue, key):
		return ""
	case closed[key] != "":
		return "reaches out of the container: " + closed[key] + "; the operators can allow it with --allow-docker-parameter " + key
	}
	return "is not on the list of allowed options (" + strings.Join(allowedKeys(), ", ") + "); the operators can allow it with --allow-docker-parameter"
}

// networkFault: other networks than the pool's own would bring an address that nobody leased.
func (p Policy) networkFault(network string) string {
	switch {
	case network != "host":
		return "is set by Berth: name the network in networks, or the pool with the label " + spec.AppLabelPool
	case !p.AllowHostNetwork:
		return "the host's network is not allowed here; the operators can allow it with --allow-host-network"
	}
	return ""
}

// valueFault applies the rules for values. A key that the policy allows has none, except that labels cannot be forged.
func (p Policy) valueFault(param spec.Parameter) string {
	if strings.ContainsRune(param.Value, 0) {
		return "must not contain NUL"
	}
	rule := byValue[param.Key]
	if rule == nil || param.Key != "label" && slices.Contains(p.Parameters, param.Key) || param.Key == "cap-add" && p.AllowPrivileged {
		return ""
	}
	return rule(param.Value)
}

func capFault(value string) string {
	if slices.Contains(safeCaps, strings.TrimPrefix(strings.ToUpper(value), "CAP_")) {
		return ""
	}
	return fmt.Sprintf("capability %q is not allowed here, only %s; the operators can allow it with --allow-docker-parameter cap-add", value, strings.Join(safeCaps, ", "))
}

func labelFault(value string) string {
	key, _, _ := strings.Cut(value, "=")
	if strings.HasPrefix(strings.TrimSpace(key), spec.LabelPrefix) {
		return fmt.Sprintf("labels that begin with %q are set by Berth itself; choose another name", spec.LabelPrefix)
	}
	return ""
}

func logDriverFault(value string) string {
	if slices.Contains(logDrivers, value) {
		return ""
	}
	return fmt.Sprintf("log driver %q is not allowed here, only %s; the operators can allow it with --allow-docker-parameter log-driver", value, strings.Join(logDrivers, ", "))
}

func logOptFault(value string) string {
	key, _, _ := strings.Cut(value, "=")
	if slices.Contains(logOpts, key) {
		return ""
	}
	return fmt.Sprintf("log option %q is not allowed here, only %s; the operators can allow it with --allow-docker-parameter log-opt", key, strings.Join(logOpts, ", "))
}

func securityFault(value string) string {
	switch value {
	case "no-new-privileges", "no-new-privileges:true", "no-new-privileges=true":
		return ""
	}
	return "reaches out of the container: " + closed["security-opt"] + "; the operators can allow it with --allow-docker-parameter security-opt"
}

func sysctlFault(value string) string {
	if strings.HasPrefix(value, "net.") {
		return ""
	}
	return "only net.* belongs to the container itself; the operators can allow others with --allow-docker-parameter sysctl"
}

func tmpfsFault(value string) string {
	target, _, _ := strings.Cut(value, ":")
	return containerPathFault(target)
}

// allowedKeys is what a definition may use without any policy.
func allowedKeys() []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(anyValue, sortedKeys(byValue)))))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
