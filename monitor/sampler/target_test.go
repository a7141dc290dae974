package sampler

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/spec"
)

// TestTarget: what is told of a probe has no secrets, and a bounded length.
func TestTarget(t *testing.T) {
	for _, c := range []struct {
		probe spec.Probe
		want  string
	}{
		{spec.Probe{Protocol: "HTTP", Port: 80, Path: "/ok"}, ":80/ok"},
		{spec.Probe{Protocol: "TCP", Port: 5432}, ":5432"},
		{spec.Probe{Protocol: "COMMAND", Command: "mysqladmin -psecret ping"}, "mysqladmin"},
		{spec.Probe{Protocol: "COMMAND", Command: " PASSWORD=secret  psql -c 'select 1'"}, "psql"},
		{spec.Probe{Protocol: "COMMAND", Argv: []string{"/bin/check", "--token", "secret"}}, "/bin/check"},
		{spec.Probe{Protocol: "COMMAND"}, ""},
		{spec.Probe{Protocol: "HTTP", Port: 80, Path: "/" + strings.Repeat("x", 116) + "é"}, ":80/" + strings.Repeat("x", 116)},
	} {
		if got := target(c.probe); got != c.want {
			t.Errorf("%+v: %q, want %q", c.probe, got, c.want)
		}
	}
}
