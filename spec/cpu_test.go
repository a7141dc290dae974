package spec

import (
	"fmt"
	"testing"
)

func TestLabelValues(t *testing.T) {
	startup := func(s string) (any, error) { return ParseStartup(s) }
	cores := func(s string) (any, error) { return ParseCores(s) }
	burst := func(s string) (any, error) { return ParseBurst(s) }
	weight := func(s string) (any, error) { return ParseWeight(s) }
	share := func(s string) (any, error) { return ParseServiceWeight(s) }
	drain := func(s string) (any, error) { return ParseDrain(s) }
	for _, c := range []struct {
		name        string
		parse       func(string) (any, error)
		text, value string // value "": refused
	}{
		{"startup", startup, "2x30s", "{2 30s}"}, {"startup", startup, " 1.5x2m ", "{1.5 2m0s}"},
		{"startup", startup, "1x30s", ""}, {"startup", startup, "65x30s", ""}, {"startup", startup, "NaNx30s", ""}, {"startup", startup, "2x0s", ""},
		{"startup", startup, "2x2h", ""}, {"startup", startup, "30s", ""}, {"startup", startup, "", ""}, {"startup", startup, "2x30", ""},
		{"cores", cores, "1.5", "1.5"}, {"cores", cores, "0", ""}, {"cores", cores, "NaN", ""}, {"cores", cores, "Inf", ""}, {"cores", cores, "1e9", ""}, {"cores", cores, "", ""},
		{"burst", burst, "50ms", "50ms"}, {"burst", burst, "10us", ""}, {"burst", burst, "2m", ""}, {"burst", burst, "50", ""},
		{"weight", weight, "1024", "1024"}, {"weight", weight, "1", ""}, {"weight", weight, "262145", ""}, {"weight", weight, "1.5", ""},
		{"share", share, "10", "10"}, {"share", share, "65535", "65535"}, {"share", share, "0", ""}, {"share", share, "65536", ""}, {"share", share, "1.5", ""},
		{"drain", drain, "30", "30s"}, {"drain", drain, "0", "0s"}, {"drain", drain, "0.5", "500ms"}, {"drain", drain, "-1", ""}, {"drain", drain, "3601", ""}, {"drain", drain, "NaN", ""},
	} {
		got, err := c.parse(c.text)
		text := ""
		if err == nil {
			text = fmt.Sprint(got)
		}
		if text != c.value {
			t.Errorf("%s %q: %s, %v; want %q", c.name, c.text, text, err, c.value)
		}
	}
}

func TestSameQuota(t *testing.T) {
	for _, c := range []struct {
		measured, wanted float64
		same             bool
	}{{1.5, 1.5, true}, {1.496, 1.5, true}, {1.45, 1.5, false}, {0, 1.5, false}, {0.01, 0.001, true}, {0.001, 0.001, false}, {0.02, 0.001, false}} {
		if SameQuota(c.measured, c.wanted) != c.same {
			t.Errorf("%v for %v: %v", c.measured, c.wanted, !c.same)
		}
	}
}
