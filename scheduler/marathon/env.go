package marathon

import (
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// EnvInput is what a task's environment depends on beside its app.
type EnvInput struct {
	TaskID string
	Host   string // the agent's host name
	// Ports are the effective ports, in the order of the app's definitions or mappings (spec.Task.Ports).
	Ports []int
	// EnvPrefix is put before HOST and the port names (--env_vars_prefix).
	EnvPrefix string
	// EnforceGroupRole is the app's top-level group's setting.
	EnforceGroupRole bool
}

// Marathon leaves labels out of the environment that are as long as these.
const (
	labelKeyLimit   = 493
	labelValueLimit = 512
)

// TaskEnv is the environment of a task: Marathon's names, and the app's own, which win. Values that are secrets are left out.
func TaskEnv(app *spec.App, in EnvInput) map[string]string {
	env := map[string]string{
		"MARATHON_APP_ID":                 string(app.ID),
		"MARATHON_APP_VERSION":            spec.FormatTime(app.Version),
		"MESOS_TASK_ID":                   in.TaskID,
		"MARATHON_APP_RESOURCE_CPUS":      decimal(app.CPUs),
		"MARATHON_APP_RESOURCE_MEM":       decimal(app.Mem),
		"MARATHON_APP_RESOURCE_DISK":      decimal(app.Disk),
		"MARATHON_APP_RESOURCE_GPUS":      strconv.Itoa(app.GPUs),
		"MARATHON_APP_ENFORCE_GROUP_ROLE": strings.ToUpper(strconv.FormatBool(in.EnforceGroupRole)),
		in.EnvPrefix + "HOST":             in.Host,
	}
	if c := app.Container; c != nil && c.Type == spec.ContainerDocker && c.Docker != nil {
		env["MARATHON_APP_DOCKER_IMAGE"] = c.Docker.Image
	}
	addLabels(env, app.Labels)
	addPorts(env, app, in)
	for name, v := range app.Env {
		if v.Secret == "" {
			env[name] = v.Value
		} else {
			delete(env, name)
		}
	}
	return env
}

func addLabels(env, labels map[string]string) {
	var names []string
	for _, key := range sortedKeys(labels) {
		if len(key) >= labelKeyLimit || len(labels[key]) >= labelValueLimit {
			continue
		}
		name := envName(key)
		names = append(names, name)
		env["MARATHON_APP_LABEL_"+name] = labels[key]
	}
	env["MARATHON_APP_LABELS"] = strings.Join(names, " ")
}

// envName makes each run of other characters than letters, digits and underscores one underscore, in upper case.
func envName(key string) string {
	var b strings.Builder
	replaced := false
	for _, c := range key {
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		switch {
		case plain:
			b.WriteRune(c)
		case !replaced:
			b.WriteByte('_')
		}
		replaced = !plain
	}
	return strings.ToUpper(b.String())
}

// addPorts writes PORT, PORTS, PORT<index>, PORT_<requested number> and PORT_<NAME>. Names keep their dashes, as in Marathon.
func addPorts(env map[string]string, app *spec.App, in EnvInput) {
	set := func(name, text string) { env[in.EnvPrefix+name] = text }
	requested := requestedPorts(app)
	var all []string
	for i, port := range in.Ports {
		text := strconv.Itoa(port)
		all = append(all, text)
		set("PORT"+strconv.Itoa(i), text)
		if i >= len(requested) {
			continue
		}
		number := requested[i].number
		if number == 0 {
			number = port
		}
		set("PORT_"+strconv.Itoa(number), text)
		if requested[i].name != "" {
			set("PORT_"+strings.ToUpper(requested[i].name), text)
		}
	}
	if len(all) > 0 {
		set("PORT", all[0])
		set("PORTS", strings.Join(all, ","))
	}
}

// requestedPorts are the app's ports as PORT_<number> is keyed: by container port, or by port definition.
func requestedPorts(app *spec.App) []appPort {
	ports, _ := portsOf(app)
	if !isHostMode(app) && app.Container != nil {
		for i, m := range app.Container.PortMappings {
			ports[i].number = m.ContainerPort
		}
	}
	return ports
}
