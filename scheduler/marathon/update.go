package marathon

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/berth-project/berth/spec"
)

// UpdateApp is the app after a PUT or PATCH. With partial, keys of the body replace the app's, whole values at a time, and
// absent or null keys keep them; without it, the body is the full definition. current is nil when the app does not exist
// yet and o.ID then names it. The app itself is not changed. The versions of the result are current's: the owner of the
// tree assigns new ones when ConfigEqual says that something changed.
//
// A version beside other keys means here that the body was read before: it is taken when it is the app's own, so what GET
// answered can be sent back, and refused as in Marathon otherwise, as somebody else has changed the app meanwhile.
//
// Unlike Marathon, executorResources and resourceLimits are kept, too, when absent: losing a limit because instances
// changed is nobody's wish. And as cmd and args exclude each other, sending one alone drops the other.
func UpdateApp(current *spec.App, body []byte, partial bool, o Options) (*spec.App, error) {
	n, err := parse(body)
	if err != nil {
		return nil, err
	}
	if current != nil {
		o.ID = current.ID
	}
	update, err := readDraft(n, o, partial)
	if err != nil {
		return nil, err
	}
	if partial && current != nil {
		if err := checkVersion(n, current); err != nil {
			return nil, err
		}
	}
	if current == nil {
		id := o.ID
		if id == "" {
			if update.id == nil {
				return nil, &Faults{Message: "App Update must have app id set"}
			}
			id = resolve(*update.id, "/")
		}
		return finish(update, id, "", o)
	}
	merged := update
	if partial {
		if merged, err = redraft(current, o); err != nil {
			return nil, err
		}
		merged.merge(update)
		if !isResident(current) && update.addsPersistent() {
			// The defaults of a stateless app are wrong for one that has become resident.
			merged.upgrade, merged.unreachable = update.upgrade, update.unreachable
		}
		merged.healthChecks = keepSame(current.HealthChecks, merged.healthChecks)
	}
	app, err := finish(merged, current.ID, current.Role, o)
	if err != nil {
		return nil, err
	}
	app.Version, app.LastScaling, app.LastConfigChange = current.Version, current.LastScaling, current.LastConfigChange
	return app, validateResidentUpdate(current, app)
}

// checkVersion refuses a version beside other keys, unless it is the current one.
func checkVersion(n *node, current *spec.App) error {
	f := &Faults{Message: invalidJSON}
	sent := value{n: n, f: f}.get("version").timestamp()
	if err := f.Err(); err != nil || sent == nil || !hasOtherKeys(n) {
		return err
	}
	have := spec.FormatTime(current.Version)
	if spec.FormatTime(*sent) == have {
		return nil
	}
	f.Message = invalidMessage
	f.Add("/", "The 'version' field may only be combined with the 'id' field.")
	f.Add("/", "the version sent is not the app's current one, %s: read the app again, or leave version out", have)
	return f.Err()
}

// redraft is the draft of which the app is the completion: the way through its canonical form.
func redraft(app *spec.App, o Options) (*draft, error) {
	body, err := json.Marshal(Encode(app))
	if err != nil {
		return nil, err
	}
	n, err := parse(body)
	if err != nil {
		return nil, err
	}
	return readDraft(n, o, false)
}

// merge lets every field that u has replace d's.
func (d *draft) merge(u *draft) {
	if u.networks != nil && u.ports == nil && mode(u.networks) != mode(d.networks) {
		d.ports = nil // those of the host network mean nothing elsewhere, and the other way round
	}
	switch {
	case u.cmd != nil && u.args == nil:
		d.args = nil
	case u.cmd == nil && len(u.args) > 0:
		d.cmd = nil
	}
	d.mergeTask(u)
	d.mergePolicy(u)
}

func (d *draft) addsPersistent() bool {
	return d.container != nil && slices.ContainsFunc(d.container.volumes, func(v spec.Volume) bool { return v.Persistent != nil })
}

