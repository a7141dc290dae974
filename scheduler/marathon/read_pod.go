package marathon

import (
	"math"
	"time"

	"github.com/berth-project/berth/spec"
)

// podDraft is a pod's definition as sent. What has a default that depends on nothing else is filled in already; nil means
// absent.
type podDraft struct {
	id       *string
	app      spec.App // the parts that are complete
	role     *string
	networks []draftNetwork

	minimumHealth, overCapacity *float64
	unreachable                 *spec.UnreachableStrategy
}

// The executor's share of a pod when the definition does not say.
const (
	executorCPUs = 0.1
	executorMem  = 32
	executorDisk = 10
)

// readPod reads the types of a pod's definition; the faults found go to v.f.
func readPod(v value) *podDraft {
	if !v.object() {
		return &podDraft{}
	}
	d := &podDraft{
		id: v.get("id").strMatch(isRawID), role: v.get("role").str(), networks: list(v.get("networks"), readNetwork),
		app: spec.App{
			Env: compactMap(readPodEnv(v.get("environment"))), Secrets: compactMap(readSecrets(v.get("secrets"))),
			Labels: compactMap(v.get("labels").strMap()), User: or(v.get("user").str(), ""),
			ExecutorResources: readExecutorResources(v.get("executorResources")),
		},
	}
	if d.app.ExecutorResources == nil {
		d.app.ExecutorResources = &spec.ExecutorResources{CPUs: executorCPUs, Mem: executorMem, Disk: executorDisk}
	}
	d.app.Pod = &spec.Pod{
		Containers: list(v.need("containers"), readPodContainer), Volumes: compact(list(v.get("volumes"), readPodVolume)),
		LinuxInfo: readLinuxInfo(v.get("linuxInfo")), LegacySharedCgroups: v.get("legacySharedCgroups").boolean(),
	}
	if c := v.get("containers"); c.ok() && c.n.kind == kindArray && len(c.n.list) == 0 {
		c.fault("error.minLength")
	}
	d.readScaling(v.get("scaling"))
	d.readScheduling(v.get("scheduling"))
	return d
}

func (d *podDraft) readScaling(v value) {
	d.app.Instances = 1
	if !v.object() {
		return
	}
	v.get("kind").enum("fixed")
	d.app.Instances = or(v.get("instances").integerIn(0, math.MaxInt32), 1)
	d.app.Pod.MaxInstances = v.get("maxInstances").integerIn(0, math.MaxInt32)
}

// readScheduling fills in Marathon's defaults also when there is no such object: every get then finds nothing.
func (d *podDraft) readScheduling(v value) {
	if v.ok() && !v.object() {
		return
	}
	part := func(key string) value {
		p := v.get(key)
		p.object()
		return p
	}
	backoff := part("backoff")
	d.app.Backoff = or(backoff.get("backoff").duration(), time.Second)
	d.app.BackoffFactor = or(backoff.get("backoffFactor").numberIn(1, math.MaxFloat64), 1.15)
	d.app.MaxLaunchDelay = or(backoff.get("maxLaunchDelay").duration(), 300*time.Second)
	upgrade := part("upgrade")
	d.minimumHealth = upgrade.get("minimumHealthCapacity").numberIn(0, 1)
	d.overCapacity = upgrade.get("maximumOverCapacity").numberIn(0, 1)
	placement := part("placement")
	d.app.Constraints = compact(list(placement.get("constraints"), readPodConstraint))
	d.app.AcceptedResourceRoles = compact(unique(placement.get("acceptedResourceRoles").strs()))
	kill := v.get("killSelection").enum(string(spec.YoungestFirst), string(spec.OldestFirst))
	d.app.KillSelection = spec.KillSelection(or(kill, string(spec.YoungestFirst)))
	d.unreachable = readUnreachable(v.get("unreachableStrategy"))
}

