package marathon

import (
	"math"
	"time"

	"github.com/berth-project/berth/spec"
)

// readApp reads the types of a definition; the faults found go to v.f.
func readApp(v value) *draft {
	if !v.object() {
		return &draft{}
	}
	return &draft{
		id:           v.get("id").strMatch(isRawID),
		cmd:          v.get("cmd").strLen(1, 0),
		args:         v.get("args").strs(),
		container:    readContainer(v.get("container")),
		executor:     v.get("executor").strMatch(isExecutor),
		instances:    v.get("instances").integer(),
		cpus:         v.get("cpus").number(),
		mem:          v.get("mem").number(),
		disk:         v.get("disk").number(),
		gpus:         v.get("gpus").integer(),
		limits:       readLimits(v.get("resourceLimits")),
		executorRes:  readExecutorResources(v.get("executorResources")),
		env:          readEnv(v.get("env")),
		secrets:      readSecrets(v.get("secrets")),
		labels:       v.get("labels").strMap(),
		user:         v.get("user").str(),
		fetch:        list(v.get("fetch"), readFetch),
		constraints:  list(v.get("constraints"), readConstraint),
		roles:        unique(v.get("acceptedResourceRoles").strs()),
		role:         v.get("role").str(),
		networks:     list(v.get("networks"), readNetwork),
		ports:        list(v.get("portDefinitions"), readPortDefinition),
		requirePorts: v.get("requirePorts").boolean(),

		healthChecks:    list(v.get("healthChecks"), readHealthCheck),
		check:           readCheck(v.get("check")),
		readinessChecks: list(v.get("readinessChecks"), readReadinessCheck),

		backoff:        v.get("backoffSeconds").seconds(),
		backoffFactor:  v.get("backoffFactor").numberIn(1, math.MaxFloat64),
		maxLaunchDelay: v.get("maxLaunchDelaySeconds").seconds(),
		killGrace:      v.get("taskKillGracePeriodSeconds").seconds(),
		upgrade:        readUpgrade(v.get("upgradeStrategy")),
		killSelection:  v.get("killSelection").enum(string(spec.YoungestFirst), string(spec.OldestFirst)),
		unreachable:    readUnreachable(v.get("unreachableStrategy")),
		residency:      readResidency(v.get("residency")),
		dependencies:   list(v.get("dependencies"), readID),
		tty:            v.get("tty").boolean(),

		legacyPorts: list(v.get("ports"), readPort),
		uris:        list(v.get("uris"), readURI),
		ipAddress:   readIPAddress(v.get("ipAddress")),
	}
}

// seconds reads a duration of whole seconds, 0 or more.
func (v value) seconds() *time.Duration {
	i := v.integerIn(0, math.MaxInt32)
	if i == nil {
		return nil
	}
	d := time.Duration(*i) * time.Second
	return &d
}

func readID(v value) *string { return v.strMatch(isRawID) }

// readURI holds a URI to the bounds that fetch has.
func readURI(v value) *string { return v.strLen(1, 1024) }

func readPort(v value) *int { return v.integerIn(0, 65535) }

func readLimits(v value) *spec.ResourceLimits {
	if !v.object() {
		return nil
	}
	return &spec.ResourceLimits{CPUs: readLimit(v.get("cpus")), Mem: readLimit(v.get("mem"))}
}

// readLimit is a number or "unlimited", which spec writes as a negative number.
func readLimit(v value) *float64 {
	if v.ok() && v.n.kind == kindString {
		unlimited := -1.0
		v.enum("unlimited")
		return &unlimited
	}
	return v.numberIn(0, math.MaxFloat64)
}

func readExecutorResources(v value) *spec.ExecutorResources {
	if !v.object() {
		return nil
	}
	amount := func(key string, fallback float64) float64 {
		return or(v.get(key).numberIn(0, math.MaxFloat64), fallback)
	}
	return &spec.ExecutorResources{CPUs: amount("cpus", 0.1), Mem: amount("mem", 32), Disk: amount("disk", 10)}
}

func readEnv(v value) map[string]spec.EnvValue {
	entries := v.entries()
	if entries == nil {
		return nil
	}
	env := make(map[string]spec.EnvValue, len(entries))
	for _, e := range entries {
		if e.n.kind == kindObject {
			if secret := e.need("secret").strLen(1, 0); secret != nil {
				env[e.key] = spec.EnvValue{Secret: *secret}
			}
		} else if s := e.str(); s != nil {
			env[e.key] = spec.EnvValue{Value: *s}
		}
	}
	return env
}

func readSecrets(v value) map[string]string {
	entries := v.entries()
	if entries == nil {
		return nil
	}
	secrets := make(map[string]string, len(entries))
	for _, e := range entries {
		if e.object() {
			secrets[e.key] = or(e.need("source").strLen(1, 0), "")
		}
	}
	return secrets
}

func readFetch(v value) *spec.Fetch {
	if !v.object() {
		return nil
	}
	return &spec.Fetch{
		URI:        or(readURI(v.need("uri")), ""),
		Extract:    or(v.get("extract").boolean(), true),
		Executable: or(v.get("executable").boolean(), false),
		Cache:      or(v.get("cache").boolean(), false),
		DestPath:   or(v.get("destPath").str(), ""),
	}
}

// readConstraint reads [field, operator] or [field, operator, value].
func readConstraint(v value) *spec.Constraint {
	parts := v.strs()
	if parts == nil {
		return nil
	}
	switch n := len(v.n.list); {
	case n < 2:
		v.fault("error.minLength")
	case n > 3:
		v.fault("error.maxLength")
	case len(parts) == n:
		parts = append(parts, "")
		return &spec.Constraint{Field: parts[0], Operator: parts[1], Value: parts[2]}
	}
	return nil
}

func readUpgrade(v value) *spec.UpgradeStrategy {
	if !v.object() {
		return nil
	}
	return &spec.UpgradeStrategy{
		MinimumHealthCapacity: or(v.need("minimumHealthCapacity").numberIn(0, 1), 0),
		MaximumOverCapacity:   or(v.need("maximumOverCapacity").numberIn(0, 1), 0),
	}
}

// readUnreachable reads any string as "disabled", as Marathon does.
func readUnreachable(v value) *spec.UnreachableStrategy {
	if v.ok() && v.n.kind == kindString {
		return &spec.UnreachableStrategy{Disabled: true}
	}
	if !v.object() {
		return nil
	}
	return &spec.UnreachableStrategy{
		InactiveAfter: or(v.get("inactiveAfterSeconds").seconds(), 0),
		ExpungeAfter:  or(v.get("expungeAfterSeconds").seconds(), 0),
	}
}

const (
	relaunchTimeout = time.Hour
	waitForever     = "WAIT_FOREVER"
)

func readResidency(v value) *spec.Residency {
	if !v.object() {
		return nil
	}
	return &spec.Residency{
		RelaunchEscalationTimeout: or(v.get("relaunchEscalationTimeoutSeconds").seconds(), relaunchTimeout),
		TaskLostBehavior:          or(v.get("taskLostBehavior").enum(waitForever, "RELAUNCH_AFTER_TIMEOUT"), waitForever),
	}
}

// unique drops repeated elements of what Marathon declares as a set.
func unique[T comparable](in []T) []T {
	if in == nil {
		return nil
	}
	out := make([]T, 0, len(in))
	seen := make(map[T]bool, len(in))
	for _, t := range in {
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}
