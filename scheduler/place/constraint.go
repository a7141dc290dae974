package place

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/berth-project/berth/spec"
)

func attributes(o spec.Offer) map[string]string {
	out := map[string]string{"@hostname": o.Host, "hostname": o.Host, "@region": o.Region, "@zone": o.Zone}
	for k, v := range o.Attributes {
		out[k] = v
	}
	return out
}

// constraints says whether an offer fulfils all constraints of the app, counting its running tasks and those placed just now.
func (m *matcher) constraints(app *spec.App, o spec.Offer) (bool, string) {
	if len(app.Constraints) == 0 {
		return true, ""
	}
	attrs := attributes(o)
	for _, c := range app.Constraints {
		value, has := attrs[c.Field]
		counts := map[string]int{}
		for _, r := range m.running[app.ID] {
			a := r.Attributes
			if a == nil {
				a = map[string]string{"hostname": r.Host, "@hostname": r.Host}
			}
			counts[a[c.Field]]++
		}
		if why := violates(c, value, has && value != "", counts); why != "" {
			return false, fmt.Sprintf("constraint %s %s: %s", c.Field, c.Operator, why)
		}
	}
	return true, ""
}

// violates returns why a value breaks a constraint, given how many tasks run on each value of the field; "" when it holds.
func violates(c spec.Constraint, value string, has bool, counts map[string]int) string {
	if !has {
		if c.Operator == "UNLIKE" {
			return ""
		}
		return "the host has no such attribute"
	}
	switch c.Operator {
	case "UNIQUE":
		if n := counts[value]; n > 0 {
			return fmt.Sprintf("%d instances are on %q already", n, value)
		}
	case "CLUSTER":
		if c.Value != "" && value != c.Value {
			return fmt.Sprintf("%q is not %q", value, c.Value)
		}
		for other := range counts {
			if c.Value == "" && other != value {
				return fmt.Sprintf("the others are on %q", other)
			}
		}
	case "GROUP_BY":
		least := counts[value]
		for _, n := range counts {
			least = min(least, n)
		}
		want, _ := strconv.Atoi(c.Value)
		if counts[value] > 0 && (counts[value] > least || len(counts) < want) {
			return fmt.Sprintf("%q has %d instances, other groups have fewer", value, counts[value])
		}
	case "LIKE", "UNLIKE":
		re, err := regexp.Compile("^(?:" + c.Value + ")$")
		if err != nil {
			return "the pattern does not compile"
		}
		if re.MatchString(value) != (c.Operator == "LIKE") {
			return fmt.Sprintf("%q against %q", value, c.Value)
		}
	case "MAX_PER":
		limit, _ := strconv.Atoi(c.Value)
		if counts[value] >= limit {
			return fmt.Sprintf("%d instances are on %q, at most %d may be", counts[value], value, limit)
		}
	case "IS":
		a, errA := strconv.ParseFloat(value, 64)
		b, errB := strconv.ParseFloat(c.Value, 64)
		if value != c.Value && (errA != nil || errB != nil || fmt.Sprintf("%.3f", a) != fmt.Sprintf("%.3f", b)) {
			return fmt.Sprintf("%q is not %q", value, c.Value)
		}
	}
	return ""
}
