package launch

import (
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// Check is the app's check as a probe, if it has one. It comes after the health checks and the readiness check, and its
// result is only reported.
func Check(app *spec.App, ports []Port) []spec.Probe {
	c, ok := marathon.CheckOf(app)
	if !ok {
		return nil
	}
	p := spec.Probe{Protocol: c.Protocol, Path: c.Path, Command: c.Shell, Interval: c.Interval, Timeout: c.Timeout, Delay: c.Delay, Reported: true}
	switch {
	case c.Protocol == "COMMAND" && c.Shell == "":
		p.Command = "exec " + shellWords(c.Argv)
	case c.Protocol == "COMMAND":
	default:
		p.Port = portAt(ports, c.Port, c.PortIndex)
	}
	if p.Path == "" && strings.HasPrefix(p.Protocol, "HTTP") {
		p.Path = "/"
	}
	return []spec.Probe{p}
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

// shellWords quotes an argument vector for a shell.
func shellWords(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
