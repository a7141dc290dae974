package launch

import (
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// Checks are the checks of an app or of a pod's containers as probes. They come after the health checks and the readiness
// check, and their results are only reported.
func Checks(app *spec.App, ports []Port) []spec.Probe {
	var out []spec.Probe
	for _, c := range marathon.Checks(app) {
		p := spec.Probe{Protocol: c.Protocol, Path: c.Path, Command: c.Shell, Argv: c.Argv, Container: c.Container,
			Interval: c.Interval, Timeout: c.Timeout, Delay: c.Delay, Reported: true}
		switch {
		case c.Protocol == "COMMAND":
		case c.Endpoint != "":
			p.Port = portNamed(ports, c.Endpoint)
		default:
			p.Port = portAt(ports, c.Port, c.PortIndex)
		}
		if p.Path == "" && strings.HasPrefix(p.Protocol, "HTTP") {
			p.Path = "/"
		}
		out = append(out, p)
	}
	return out
}

// portAt is the port that a check names: itself, or by its place among the task's.
func portAt(ports []Port, port, index *int) int {
	if port != nil {
		return *port
	}
	i := 0
	if index != nil {
		i = *index
	}
	if i < len(ports) {
		return ports[i].Port
	}
	return 0
}
