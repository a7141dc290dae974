package policy

import (
	"math"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Where a wanted quota comes from, the first that says something.
const (
	FromDocument = "host document"
	FromLabel    = "container label"
	FromCreation = "its creation"
	FromMarathon = "Marathon"
	FromShares   = "Mesos"
)

// seat is what the host document says about a container.
type seat struct {
	cpus    float64
	byLabel bool // it says nothing about the quota
	labels  map[string]string
}

// seatsByTask finds it by the container's task. The CPUs of a pod's seat are the sum of its containers'; its own container is
// the sandbox, which has a quota by label, and works too little for anything else.
func seatsByTask(document spec.HostDocument) map[string]seat {
	out := make(map[string]seat, len(document.Seats))
	for _, s := range document.Seats {
		if len(s.Containers) == 0 {
			out[s.TaskID] = seat{cpus: s.CPUs, labels: s.Labels}
			continue
		}
		out[s.TaskID] = seat{byLabel: true}
		for _, c := range s.Containers {
			out[c.TaskID] = seat{cpus: c.CPUs, labels: s.Labels}
		}
	}
	return out
}

// base is the quota that is wanted without a start-up allowance, and who wants it. What can change comes first; then what
// is fixed in the container. A container about which nobody says anything is left alone: cores 0.
func base(c Container, s seat, known bool, r Rules) (cores float64, source string) {
	if known && !s.byLabel {
		return s.cpus, FromDocument
	}
	if cores := number(c.Labels[spec.LabelCPUs]); sane(cores) {
		return cores, FromLabel
	}
	if cores := created(c); sane(cores) {
		return cores, FromCreation
	}
	if r.NoMarathon {
		return 0, ""
	}
	if cores := number(env(c.Env, "MARATHON_APP_RESOURCE_CPUS")); sane(cores) {
		return cores, FromMarathon
	}
	// Mesos's Docker containerizer turns a task's CPUs into shares, and says nothing else about them.
	if strings.HasPrefix(c.Name, "mesos-") && c.Shares > 0 {
		return fromShares(c.Shares), FromShares
	}
	return 0, ""
}

// fromShares is how many CPUs a task asked for: 1024 shares are one, and what was cut off is less than a thousandth.
func fromShares(shares int64) float64 { return math.Ceil(float64(shares)*1000/1024) / 1000 }

// created is the quota that whoever created the container gave the engine: docker run --cpus, or --cpu-quota.
func created(c Container) float64 {
	if c.Quota > 0 {
		period := c.Period
		if period <= 0 {
			period = DefaultPeriod
		}
		return float64(c.Quota) / float64(period)
	}
	return float64(c.NanoCPUs/10_000) / 100_000 // the engine makes whole microseconds of it, in a period of 100 ms
}

// wished is what a container's definition says under one of Berth's labels: the seat's, else one that the container itself
// has, else the one that Marathon put into its environment.
func wished(c Container, s seat, known bool, key string) string {
	if known {
		return s.labels[key]
	}
	if text, ok := c.Labels[key]; ok {
		return text
	}
	return env(c.Env, "MARATHON_APP_LABEL_"+key)
}

// env is the last value of a variable, as for a program.
func env(all []string, key string) string {
	value := ""
	for _, kv := range all {
		if len(kv) > len(key) && kv[len(key)] == '=' && kv[:len(key)] == key {
			value = kv[len(key)+1:]
		}
	}
	return value
}

func number(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) {
		return 0
	}
	return n
}
