package marathon

import (
	"encoding/json"
	"time"

	"github.com/berth-project/berth/spec"
)

// CheckSpec is an app's check, whose result is only reported.
type CheckSpec struct {
	Protocol  string // HTTP, HTTPS, TCP or COMMAND
	Path      string
	Port      *int // wins over PortIndex; both nil means index 0
	PortIndex *int
	Shell     string // COMMAND: a shell line, or
	Argv      []string
	Interval  time.Duration
	Timeout   time.Duration
	Delay     time.Duration
}

// CheckOf reads an app's check; false when it has none.
func CheckOf(app *spec.App) (CheckSpec, bool) {
	var c checkJSON
	if app.Check == nil || json.Unmarshal(*app.Check, &c) != nil {
		return CheckSpec{}, false // what is stored was written by readCheck
	}
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	out := CheckSpec{Interval: second(c.Interval), Timeout: second(c.Timeout), Delay: second(c.Delay)}
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
