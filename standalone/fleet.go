package standalone

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fleet describes simulated hosts and what tasks do on them.
type Fleet struct {
	Hosts           int
	CPUs, Mem, Disk float64 // of each host; memory and disk in MiB
	// Racks and Zones are how many of each there are: host i is in rack i mod Racks, and racks are spread over the zones in
	// the same way. They are the agents' attributes "rack" and "zone". 0: there is no such attribute.
	Racks, Zones int
	// Start is from a task's launch to TASK_RUNNING, Stop from its kill to its end. Each task takes half to one and a half of it.
	Start, Stop time.Duration
	// Life is how long tasks run before they end by themselves, half to one and a half of it; 0: for ever.
	Life time.Duration
	// Fail is the share of the tasks that fail instead of running, from 0 to 1.
	Fail float64
	// Data is how many bytes of `data` TASK_RUNNING carries, as the output of docker inspect does on a real agent.
	Data int
	// Seed makes two runs of the same calls equal.
	Seed uint64
}

// maxSimulated bounds the hosts of a fleet: more than any Mesos cluster, less than what memory could not hold.
const maxSimulated = 100_000

// ParseFleet reads "hosts=10000,cpus=16,start=200ms,fail=1%". What is not named has a default.
func ParseFleet(text string) (Fleet, error) {
	f := Fleet{CPUs: 16, Mem: 65536, Disk: 1 << 20, Racks: 20, Zones: 4, Start: 200 * time.Millisecond, Stop: 200 * time.Millisecond, Data: 11 << 10, Seed: 1}
	var errs []error
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			errs = append(errs, fmt.Errorf("%q is no NAME=VALUE", part))
			continue
		}
		if err := f.set(key, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	return f, errors.Join(append(errs, f.validate())...)
}

func (f *Fleet) set(key, value string) (err error) {
	switch key {
	case "hosts":
		f.Hosts, err = strconv.Atoi(value)
	case "cpus":
		f.CPUs, err = strconv.ParseFloat(value, 64)
	case "mem":
		f.Mem, err = strconv.ParseFloat(value, 64)
	case "disk":
		f.Disk, err = strconv.ParseFloat(value, 64)
	case "racks":
		f.Racks, err = strconv.Atoi(value)
	case "zones":
		f.Zones, err = strconv.Atoi(value)
	case "start":
		f.Start, err = time.ParseDuration(value)
	case "stop":
		f.Stop, err = time.ParseDuration(value)
	case "life":
		f.Life, err = time.ParseDuration(value)
	case "fail":
		f.Fail, err = share(value)
	case "data":
		f.Data, err = strconv.Atoi(value)
	case "seed":
		f.Seed, err = strconv.ParseUint(value, 10, 64)
	default:
		err = errors.New("no such setting; there are hosts, cpus, mem, disk, racks, zones, start, stop, life, fail, data and seed")
	}
	return err
}

// share reads "1%" or "0.01".
func share(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	return v, err
}

func (f Fleet) validate() error {
	var errs []error
	wrong := func(is bool, text string) {
		if is {
			errs = append(errs, errors.New(text))
		}
	}
	wrong(f.Hosts < 1 || f.Hosts > maxSimulated, fmt.Sprintf("hosts must be from 1 to %d", maxSimulated))
	for _, v := range []float64{f.CPUs, f.Mem, f.Disk} {
		if !(v > 0 && v <= 1<<40) || math.IsInf(v, 0) {
			errs = append(errs, errors.New("cpus, mem and disk must be positive"))
			break
		}
	}
	wrong(f.Racks < 0 || f.Zones < 0, "racks and zones must not be negative")
	wrong(f.Start < 0 || f.Stop < 0 || f.Life < 0, "times must not be negative")
	wrong(!(f.Fail >= 0 && f.Fail <= 1), "fail must be from 0 to 100 %")
	wrong(f.Data < 0 || f.Data > 1<<20, "data must be from 0 to 1048576 bytes")
	return errors.Join(errs...)
}

// Names are the hosts' names.
func (f Fleet) Names() []string {
	var out []string
	for i := range f.Hosts {
		out = append(out, fmt.Sprintf("sim-%05d", i))
	}
	return out
}

// attributes of a host, sorted by name.
func (f Fleet) attributes(i int) [][2]string {
	var out [][2]string
	rack := i
	if f.Racks > 0 {
		rack = i % f.Racks
		out = append(out, [2]string{"rack", fmt.Sprintf("rack-%03d", rack)})
	}
	if f.Zones > 0 {
		out = append(out, [2]string{"zone", fmt.Sprintf("zone-%d", rack%f.Zones)})
	}
	return slices.Clip(out)
}
