package launch

import (
	"strings"

	"github.com/berth-project/berth/spec"
)

// Native is the index of the app's health check that Mesos's executor can perform, -1 if there is none. There is one at
// most. Those of pods stay with the host's agent, as pods do not run on Mesos.
func Native(app *spec.App, o Options) int {
	if !o.NativeChecks || app.Pod != nil {
		return -1
	}
	for i, c := range app.HealthChecks {
		if c.Protocol == "COMMAND" || strings.HasPrefix(c.Protocol, "MESOS_") {
			return i
		}
	}
	return -1
}

func nativeCheck(app *spec.App, ports []Port, o Options) *spec.NativeCheck {
	i := Native(app, o)
	if i < 0 {
		return nil
	}
	c, p := app.HealthChecks[i], Probes(app, ports)[i]
	return &spec.NativeCheck{
		Protocol: p.Protocol, Path: p.Path, Port: p.Port, Command: p.Command,
		Delay: c.Delay, GracePeriod: c.GracePeriod, Interval: c.Interval, Timeout: c.Timeout, MaxFailures: c.MaxConsecutiveFailures,
	}
}