// duration reads a number of seconds, 0 or more, down to milliseconds.
func (v value) duration() *time.Duration {
	x := v.numberIn(0, math.MaxInt32)
	if x == nil {
		return nil
	}
	d := time.Duration(math.Round(min(*x, math.MaxInt32)*1000)) * time.Millisecond
	return &d
}

func readPodConstraint(v value) *spec.Constraint {
	if !v.object() {
		return nil
	}
	return &spec.Constraint{
		Field:    or(v.need("fieldName").strLen(1, 0), ""),
		Operator: or(v.need("operator").enum("UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "UNLIKE", "MAX_PER", "IS"), ""),
		Value:    or(v.get("value").str(), ""),
	}
}

// readPodEnv is readEnv with the names that pods allow.
func readPodEnv(v value) map[string]spec.EnvValue {
	for _, e := range entriesOf(v) {
		if !isEnvName(e.key) {
			e.fault("error.pattern")
		}
	}
	return readEnv(v)
}

// entriesOf is entries without a fault for other values.
func entriesOf(v value) []entry {
	if !v.ok() || v.n.kind != kindObject {
		return nil
	}
	return v.entries()
}

// isEnvName: letters, digits and underscores, no digit first, at most 254.
func isEnvName(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 254
}

// isPodName is the rule for the names of containers, endpoints and volumes of a pod.
func isPodName(s string) bool { return len(s) <= 63 && isLabel(s, "-") }

func readPodVolume(v value) *spec.PodVolume {
	if !v.object() {
		return nil
	}
	vol := &spec.PodVolume{Name: or(v.need("name").strMatch(isPodName), "")}
	switch host, persistent, secret := v.get("host"), v.get("persistent"), v.get("secret"); {
	case secret.ok():
		vol.Secret = or(secret.strLen(1, 0), "")
	case persistent.ok():
		vol.Persistent = readPersistent(persistent)
	case host.ok():
		vol.HostPath = or(host.strLen(1, 0), "")
	}
	return vol
}

// complete fills in what depends on several parts and makes the pod; faults that only show then go to f.
func (d *podDraft) complete(o Options, f *Faults) *spec.App {
	pod := d.app
	pod.ID = o.ID
	if d.id != nil {
		pod.ID = resolve(*d.id, "/")
	}
	pod.Role = or(d.role, o.roleOf(pod.ID, pod.AcceptedResourceRoles))
	(&draft{networks: d.networks}).completeNetworks(&pod, o, f)
	resident := isResident(&pod)
	pod.Upgrade = spec.UpgradeStrategy{MinimumHealthCapacity: 1, MaximumOverCapacity: 1}
	if resident {
		pod.Upgrade = spec.UpgradeStrategy{MinimumHealthCapacity: 0.5}
	}
	pod.Upgrade.MinimumHealthCapacity = or(d.minimumHealth, pod.Upgrade.MinimumHealthCapacity)
	pod.Upgrade.MaximumOverCapacity = or(d.overCapacity, pod.Upgrade.MaximumOverCapacity)
	pod.Unreachable = or(d.unreachable, spec.UnreachableStrategy{Disabled: resident})
	pod.CPUs, pod.Mem, pod.Disk = pod.ExecutorResources.CPUs, pod.ExecutorResources.Mem, pod.ExecutorResources.Disk
	for _, c := range pod.Pod.Containers {
		pod.CPUs, pod.Mem, pod.Disk, pod.GPUs = pod.CPUs+c.CPUs, pod.Mem+c.Mem, pod.Disk+c.Disk, pod.GPUs+c.GPUs
		if c.HealthCheck != nil {
			pod.HealthChecks = append(pod.HealthChecks, *c.HealthCheck)
		}
	}
	pod.CPUs, pod.Mem, pod.Disk = sum(pod.CPUs), sum(pod.Mem), sum(pod.Disk)
	return &pod
}

// sum takes the binary rounding off a sum of decimal fractions.
func sum(x float64) float64 {
	if rounded := math.Round(x*1e6) / 1e6; !math.IsInf(rounded, 0) {
		return rounded
	}
	return x
}
