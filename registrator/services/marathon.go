package services

import (
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Variables that Marathon gives to its tasks.
const (
	marathonApp   = "MARATHON_APP_ID"
	marathonTask  = "MESOS_TASK_ID"
	marathonLabel = "MARATHON_APP_LABEL_" // and the label's name in upper case
)

// marathon says whether the container is to be looked at as a real Marathon's task. (Berth's own are told by their labels.)
func (p Policy) marathon(c Container) bool {
	return p.Marathon && c.Env[marathonApp] != "" && c.Env[marathonTask] != ""
}

// appOf is the app's id; "" for a plain container.
func appOf(c Container, p Policy) string {
	if p.marathon(c) {
		return c.Env[marathonApp]
	}
	return ""
}

// marathonLabels are the app's labels as far as they are Registrator's words. Marathon shows them in the environment.
func marathonLabels(env map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range env {
		if label, ok := strings.CutPrefix(name, marathonLabel); ok && strings.HasPrefix(label, spec.ServiceVariable) {
			out[label] = value
		}
	}
	return out
}

// maxPorts bounds the ports that a container's environment can make us see.
const maxPorts = 256

// marathonPort is one of the app's ports: its value (the host's port where there is one, else the container's), the
// number that the definition has, and its name.
type marathonPort struct {
	value, number int
	name          string
}

// marathonPorts reads PORT0, PORT1, ... and the variables with the same value that tell the number and the name: PORT_80, PORT_HTTP.
func marathonPorts(env map[string]string) []marathonPort {
	var out []marathonPort
	for i := range maxPorts {
		value, err := strconv.ParseUint(env["PORT"+strconv.Itoa(i)], 10, 16)
		if err != nil || value == 0 {
			return out
		}
		out = append(out, marathonPort{value: int(value), number: int(value)})
	}
	return out
}

// describe fills in numbers and names. Each is given once, in order, so that two ports of one value keep apart what they can.
func describe(ports []marathonPort, env map[string]string) {
	var keys []string
	for name := range env {
		if key, ok := strings.CutPrefix(name, "PORT_"); ok && key != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	numbered := make([]bool, len(ports))
	for _, key := range keys {
		n, err := strconv.ParseUint(key, 10, 16)
		for i := range ports {
			p := &ports[i]
			if env["PORT_"+key] != strconv.Itoa(p.value) {
				continue
			}
			if err == nil && n > 0 && !numbered[i] {
				p.number, numbered[i] = int(n), true
				break
			}
			if err != nil && p.name == "" {
				p.name = strings.ToLower(key)
				break
			}
		}
	}
}

// marathonEndpoints puts what Docker shows of a task and what its environment shows together: in the app's order, with its
// names. On the host's network, and where an image exposes nothing, the environment alone knows the ports.
func marathonEndpoints(env map[string]string, shown []endpoint, at spot) []endpoint {
	ports := marathonPorts(env)
	describe(ports, env)
	var out []endpoint
	for _, p := range ports {
		e := endpoint{port: p.number, listen: p.number, protocol: "tcp", name: p.name}
		if at.direct {
			e.listen = p.value
		}
		i := slices.IndexFunc(shown, func(s endpoint) bool {
			if at.host && !at.direct {
				return s.listen == p.value
			}
			return s.port == e.port
		})
		switch {
		case i >= 0 && !at.direct:
			e.port, e.listen, e.protocol, e.hostIP = shown[i].port, shown[i].listen, shown[i].protocol, shown[i].hostIP
		case at.host && !at.direct:
			continue // it is not published
		}
		if !slices.ContainsFunc(out, func(o endpoint) bool { return o.port == e.port && o.protocol == e.protocol }) {
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		return shown // the environment tells of other ports than there are, as somebody has set it by hand
	}
	return out
}
