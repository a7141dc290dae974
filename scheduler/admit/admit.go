package admit

import (
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// Policy is what the operators allow beyond the default.
type Policy struct {
	AllowPrivileged  bool
	AllowHostNetwork bool
	// HostPaths are absolute paths; volumes may mount them and what lies below. "/" allows all.
	HostPaths []string
	// Pods: the engine runs task groups. Berth's embedded engine does; Mesos itself does so only with a network that Berth
	// cannot give them there.
	Pods bool
	// Parameters are further docker run options, by their long names without dashes. They are allowed with any value.
	Parameters []string
}

// Validate finds settings that could not mean what they say.
func (p Policy) Validate() error {
	for _, prefix := range p.HostPaths {
		if !path.IsAbs(prefix) || path.Clean(prefix) != strings.TrimRight(prefix, "/") && prefix != "/" {
			return fmt.Errorf("allow host path %q: need an absolute path without \"..\"", prefix)
		}
	}
	for _, key := range p.Parameters {
		if r, known := owned[key]; known {
			return fmt.Errorf("allow docker parameter %q: %s", key, r)
		}
	}
	return nil
}

// Check returns every refusal as a *marathon.Faults, or nil.
func Check(app *spec.App, p Policy) error {
	f := &marathon.Faults{Message: "Object is not valid"}
	checkLabels(app, f)
	if app.Executor != "" && app.Executor != "//cmd" {
		f.Add("/executor", "custom executors are not supported: every app runs in a Docker container; leave it empty")
	}
	checkSize(app, f)
	checkLimits(app.ResourceLimits, "/resourceLimits", f)
	checkOneAddress(app, f)
	if app.Container != nil {
		checkContainer(app, p, f)
	}
	if app.Floats() && len(marathon.PersistentVolumes(app)) > 0 {
		f.Add("/labels/"+spec.AppLabelIdentity, "instances with persistent volumes keep their seats: the volumes are the seats'")
	}
	checkFetch(app.Fetch, "/fetch", p, f)
	checkPullConfigs(app, f)
	if app.Pod != nil {
		checkPod(app, p, f)
	}
	return f.Err()
}

// What one definition may ask for at most. Every instance has a seat, an address and a folder named after the id, so a slip
// of the finger must not become a million of them, nor an id a name that no file system takes.
const (
	maxInstances = 250_000
	maxID        = 200
)

func checkSize(app *spec.App, f *marathon.Faults) {
	if app.Instances > maxInstances {
		f.Add("/instances", "got %d, expected at most %d", app.Instances, maxInstances)
	}
	if len(app.ID) > maxID {
		f.Add("/id", "is longer than %d characters", maxID)
	}
}

// checkLimits: a container's quota and memory limit are always numbers here.
func checkLimits(l *spec.ResourceLimits, at string, f *marathon.Faults) {
	if l == nil {
		return
	}
	if l.CPUs != nil && *l.CPUs < 0 {
		f.Add(at+"/cpus", "cannot be unlimited: every instance has a hard quota; give a number of cores")
	}
	if l.Mem != nil && *l.Mem < 0 {
		f.Add(at+"/mem", "cannot be unlimited: every instance has a memory limit; give a number of MiB")
	}
}

// checkOneAddress refuses what would need more than the one IPv4 address that an instance has.
func checkOneAddress(app *spec.App, f *marathon.Faults) {
	if len(app.Networks) > 1 {
		f.Add("/networks", "an instance has one address: name one network")
	}
	for i, h := range app.HealthChecks {
		if h.IPProtocol == "IPv6" {
			f.Add(fmt.Sprintf("/healthChecks(%d)/ipProtocol", i), "instances have IPv4 addresses only")
		}
	}
}

func checkContainer(app *spec.App, p Policy, f *marathon.Faults) {
	c := app.Container
	if d := c.Docker; d != nil {
		if reason := imageFault(d.Image); reason != "" {
			f.Add("/container/docker/image", "%s", reason)
		}
		if d.Privileged && !p.AllowPrivileged {
			f.Add("/container/docker/privileged", "%s", privilegedReason)
		}
		checkParameters(d.Parameters, p, f)
	}
	if c.LinuxInfo != nil {
		f.Add("/container/linuxInfo", "is for Mesos's own containerizer; apps run as Docker containers: use docker parameters")
	}
	persistent := map[string]bool{}
	for _, v := range marathon.PersistentVolumes(app) {
		persistent[v.Name] = true
	}
	for i, v := range c.Volumes {
		checkVolume(v, fmt.Sprintf("/container/volumes(%d)", i), persistent, p, f)
	}
}

// imageFault: the reference becomes an argument of a docker command line on Mesos, where a leading dash would make it an
// option.
func imageFault(image string) string {
	if strings.HasPrefix(image, "-") {
		return "an image's name cannot begin with a dash"
	}
	if strings.ContainsFunc(image, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "an image's name cannot contain blanks or control characters"
	}
	return ""
}

// checkVolume: persistent are the names of the app's persistent volumes. A host path that is not absolute names one of
// them, or something in the task's own sandbox, so it needs no permission.
func checkVolume(v spec.Volume, at string, persistent map[string]bool, p Policy, f *marathon.Faults) {
	switch {
	case v.Persistent != nil:
		if strings.ContainsAny(v.ContainerPath, ":\x00\n") {
			f.Add(at+"/containerPath", "must not contain a colon, NUL or line break")
		}
		return
	case v.HostPath == "":
		return
	case persistent[v.HostPath]:
	case !path.IsAbs(v.HostPath):
		if !filepath.IsLocal(v.HostPath) || strings.ContainsAny(v.HostPath, ":\x00\n") {
			f.Add(at+"/hostPath", "must be an absolute path, a path in the sandbox, or the containerPath of one of the app's persistent volumes")
		}
	default:
		if reason := p.hostPathFault(v.HostPath); reason != "" {
			f.Add(at+"/hostPath", "%s", reason)
		}
	}
	if reason := containerPathFault(v.ContainerPath); reason != "" {
		f.Add(at+"/containerPath", "%s", reason)
	}
}

// hostPathFault says why a path may not be mounted. A colon would change the meaning of docker's "source:target:mode".
func (p Policy) hostPathFault(hostPath string) string {
	if !path.IsAbs(hostPath) {
		return "must be an absolute path"
	}
	if strings.ContainsAny(hostPath, ":\x00\n") {
		return "must not contain a colon, NUL or line break"
	}
	if slices.Contains(strings.Split(hostPath, "/"), "..") {
		return "must not contain \"..\""
	}
	clean := path.Clean(hostPath)
	for _, prefix := range p.HostPaths {
		if prefix = path.Clean(prefix); prefix == "/" || clean == prefix || strings.HasPrefix(clean, prefix+"/") {
			return ""
		}
	}
	if len(p.HostPaths) == 0 {
		return "host paths are not allowed here; the operators can allow some with --allow-host-path"
	}
	return fmt.Sprintf("is not below an allowed host path (%s); the operators can allow it with --allow-host-path", strings.Join(p.HostPaths, ", "))
}

// containerPathFault keeps volumes off the folder that carries the seat's host keys, and off "/".
func containerPathFault(containerPath string) string {
	clean := path.Clean(containerPath)
	switch {
	case !path.IsAbs(containerPath):
		return "must be an absolute path"
	case strings.ContainsAny(containerPath, ":\x00\n"):
		return "must not contain a colon, NUL or line break"
	case clean == "/":
		return "must not be the container's root"
	case clean == spec.SeatMount || strings.HasPrefix(clean, spec.SeatMount+"/"):
		return spec.SeatMount + " is where Berth mounts the instance's SSH host keys; use another path"
	}
	return ""
}

// knownLabels are the labels by which a definition asks for what Marathon has no field for, with the rule for their value.
var knownLabels = map[string]func(string) string{
	spec.AppLabelIPs:      ipsFault,
	spec.AppLabelPool:     nonEmptyFault,
	spec.AppLabelIdentity: identityFault,
	spec.AppLabelService:  nonEmptyFault,
	spec.AppLabelTags:     func(string) string { return "" },
	spec.AppLabelIngress:  parsed(spec.ParseRate),
	spec.AppLabelEgress:   parsed(spec.ParseRate),
	spec.AppLabelLimits:   limitsFault,

	spec.AppLabelMaxCPUs:       parsed(spec.ParseCores),
	spec.AppLabelStartup:       parsed(spec.ParseStartup),
	spec.AppLabelBurst:         parsed(spec.ParseBurst),
	spec.AppLabelWeight:        parsed(spec.ParseWeight),
	spec.AppLabelDrain:         parsed(spec.ParseDrain),
	spec.AppLabelServiceWeight: parsed(spec.ParseServiceWeight),
}

// parsed is the rule of a label whose value one function reads.
func parsed[T any](parse func(string) (T, error)) func(string) string {
	return func(value string) string {
		if _, err := parse(value); err != nil {
			return err.Error()
		}
		return ""
	}
}

func checkLabels(app *spec.App, f *marathon.Faults) {
	for _, key := range sortedKeys(app.Labels) {
		at := "/labels/" + key
		if strings.HasPrefix(key, spec.LabelPrefix) {
			f.Add(at, "labels that begin with %q are set by Berth itself; choose another name", spec.LabelPrefix)
		}
		if !strings.HasPrefix(strings.ToUpper(key), spec.AppLabelPrefix) {
			continue
		}
		rule, known := knownLabels[key]
		if !known {
			f.Add(at, "unknown label; Berth knows %s", strings.Join(sortedKeys(knownLabels), ", "))
		} else if reason := rule(app.Labels[key]); reason != "" {
			f.Add(at, "%s", reason)
		}
	}
	if _, pinned := app.Labels[spec.AppLabelIPs]; pinned && app.Floats() {
		f.Add("/labels/"+spec.AppLabelIdentity, "instances that float keep no addresses; leave out %s or keep the seats", spec.AppLabelIPs)
	}
	checkHeadroom(app, f)
}

// checkHeadroom: what is held for an instance is never less than what it may use.
func checkHeadroom(app *spec.App, f *marathon.Faults) {
	text, set := app.Labels[spec.AppLabelMaxCPUs]
	held, err := spec.ParseCores(text)
	switch at := "/labels/" + spec.AppLabelMaxCPUs; {
	case !set || err != nil: // said already
	case app.Pod != nil:
		f.Add(at, "a pod's containers have a quota each, and are not resized while they run; leave the label out")
	case held < app.CPUs:
		f.Add(at, "%s is less than the app's cpus (%v): give at least as much, or leave the label out", text, app.CPUs)
	}
}

func nonEmptyFault(value string) string {
	if strings.TrimSpace(value) == "" {
		return "must not be empty; leave the label out for the default"
	}
	return ""
}

func limitsFault(value string) string {
	if value == "visible" || value == spec.LimitsHidden {
		return ""
	}
	return fmt.Sprintf("got %q, expected \"visible\" or %q", value, spec.LimitsHidden)
}

func identityFault(value string) string {
	switch value {
	case "seat", spec.IdentityFloat:
		return ""
	}
	return fmt.Sprintf("got %q, expected \"seat\" or \"float\"", value)
}

// ipsFault holds the list to its form. Whether the addresses are in a pool, free and enough is for the one who knows the leases.
func ipsFault(value string) string {
	seen := map[netip.Addr]bool{}
	for _, text := range strings.Split(value, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(text))
		switch {
		case err != nil:
			return fmt.Sprintf("%q is not an IP address; expected addresses separated by commas", strings.TrimSpace(text))
		case seen[addr]:
			return fmt.Sprintf("%s is listed twice; every instance needs its own", addr)
		}
		seen[addr] = true
	}
	return ""
}
