package marathon

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

const podRolesPath = "/scheduling/placement/acceptedResourceRoles"

// validatePod holds the complete pod to Marathon's rules. keepRole is the role that the pod has already.
func validatePod(pod *spec.App, keepRole string, o Options, f *Faults) {
	validateID(pod.ID, f)
	o.validateSecrets(pod, f)
	validatePodEnv(pod, pod.Env, "/environment", o, f)
	validateConstraints(pod.Constraints, "/scheduling/placement/constraints", f)
	validateRoles(pod, keepRole, podRolesPath, o, f)
	validateNetworks(pod, f)
	for i := range pod.Pod.Containers {
		validatePodContainer(pod, &pod.Pod.Containers[i], at("/containers", i), o, f)
	}
	validatePodNames(pod.Pod, f)
	validatePodPorts(pod, f)
	validatePodVolumes(pod, o, f)
	validatePodStrategies(pod, f)
	if pod.Pod.LinuxInfo != nil {
		validateLinuxInfo(pod.Pod.LinuxInfo, "/linuxInfo", f)
	}
}

func validatePodEnv(pod *spec.App, env map[string]spec.EnvValue, path string, o Options, f *Faults) {
	for _, name := range sortedKeys(env) {
		switch v := env[name]; {
		case strings.ContainsRune(v.Value, 0):
			f.Add(path+"/"+name, "must not contain a NUL character")
		case v.Secret != "":
			o.requireStore(path+"/"+name+"/secret", f)
			validateSecretRef(pod, v.Secret, path+"/"+name+"/secret", f)
		}
	}
}

func validatePodContainer(pod *spec.App, c *spec.PodContainer, path string, o Options, f *Faults) {
	if c.Shell == "" && c.Argv == nil && c.Image == nil {
		f.Add(path, "must have exec, or an image that brings its own command")
	}
	for _, word := range append([]string{c.Shell}, c.Argv...) {
		if strings.ContainsRune(word, 0) {
			f.Add(path+"/exec/command", "must not contain a NUL character")
		}
	}
	if c.GPUs > 0 {
		o.requireFeature(FeatureGPU, path+"/resources/gpus", f)
	}
	if l := c.Limits; l != nil {
		validateLimit(path+"/resourceLimits/cpus", l.CPUs, c.CPUs, f)
		validateLimit(path+"/resourceLimits/mem", l.Mem, c.Mem, f)
	}
	if c.Image != nil && c.Image.PullConfig != "" {
		o.validatePullConfig(pod, c.Image.PullConfig, path+"/image/pullConfig", f)
		if c.Image.Kind != imageDocker {
			f.Add(path+"/image/pullConfig", "must be empty with kind %s", c.Image.Kind)
		}
	}
	validatePodEnv(pod, c.Env, path+"/environment", o, f)
	validateFetch(c.Artifacts, path+"/artifacts", f)
	validatePodHealthCheck(c, path, f)
	if c.LinuxInfo != nil {
		validateLinuxInfo(c.LinuxInfo, path+"/linuxInfo", f)
	}
}

func validatePodHealthCheck(c *spec.PodContainer, path string, f *Faults) {
	if h := c.HealthCheck; h != nil {
		at := path + "/healthCheck"
		switch h.Protocol {
		case mesosHTTP, mesosHTTPS:
			validateEndpointRef(c, h.Endpoint, at+"/http/endpoint", f)
		case mesosTCP:
			validateEndpointRef(c, h.Endpoint, at+"/tcp/endpoint", f)
		}
		if h.Timeout >= h.Interval {
			f.Add(at+"/timeoutSeconds", "got %d, expected less than intervalSeconds, which is %d", seconds(h.Timeout), seconds(h.Interval))
		}
	}
	if c.Check == nil {
		return
	}
	var check podCheckJSON
	if json.Unmarshal(*c.Check, &check) != nil {
		return // readPodCheck wrote it
	}
	if check.HTTP != nil {
		validateEndpointRef(c, check.HTTP.Endpoint, path+"/check/http/endpoint", f)
	}
	if check.TCP != nil {
		validateEndpointRef(c, check.TCP.Endpoint, path+"/check/tcp/endpoint", f)
	}
}

// validateEndpointRef: a check probes an endpoint of its own container.
func validateEndpointRef(c *spec.PodContainer, name, path string, f *Faults) {
	var names []string
	for _, e := range c.Endpoints {
		names = append(names, e.Name)
	}
	if !slices.Contains(names, name) {
		f.Add(path, "got %s, expected one of: [%s]", name, strings.Join(names, ", "))
	}
}

// validatePodNames: names of containers, endpoints and volumes are each unique in the pod.
func validatePodNames(p *spec.Pod, f *Faults) {
	var containers, endpoints, volumes []string
	for _, c := range p.Containers {
		containers = append(containers, c.Name)
		for _, e := range c.Endpoints {
			endpoints = append(endpoints, e.Name)
		}
	}
	for _, v := range p.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, n := range []struct {
		names []string
		path  string
		text  string
	}{
		{containers, "/containers", "Container names must be unique."}, {endpoints, "/containers", "Endpoint names must be unique."},
		{volumes, "/volumes", "Volume names must be unique."},
	} {
		if len(unique(n.names)) < len(n.names) {
			f.Add(n.path, "%s", n.text)
		}
	}
}

