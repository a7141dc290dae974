package launch

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// lxcfsFiles are the files of /proc that lxcfs makes for a container, of its own limits. The container runtime refuses mounts over
// others.
var lxcfsFiles = [...]string{"cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime"}

// showsLimits: programs are shown what the instance may use, unless the app wants to see the machine.
func showsLimits(app *spec.App) bool { return app.Labels[spec.AppLabelLimits] != spec.LimitsHidden }

// views are the mounts of lxcfs's files, on a host that has the attribute. What a definition mounts there itself stays.
func views(app *spec.App, offer spec.Offer, given []spec.Parameter) []spec.Parameter {
	folder := offer.Attributes[spec.AttributeLXCFS]
	if !showsLimits(app) || folder == "" {
		return nil
	}
	if !path.IsAbs(folder) {
		folder = spec.LXCFSFolder
	}
	var out []spec.Parameter
	for _, name := range lxcfsFiles {
		inside := "/proc/" + name
		if slices.ContainsFunc(given, func(p spec.Parameter) bool { return mountsAt(p, inside) }) {
			continue
		}
		// Read-write, as /proc itself: lxcfs allows no writing.
		out = append(out, spec.Parameter{Key: "volume", Value: path.Join(folder, "proc", name) + ":" + inside})
	}
	return out
}

func mountsAt(p spec.Parameter, inside string) bool {
	switch p.Key {
	case "volume", "v":
		parts := strings.Split(p.Value, ":")
		return len(parts) > 1 && parts[1] == inside
	case "mount":
		return slices.ContainsFunc(strings.Split(p.Value, ","), func(f string) bool {
			key, value, _ := strings.Cut(f, "=")
			return value == inside && (key == "target" || key == "dst" || key == "destination")
		})
	}
	return false
}

// runtimeDefaults tell language runtimes that do not look at control groups, or only in newer versions, what the instance may use. What
// the environment says already stays. A JVM takes unknown options as an error, and so each old one would without the first; MaxRAM is
// what it takes for the machine's memory, of which the heap gets half if its own options do not say otherwise.
func runtimeDefaults(env map[string]string, app *spec.App, cpus, mem float64) {
	if !showsLimits(app) {
		return
	}
	defaults := func(name, value string) {
		if _, given := env[name]; !given {
			env[name] = value
		}
	}
	cores := strconv.Itoa(max(1, int(math.Ceil(cpus))))
	defaults("GOMAXPROCS", cores)
	defaults("JAVA_TOOL_OPTIONS", fmt.Sprintf("-XX:+IgnoreUnrecognizedVMOptions -XX:ActiveProcessorCount=%s -XX:MaxRAM=%dm -XX:MaxRAMPercentage=50",
		cores, int(max(mem, minMem))))
}
