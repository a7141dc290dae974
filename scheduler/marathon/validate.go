package marathon

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// singleInstanceLabel marks apps of which two instances must never run side by side.
const singleInstanceLabel = "MARATHON_SINGLE_INSTANCE_APP"

// validate holds the complete app to Marathon's rules. keepRole is the role that the app has already.
func validate(app *spec.App, keepRole string, o Options, f *Faults) {
	validateID(app.ID, f)
	validateCommand(app, f)
	validateResources(app, o, f)
	validateEnv(app, o, f)
	validateFetch(app.Fetch, "/fetch", f)
	validateConstraints(app.Constraints, "/constraints", f)
	validateRoles(app, keepRole, "/acceptedResourceRoles", o, f)
	validateNetworks(app, f)
	validatePorts(app, f)
	validateContainer(app, o, f)
	validateHealthChecks(app, f)
	validateCheck(app, f)
	validateReadiness(app, f)
	validateStrategies(app, f)
}

func validateID(id spec.AppID, f *Faults) {
	switch {
	case id == "/":
		f.Add("/id", "must not be root")
	case !strings.HasPrefix(string(id), "/"):
		f.Add("/id", "Path needs to be absolute")
	case isReserved(id.Base()):
		f.Add("/id", "must not end with any of the following reserved keywords: restart, tasks, versions, ., ..")
	}
}

