package launch

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/spec"
)

// TestLimits: a limit above the request is the quota; the engine learns of memory by a parameter, as it sets mem itself.
func TestLimits(t *testing.T) {
	two, big, on := 2.0, 256.0, true
	for name, c := range map[string]struct {
		app  spec.App
		want []string
		not  string
	}{
		"none":      {spec.App{CPUs: 0.5, Mem: 128}, []string{"cpu-quota=50000", "label=berth.cpus=0.5"}, "memory"},
		"limits":    {spec.App{CPUs: 0.5, Mem: 128, ResourceLimits: &spec.ResourceLimits{CPUs: &two, Mem: &big}}, []string{"cpu-quota=200000", "label=berth.cpus=2", "memory=268435456", "memory-reservation=134217728"}, "tty"},
		"weight":    {spec.App{CPUs: 0.5, Labels: map[string]string{spec.AppLabelWeight: "300", spec.AppLabelStartup: "2x30s"}}, []string{"cpu-quota=50000", "label=berth.cpus=0.5", "cpu-shares=300"}, "tty"},
		"no weight": {spec.App{CPUs: 0.5, Mem: 128}, []string{"cpu-quota=50000"}, "cpu-shares"},
		"tty":       {spec.App{CPUs: 1, Mem: 128, TTY: &on}, []string{"tty=true"}, "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			var all strings.Builder
			for _, p := range parameters(&c.app, spec.Seat{}, &spec.Task{}, Options{}) {
				all.WriteString(p.Key + "=" + p.Value + "\n")
				if strings.HasPrefix(p.Key, c.not) {
					t.Errorf("unwanted %s=%s", p.Key, p.Value)
				}
			}
			for _, want := range c.want {
				if !strings.Contains(all.String(), want+"\n") {
					t.Errorf("%s is missing in\n%s", want, &all)
				}
			}
		})
	}
}