// mergeTask merges what a task is made of.
func (d *draft) mergeTask(u *draft) {
	replace(&d.cmd, u.cmd)
	replaceList(&d.args, u.args)
	replace(&d.container, u.container)
	replace(&d.executor, u.executor)
	replace(&d.cpus, u.cpus)
	replace(&d.mem, u.mem)
	replace(&d.disk, u.disk)
	replace(&d.gpus, u.gpus)
	replace(&d.limits, u.limits)
	replace(&d.executorRes, u.executorRes)
	replaceMap(&d.env, u.env)
	replaceMap(&d.secrets, u.secrets)
	replaceMap(&d.labels, u.labels)
	replace(&d.user, u.user)
	replaceList(&d.fetch, u.fetch)
	replaceList(&d.networks, u.networks)
	replaceList(&d.ports, u.ports)
	replace(&d.requirePorts, u.requirePorts)
	replace(&d.tty, u.tty)
	replaceList(&d.discovery, u.discovery)
	d.addContainer = u.addContainer
}

// mergePolicy merges where, how many and how tasks are run and watched.
func (d *draft) mergePolicy(u *draft) {
	replace(&d.instances, u.instances)
	replaceList(&d.constraints, u.constraints)
	replaceList(&d.roles, u.roles)
	replace(&d.role, u.role)
	replaceList(&d.healthChecks, u.healthChecks)
	replace(&d.check, u.check)
	replaceList(&d.readinessChecks, u.readinessChecks)
	replace(&d.backoff, u.backoff)
	replace(&d.backoffFactor, u.backoffFactor)
	replace(&d.maxLaunchDelay, u.maxLaunchDelay)
	replace(&d.killGrace, u.killGrace)
	replace(&d.upgrade, u.upgrade)
	replace(&d.killSelection, u.killSelection)
	replace(&d.unreachable, u.unreachable)
	replace(&d.residency, u.residency)
	replaceList(&d.dependencies, u.dependencies)
}

// replace and its like take the update's value unless it was absent.
func replace[T any](have **T, sent *T) {
	if sent != nil {
		*have = sent
	}
}

func replaceList[T any](have *[]T, sent []T) {
	if sent != nil {
		*have = sent
	}
}

func replaceMap[V any](have *map[string]V, sent map[string]V) {
	if sent != nil {
		*have = sent
	}
}

func mode(networks []draftNetwork) spec.NetworkMode {
	if len(networks) == 0 {
		return spec.NetworkHost
	}
	return networks[0].mode
}

// keepSame keeps the checks as they are when the update says the same: a definition may leave out portIndex 0, an update
// has it written, and that alone is no change.
func keepSame(have, sent []spec.HealthCheck) []spec.HealthCheck {
	if len(have) != len(sent) {
		return sent
	}
	for i := range have {
		if !sameHealthCheck(explicitIndex(have[i]), explicitIndex(sent[i])) {
			return sent
		}
	}
	return have
}

func explicitIndex(h spec.HealthCheck) spec.HealthCheck {
	if h.Port == nil && h.PortIndex == nil {
		h.PortIndex = new(int)
	}
	return h
}

// validateResidentUpdate: what an agent has reserved for an app with persistent volumes stays as it is.
func validateResidentUpdate(current, app *spec.App) error {
	if !isResident(current) {
		return nil
	}
	f := &Faults{Message: invalidMessage}
	if !reflect.DeepEqual(persistent(current), persistent(app)) {
		f.Add("/", "Persistent volumes can not be changed!")
	}
	for _, r := range []struct {
		key     string
		changed bool
	}{
		{"cpus", current.Held() != app.Held()}, {"mem", current.Mem != app.Mem}, {"disk", current.Disk != app.Disk},
		{"gpus", current.GPUs != app.GPUs}, {"ports", !reflect.DeepEqual(hostPorts(current), hostPorts(app))},
	} {
		if r.changed {
			f.Add("/"+r.key, "Resident tasks: resource requirements can not be changed!")
		}
	}
	return f.Err()
}

func persistent(app *spec.App) []spec.Volume {
	var out []spec.Volume
	if app.Container != nil {
		for _, v := range app.Container.Volumes {
			if v.Persistent != nil {
				out = append(out, v)
			}
		}
	}
	return out
}

// hostPorts are the ports that the app demands of its host.
func hostPorts(app *spec.App) []int {
	var out []int
	if isHostMode(app) && !app.RequirePorts {
		return make([]int, len(app.PortDefinitions))
	}
	ports, _ := portsOf(app)
	for _, p := range ports {
		out = append(out, p.number)
	}
	return out
}
