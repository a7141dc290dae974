package launch

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

const java = "-XX:+IgnoreUnrecognizedVMOptions -XX:ActiveProcessorCount="

// TestRuntimeDefaults: runtimes learn the limits, rounded up to whole cores, unless the app says otherwise.
func TestRuntimeDefaults(t *testing.T) {
	four, gib := 3.5, 1024.0
	for name, c := range map[string]struct {
		app  spec.App
		want map[string]string // "": must be missing
	}{
		"half a core": {spec.App{CPUs: 0.5, Mem: 256}, map[string]string{"GOMAXPROCS": "1", "JAVA_TOOL_OPTIONS": java + "1 -XX:MaxRAM=256m -XX:MaxRAMPercentage=50"}},
		"limits": {
			spec.App{CPUs: 1, Mem: 256, ResourceLimits: &spec.ResourceLimits{CPUs: &four, Mem: &gib}},
			map[string]string{"GOMAXPROCS": "4", "JAVA_TOOL_OPTIONS": java + "4 -XX:MaxRAM=1024m -XX:MaxRAMPercentage=50"},
		},
		"little memory": {spec.App{CPUs: 1}, map[string]string{"JAVA_TOOL_OPTIONS": java + "1 -XX:MaxRAM=32m -XX:MaxRAMPercentage=50"}},
		"the app's own": {
			spec.App{CPUs: 2, Mem: 64, Env: map[string]spec.EnvValue{"GOMAXPROCS": {Value: "7"}, "JAVA_TOOL_OPTIONS": {}}},
			map[string]string{"GOMAXPROCS": "7", "JAVA_TOOL_OPTIONS": ""},
		},
		"hidden": {spec.App{CPUs: 2, Mem: 64, Labels: map[string]string{spec.AppLabelLimits: spec.LimitsHidden}}, map[string]string{"GOMAXPROCS": "", "JAVA_TOOL_OPTIONS": ""}},
		"a pod's container": {
			spec.App{ID: "/p", Pod: &spec.Pod{Containers: []spec.PodContainer{{Name: "c", CPUs: 1.5, Mem: 128}}}},
			map[string]string{"GOMAXPROCS": "2", "JAVA_TOOL_OPTIONS": java + "2 -XX:MaxRAM=128m -XX:MaxRAMPercentage=50"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := Build(&c.app, spec.Seat{}, &spec.Task{Instance: "p.instance-1"}, spec.Offer{}, nil, Options{})
			env := l.Env
			if len(l.Members) > 0 {
				env = l.Members[0].Env
			}
			for name, want := range c.want {
				if env[name] != want {
					t.Errorf("%s=%q, want %q", name, env[name], want)
				}
			}
		})
	}
}

// TestViews: a host with lxcfs shows its files, but over what a definition mounts itself.
func TestViews(t *testing.T) {
	all := "cpuinfo diskstats loadavg meminfo stat swaps uptime"
	mount := func(key, value string) *spec.Container {
		return &spec.Container{Docker: &spec.Docker{Image: "i", Parameters: []spec.Parameter{{Key: key, Value: value}}}}
	}
	for name, c := range map[string]struct {
		app       spec.App
		attribute string
		from      string
		want      string
	}{
		"none":          {spec.App{}, "", "", ""},
		"the usual":     {spec.App{}, "true", "/var/lib/lxcfs", all},
		"another place": {spec.App{}, "/run/lxcfs", "/run/lxcfs", all},
		"hidden":        {spec.App{Labels: map[string]string{spec.AppLabelLimits: spec.LimitsHidden}}, "true", "", ""},
		"own volume":    {spec.App{Container: mount("volume", "/srv/m:/proc/meminfo:ro")}, "true", "/var/lib/lxcfs", strings.Replace(all, "meminfo ", "", 1)},
		"own mount":     {spec.App{Container: mount("mount", "type=bind,source=/srv/s,target=/proc/stat")}, "true", "/var/lib/lxcfs", "cpuinfo diskstats loadavg meminfo swaps uptime"},
	} {
		t.Run(name, func(t *testing.T) {
			l := Build(&c.app, spec.Seat{}, &spec.Task{}, spec.Offer{Attributes: map[string]string{spec.AttributeLXCFS: c.attribute}}, nil, Options{})
			got, want := map[string]bool{}, map[string]bool{}
			for _, p := range l.Parameters {
				if from, to, _ := strings.Cut(p.Value, ":"); p.Key == "volume" && strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(from, "/srv/") {
					got[p.Value] = true
				}
			}
			for _, name := range strings.Fields(c.want) {
				want[c.from+"/proc/"+name+":/proc/"+name] = true
			}
			if !maps.Equal(got, want) {
				t.Error(cmp.Diff(want, got))
			}
		})
	}
}
