package launch

import (
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/spec"
)

func TestDrain(t *testing.T) {
	grace := 90 * time.Second
	for _, c := range []struct {
		name     string
		label    string
		byDef    time.Duration
		own      string // the definition's own stop timeout
		env, opt string
	}{
		{"not wanted", "", 0, "", "", ""},
		{"of the app", "2.5", 0, "", "2.5", "90"},
		{"of all", "", 30 * time.Second, "", "30", "90"},
		{"not of this one", "0", 30 * time.Second, "", "", ""},
		{"with its own stop timeout", "5", 0, "7", "5", "7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := spec.App{ID: "/web", CPUs: 1, Mem: 64, KillGrace: &grace, Labels: map[string]string{}}
			if c.label != "" {
				app.Labels[spec.AppLabelDrain] = c.label
			}
			if c.own != "" {
				app.Container = &spec.Container{Docker: &spec.Docker{Image: "i", Parameters: []spec.Parameter{{Key: "stop-timeout", Value: c.own}}}}
			}
			l := Build(&app, spec.Seat{ID: spec.SeatID{App: "/web"}}, &spec.Task{ID: "t"}, spec.Offer{}, nil, Options{DrainFor: c.byDef})
			opt := ""
			if i := slices.IndexFunc(l.Parameters, func(p spec.Parameter) bool { return p.Key == "stop-timeout" }); i >= 0 {
				opt = l.Parameters[i].Value
			}
			if l.Env["BERTH_DRAIN_SECONDS"] != c.env || opt != c.opt {
				t.Errorf("env %q, stop timeout %q", l.Env["BERTH_DRAIN_SECONDS"], opt)
			}
		})
	}
}
