package main

import (
	"fmt"
	"math"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/cpuquota/policy"
)

// quotaOptions are the flags about the containers' CPU quotas.
type quotaOptions struct {
	CPUFloor, CPUCeiling float64
	MarathonQuota        bool
}

// minFloor is what the kernel accepts at least, in its usual period.
const minFloor = 0.01

func (o *quotaOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Float64Var(&o.CPUFloor, "cpu-floor", minFloor, "least CPU quota of a container, in cores")
	f.Float64Var(&o.CPUCeiling, "cpu-ceiling", 0, "largest CPU quota of a container, in cores, also with a start-up allowance (default: what the machine has)")
	f.BoolVar(&o.MarathonQuota, "marathon-quota", true, "give tasks of another Marathon or Mesos framework a hard quota of the CPUs that they asked for")
}

// rules checks them.
func (o quotaOptions) rules() (policy.Rules, error) {
	ceiling := o.CPUCeiling
	if ceiling == 0 {
		ceiling = float64(runtime.NumCPU())
	}
	if !(o.CPUFloor >= minFloor && ceiling >= o.CPUFloor) || math.IsInf(ceiling, 0) { // so that NaN is refused, too
		return policy.Rules{}, fmt.Errorf("--cpu-floor %v and --cpu-ceiling %v: the floor is at least %v, and the ceiling not below it", o.CPUFloor, ceiling, minFloor)
	}
	return policy.Rules{Floor: o.CPUFloor, Ceiling: ceiling, NoMarathon: !o.MarathonQuota}, nil
}