// validatePodPorts: all containers share one address, so ports are unique over the pod.
func validatePodPorts(pod *spec.App, f *Faults) {
	networks := map[string]bool{}
	for _, n := range pod.Networks {
		if n.Name != "" {
			networks[n.Name] = true
		}
	}
	var hostPorts []int
	containerPorts := map[string][]int{} // by network, "" when there is but one
	for i, c := range pod.Pod.Containers {
		for j, e := range c.Endpoints {
			path := at(at("/containers", i)+"/endpoints", j)
			validateEndpointMode(pod.Networks[0].Mode, e, path, f)
			for k, name := range e.NetworkNames {
				if !networks[name] {
					f.Add(at(path+"/networkNames", k), "no network with name %s", strconv.Quote(name))
				}
			}
			if len(networks) > 1 && e.HostPort != nil && len(e.NetworkNames) != 1 {
				f.Add(path, "must name exactly one of several container networks in networkNames when hostPort is given")
			}
			if p := or(e.HostPort, 0); p != 0 {
				hostPorts = append(hostPorts, p)
			}
			if e.ContainerPort != 0 {
				for _, name := range reachedNetworks(e, networks) {
					containerPorts[name] = append(containerPorts[name], e.ContainerPort)
				}
			}
		}
	}
	if len(unique(hostPorts)) < len(hostPorts) {
		f.Add("/containers", "Host ports must be unique.")
	}
	for _, name := range sortedKeys(containerPorts) {
		if ports := containerPorts[name]; len(unique(ports)) < len(ports) {
			f.Add("/containers", "Container ports must be unique.")
			break
		}
	}
}

// reachedNetworks are the networks on which an endpoint listens: those it names, or all.
func reachedNetworks(e spec.PodEndpoint, networks map[string]bool) []string {
	switch {
	case len(networks) < 2:
		return []string{""}
	case len(e.NetworkNames) > 0:
		return e.NetworkNames
	}
	return sortedKeys(networks)
}

func validateEndpointMode(mode spec.NetworkMode, e spec.PodEndpoint, path string, f *Faults) {
	switch {
	case mode == spec.NetworkHost && e.ContainerPort != 0:
		f.Add(path+"/containerPort", "is not allowed when using host-mode networking")
	case mode == spec.NetworkHost && e.HostPort == nil:
		f.Add(path+"/hostPort", "is required when using host-mode networking")
	case mode == spec.NetworkContainer && e.ContainerPort == 0:
		f.Add(path+"/containerPort", "is required when using container-mode networking")
	case mode == spec.NetworkBridge && e.ContainerPort == 0 && e.HostPort == nil:
		f.Add(path, "must have containerPort or hostPort")
	}
}

func validatePodVolumes(pod *spec.App, o Options, f *Faults) {
	volumes, mounted := map[string]spec.PodVolume{}, map[string]bool{}
	for _, v := range pod.Pod.Volumes {
		volumes[v.Name] = v
	}
	for i, c := range pod.Pod.Containers {
		var paths []string
		for j, m := range c.Mounts {
			path := at(at("/containers", i)+"/volumeMounts", j)
			vol, known := volumes[m.Name]
			if !known {
				f.Add(path+"/name", "no volume with name %s", strconv.Quote(m.Name))
			}
			if vol.Persistent != nil && (strings.Contains(m.MountPath, "/") || m.MountPath == "." || m.MountPath == "..") {
				f.Add(path+"/mountPath", "must be a name without '/', relative to the sandbox")
			}
			mounted[m.Name] = true
			paths = append(paths, m.MountPath)
		}
		if len(unique(paths)) < len(paths) {
			f.Add(at("/containers", i)+"/volumeMounts", "Mount paths must be unique.")
		}
	}
	for i, v := range pod.Pod.Volumes {
		path := at("/volumes", i)
		if !mounted[v.Name] {
			f.Add(path, "volume %s is mounted by no container", v.Name)
		}
		switch {
		case v.Persistent != nil:
			validatePersistent(spec.Volume{Mode: "RW", ContainerPath: v.Name, Persistent: v.Persistent}, path, f)
		case v.Secret != "":
			o.requireFeature(FeatureSecrets, path+"/secret", f)
			validateSecretRef(pod, v.Secret, path+"/secret", f)
		}
	}
}

func validatePodStrategies(pod *spec.App, f *Faults) {
	if most := pod.Pod.MaxInstances; most != nil && *most < pod.Instances {
		f.Add("/scaling/maxInstances", "got %d, expected %d or more", *most, pod.Instances)
	}
	u := pod.Unreachable
	if !u.Disabled && u.InactiveAfter > u.ExpungeAfter {
		f.Add("/scheduling/unreachableStrategy", "inactiveAfterSeconds (%d) must be less or equal to expungeAfterSeconds, which is %d",
			seconds(u.InactiveAfter), seconds(u.ExpungeAfter))
	}
	if !isResident(pod) {
		return
	}
	if !u.Disabled {
		f.Add("/", "unreachableStrategy must be disabled for resident tasks")
	}
	if over := pod.Upgrade.MaximumOverCapacity; over != 0 {
		f.Add("/scheduling/upgrade/maximumOverCapacity", "got %s, expected 0.0", decimal(over))
	}
}

// validateResidentRole: a pod with volumes cannot ask for the role of everybody. It may have it, if that is the server's own:
// nothing is reserved here, and else a pod outside of a group could have no volumes at all.
func validateResidentRole(pod *spec.App, sent *string, keepRole string, f *Faults) {
	if isResident(pod) && or(sent, "") == "*" && keepRole != "*" {
		f.Add("/role", "got *, but volumes can only be reserved for a role of their own")
	}
}
