package marathon

import (
	"encoding/json"
	"time"

	"github.com/berth-project/berth/spec"
)

// CheckSpec is a check whose result is only reported: an app's, or that of a pod's container.
type CheckSpec struct {
	Container string // pods: whose check it is
	Protocol  string // HTTP, HTTPS, TCP or COMMAND
	Path      string
	Endpoint  string // pods: what HTTP and TCP probe
	Port      *int   // apps: wins over PortIndex; both nil means index 0
	PortIndex *int
	Shell     string   // COMMAND: a shell line, or
	Argv      []string // words that run without a shell
	Interval  time.Duration
	Timeout   time.Duration
	Delay     time.Duration
}

// Checks are the checks of an app, which has one at most, or of a pod's containers in their order.
func Checks(app *spec.App) []CheckSpec {
	var out []CheckSpec
	if app.Check != nil {
		if c, ok := appCheck(*app.Check); ok {
			out = append(out, c)
		}
	}
	if app.Pod == nil {
		return out
	}
	for i := range app.Pod.Containers {
		c := &app.Pod.Containers[i]
		if c.Check == nil {
			continue
		}
		if check, ok := podCheck(*c.Check); ok {
			check.Container = c.Name
			out = append(out, check)
		}
	}
	return out
}

// appCheck reads what readCheck wrote.
func appCheck(raw spec.Check) (CheckSpec, bool) {
	var c checkJSON
	if json.Unmarshal(raw, &c) != nil {
		return CheckSpec{}, false
	}
	out := checkTimes(c.Interval, c.Timeout, c.Delay)
	switch {
	case c.HTTP != nil:
		out.Protocol, out.Path, out.Port, out.PortIndex = c.HTTP.Scheme, c.HTTP.Path, c.HTTP.Port, c.HTTP.PortIndex
	case c.TCP != nil:
		out.Protocol, out.Port, out.PortIndex = healthTCP, c.TCP.Port, c.TCP.PortIndex
	case c.Exec != nil:
		out.Protocol, out.Shell, out.Argv = healthCommand, or(c.Exec.Command.Shell, ""), c.Exec.Command.Argv
	default:
		return CheckSpec{}, false
	}
	return out, true
}

// podCheck reads what readPodCheck wrote.
func podCheck(raw spec.Check) (CheckSpec, bool) {
	var c podCheckJSON
	if json.Unmarshal(raw, &c) != nil {
		return CheckSpec{}, false
	}
	out := checkTimes(c.Interval, c.Timeout, c.Delay)
	switch {
	case c.HTTP != nil:
		out.Protocol, out.Path, out.Endpoint = c.HTTP.Scheme, c.HTTP.Path, c.HTTP.Endpoint
	case c.TCP != nil:
		out.Protocol, out.Endpoint = healthTCP, c.TCP.Endpoint
	case c.Exec != nil:
		out.Protocol, out.Shell, out.Argv = healthCommand, or(c.Exec.Command.Shell, ""), c.Exec.Command.Argv
	default:
		return CheckSpec{}, false
	}
	return out, true
}

func checkTimes(interval, timeout, delay int) CheckSpec {
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	return CheckSpec{Interval: second(interval), Timeout: second(timeout), Delay: second(delay)}
}
