package main

import (
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/cpuquota/policy"
)

// TestQuotaFlags: the flags become the keeper's rules; what makes no sense is refused with both names.
func TestQuotaFlags(t *testing.T) {
	machine := float64(runtime.NumCPU())
	for _, c := range []struct {
		name string
		args []string
		want policy.Rules
		bad  bool
	}{
		{"nothing said", nil, policy.Rules{Floor: 0.01, Ceiling: machine}, false},
		{"both bounds", []string{"--cpu-floor", "0.05", "--cpu-ceiling", "1.5"}, policy.Rules{Floor: 0.05, Ceiling: 1.5}, false},
		{"a ceiling above the machine's cores", []string{"--cpu-ceiling", "512"}, policy.Rules{Floor: 0.01, Ceiling: 512}, false},
		{"one quota for all", []string{"--cpu-floor", "0.5", "--cpu-ceiling", "0.5"}, policy.Rules{Floor: 0.5, Ceiling: 0.5}, false},
		{"Marathon's tasks left alone", []string{"--marathon-quota=false"}, policy.Rules{Floor: 0.01, Ceiling: machine, NoMarathon: true}, false},
		{"a floor below the kernel's least", []string{"--cpu-floor", "0.009"}, policy.Rules{}, true},
		{"a floor of nothing", []string{"--cpu-floor", "0"}, policy.Rules{}, true},
		{"a ceiling below the floor", []string{"--cpu-floor", "0.5", "--cpu-ceiling", "0.4"}, policy.Rules{}, true},
		{"a ceiling below the least", []string{"--cpu-ceiling", "-1"}, policy.Rules{}, true},
		{"no number", []string{"--cpu-floor", "NaN"}, policy.Rules{}, true},
		{"no end", []string{"--cpu-floor", "Inf", "--cpu-ceiling", "Inf"}, policy.Rules{}, true},
		{"no number as a ceiling", []string{"--cpu-ceiling", "NaN"}, policy.Rules{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o quotaOptions
			cmd := &cobra.Command{}
			o.register(cmd)
			if err := cmd.ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			got, err := o.rules()
			if c.bad {
				if err == nil || !strings.Contains(err.Error(), "--cpu-floor") || !strings.Contains(err.Error(), "--cpu-ceiling") {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}