// validateCommand: a command line, an argument vector, or neither when an image brings its own.
func validateCommand(app *spec.App, f *Faults) {
	image := app.Container != nil && app.Container.Docker != nil
	// With a DOCKER container that lacks its docker object the fault at /container/docker says it already.
	incomplete := app.Container != nil && app.Container.Type == spec.ContainerDocker && !image
	if app.Cmd != "" && app.Args != nil || app.Cmd == "" && app.Args == nil && !image && !incomplete {
		f.Add("/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
	}
	if len(app.Cmd) == 1 {
		f.Add("/cmd", "got %s, expected 2 or more characters", app.Cmd)
	}
	if strings.ContainsRune(app.Cmd, 0) {
		f.Add("/cmd", "must not contain a NUL character")
	}
	for i, arg := range app.Args {
		if strings.ContainsRune(arg, 0) {
			f.Add(at("/args", i), "must not contain a NUL character")
		}
	}
}

func validateResources(app *spec.App, o Options, f *Faults) {
	for _, r := range []struct {
		key    string
		amount float64
	}{{"cpus", app.CPUs}, {"mem", app.Mem}, {"disk", app.Disk}, {"gpus", float64(app.GPUs)}, {"instances", float64(app.Instances)}} {
		if r.amount < 0 {
			f.Add("/"+r.key, "got %s, expected 0 or more", plain(r.amount))
		}
	}
	if app.GPUs > 0 {
		o.requireFeature(FeatureGPU, "/gpus", f)
		if app.Container != nil && app.Container.Type == spec.ContainerDocker {
			f.Add("/", "GPU resources only work with the Mesos containerizer")
		}
	}
	if l := app.ResourceLimits; l != nil {
		validateLimit("/resourceLimits/cpus", l.CPUs, app.CPUs, f)
		validateLimit("/resourceLimits/mem", l.Mem, app.Mem, f)
	}
}

// validateLimit: a negative limit means unlimited.
func validateLimit(path string, limit *float64, request float64, f *Faults) {
	if limit != nil && *limit >= 0 && *limit < request {
		f.Add(path, "resource limit must be greater than or equal to requested resource (%s)", decimal(request))
	}
}

// requireFeature refuses with Marathon's text; the stray bracket is its own.
func (o Options) requireFeature(feature, path string, f *Faults) {
	if !o.Features[feature] {
		f.Add(path, "Feature %s is not enabled. Enable with --enable_features %s)", feature, feature)
	}
}

// validateSecrets: secrets may be declared where something can come of them.
func (o Options) validateSecrets(app *spec.App, f *Faults) {
	if len(app.Secrets) > 0 && !o.Features[FeaturePullConfig] {
		o.requireFeature(FeatureSecrets, "/secrets", f)
	}
}

// requireStore refuses a variable's secret where secrets may be declared, but for pullConfig only. Where they may not, as in
// Marathon, their declaration is what is refused.
func (o Options) requireStore(path string, f *Faults) {
	if o.Features[FeaturePullConfig] {
		o.requireFeature(FeatureSecrets, path, f)
	}
}

func (o Options) validatePullConfig(app *spec.App, secret, path string, f *Faults) {
	if !o.Features[FeaturePullConfig] {
		o.requireFeature(FeatureSecrets, path, f)
	}
	validateSecretRef(app, secret, path+"/secret", f)
}

func validateEnv(app *spec.App, o Options, f *Faults) {
	o.validateSecrets(app, f)
	for _, name := range sortedKeys(app.Env) {
		v := app.Env[name]
		switch {
		case name == "":
			f.Add("/env", "must not have an empty name")
		case strings.ContainsAny(name, "=\x00"):
			f.Add("/env/"+name, "a name must not contain '=' or NUL")
		case strings.ContainsRune(v.Value, 0):
			f.Add("/env/"+name, "must not contain a NUL character")
		case v.Secret != "":
			o.requireStore("/env/"+name+"/secret", f)
			validateSecretRef(app, v.Secret, "/env/"+name+"/secret", f)
		}
	}
}

func validateSecretRef(app *spec.App, secret, path string, f *Faults) {
	if _, declared := app.Secrets[secret]; !declared {
		f.Add(path, "references an undefined secret")
	}
}

func validateFetch(fetch []spec.Fetch, path string, f *Faults) {
	for i, item := range fetch {
		if !isURI(item.URI) {
			f.Add(at(path, i)+"/uri", "URI has invalid syntax.")
		}
	}
}

// validateRoles: acceptedPath is where the accepted roles stand.
func validateRoles(app *spec.App, keepRole, acceptedPath string, o Options, f *Faults) {
	allowed := append([]string(nil), o.Roles...)
	if len(allowed) == 0 {
		allowed = []string{o.defaultRole()}
	}
	if segments := app.ID.Segments(); len(segments) > 1 {
		if o.Enforcing[segments[0]] {
			allowed = nil // the group's role is the only one
		}
		allowed = append(allowed, segments[0])
	}
	if !slices.Contains(allowed, app.Role) && (keepRole == "" || app.Role != keepRole) {
		f.Add("/role", "got %s, expected one of: [%s]", app.Role, strings.Join(allowed, ", "))
	}
	for _, role := range app.AcceptedResourceRoles {
		if role != "*" && role != app.Role {
			f.Add(acceptedPath, "acceptedResourceRoles can only contain * and %s", app.Role)
			break
		}
	}
	if isResident(app) && app.AcceptedResourceRoles != nil && (len(app.AcceptedResourceRoles) != 1 || app.AcceptedResourceRoles[0] != "*") {
		f.Add(acceptedPath, "A resident app must have `acceptedResourceRoles = [\"*\"]`.")
	}
}

func validateStrategies(app *spec.App, f *Faults) {
	u := app.Unreachable
	if !u.Disabled && u.InactiveAfter > u.ExpungeAfter {
		f.Add("/unreachableStrategy", "inactiveAfterSeconds (%d) must be less or equal to expungeAfterSeconds, which is %d",
			int(u.InactiveAfter.Seconds()), int(u.ExpungeAfter.Seconds()))
	}
	if isResident(app) {
		if !u.Disabled {
			f.Add("/", "unreachableStrategy must be disabled for resident tasks")
		}
		if app.Upgrade.MaximumOverCapacity != 0 {
			f.Add("/upgradeStrategy/maximumOverCapacity", "got %s, expected 0.0", decimal(app.Upgrade.MaximumOverCapacity))
		}
	}
	if app.Labels[singleInstanceLabel] == "true" {
		if app.Upgrade != (spec.UpgradeStrategy{}) {
			f.Add("/upgradeStrategy", "must have minimumHealthCapacity 0 and maximumOverCapacity 0 with label %s", singleInstanceLabel)
		}
		if app.Instances > 1 {
			f.Add("/instances", "must be at most 1 with label %s", singleInstanceLabel)
		}
	}
}

// at is the path of a list's element.
func at(path string, i int) string { return path + "(" + strconv.Itoa(i) + ")" }

// plain writes a number as short as possible; decimal always with a fraction, as Marathon's JVM does.
func plain(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

func decimal(x float64) string {
	text := plain(x)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
