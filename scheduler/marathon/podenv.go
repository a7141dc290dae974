package marathon

import (
	"strconv"

	"github.com/berth-project/berth/spec"
)

// Endpoint is a port of a pod as its containers are told it.
type Endpoint struct {
	Name string
	Port int // where it listens on the pod's own address
	Host int // where the host publishes it; 0: nowhere
}

// PodEnvInput is what the environment of a pod's container depends on beside the pod.
type PodEnvInput struct {
	TaskID   string // of the container
	Instance string
	Host     string
	// Endpoints are those of all containers of the pod.
	Endpoints []Endpoint
	EnvPrefix string
}

// PodEnv is the environment of a pod's container: Marathon's names, then the pod's own variables, then the container's, each
// winning over those before. Values that are secrets are left out.
func PodEnv(app *spec.App, c *spec.PodContainer, in PodEnvInput) map[string]string {
	env := map[string]string{
		"MARATHON_APP_ID":                  string(app.ID),
		"MARATHON_APP_VERSION":             spec.FormatTime(app.Version),
		"MARATHON_CONTAINER_ID":            c.Name,
		"MARATHON_CONTAINER_RESOURCE_CPUS": decimal(c.CPUs),
		"MARATHON_CONTAINER_RESOURCE_MEM":  decimal(c.Mem),
		"MARATHON_CONTAINER_RESOURCE_DISK": decimal(c.Disk),
		"MARATHON_CONTAINER_RESOURCE_GPUS": strconv.Itoa(c.GPUs),
		"MESOS_TASK_ID":                    in.TaskID,
		"MESOS_EXECUTOR_ID":                in.Instance,
		in.EnvPrefix + "HOST":              in.Host,
	}
	addLabels(env, app.Labels)
	for _, e := range in.Endpoints {
		name, port := envName(e.Name), strconv.Itoa(e.Port)
		env["ENDPOINT_"+name], env["EP_CONTAINER_"+name] = port, port
		if e.Host != 0 {
			env["EP_HOST_"+name] = strconv.Itoa(e.Host)
		}
	}
	for _, vars := range []map[string]spec.EnvValue{app.Env, c.Env} {
		for name, v := range vars {
			if v.Secret == "" {
				env[name] = v.Value
			} else {
				delete(env, name)
			}
		}
	}
	return env
}
