package place

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"github.com/berth-project/berth/spec"
)

// Fields are the values that constraints can name on an offer's host: its attributes and Marathon's own fields.
func Fields(o spec.Offer) map[string]string {
	out := make(map[string]string, len(o.Attributes)+4)
	for k, v := range o.Attributes {
		out[k] = v
	}
	for k, v := range map[string]string{"hostname": o.Host, "@hostname": o.Host, "@region": o.Region, "@zone": o.Zone} {
		if v != "" {
			out[k] = v
		}
	}
	return out
}

// rules are one app's constraints with what they need to know of its tasks: how many run on each value of a field. The
// counts grow with each placement, so no task is looked at twice.
type rules struct {
	list []rule
}

type rule struct {
	spec.Constraint
	pattern *regexp.Regexp // LIKE and UNLIKE
	number  int            // GROUP_BY and MAX_PER
	counts  map[string]int // tasks by the field's value
}

func newRules(app *spec.App) *rules {
	rs := &rules{}
	for _, c := range app.Constraints {
		r := rule{Constraint: c, counts: map[string]int{}}
		switch c.Operator {
		case "LIKE", "UNLIKE":
			r.pattern, _ = regexp.Compile("^(?:" + c.Value + ")$") // nil: never() says so
		case "GROUP_BY", "MAX_PER":
			r.number, _ = strconv.Atoi(c.Value)
		}
		rs.list = append(rs.list, r)
	}
	return rs
}

// count takes in a task that runs on a host with these fields.
func (rs *rules) count(fields map[string]string) {
	for _, r := range rs.list {
		if v, ok := fields[r.Field]; ok {
			r.counts[v]++
		}
	}
}

// never says why a host with these fields breaks a constraint whatever runs where; "" when it does not.
func (rs *rules) never(fields map[string]string) string {
	for _, r := range rs.list {
		if why := r.never(fields); why != "" {
			return r.text(why)
		}
	}
	return ""
}

func (r rule) text(why string) string {
	return fmt.Sprintf("constraint %s %s: %s", r.Field, r.Operator, why)
}

func (r rule) never(fields map[string]string) string {
	value, has := fields[r.Field]
	if !has {
		if r.Operator == "UNLIKE" {
			return ""
		}
		return "the host has no such attribute"
	}
	switch r.Operator {
	case "CLUSTER":
		if r.Value != "" && value != r.Value {
			return fmt.Sprintf("%q is not %q", value, r.Value)
		}
	case "LIKE", "UNLIKE":
		if r.pattern == nil {
			return "the pattern does not compile"
		}
		if r.pattern.MatchString(value) != (r.Operator == "LIKE") {
			return fmt.Sprintf("%q against %q", value, r.Value)
		}
	case "MAX_PER":
		if r.number <= 0 {
			return "at most 0 may be anywhere"
		}
	case "IS":
		a, errA := strconv.ParseFloat(value, 64)
		b, errB := strconv.ParseFloat(r.Value, 64)
		if value != r.Value && (errA != nil || errB != nil || number(a) != number(b)) {
			return fmt.Sprintf("%q is not %q", value, r.Value)
		}
	}
	return ""
}

// least is, for each GROUP_BY, the smallest count among the groups that an instance could go to: those of the offers that
// fit. Marathon also counts groups whose hosts are full, and stalls there. The value (how many groups to expect) has no
// effect: groups that nobody knows yet cannot be waited for without stalling either.
func (rs *rules) least(fits []int, free []free) []int {
	out := make([]int, len(rs.list))
	for i, r := range rs.list {
		if r.Operator != "GROUP_BY" {
			continue
		}
		out[i] = math.MaxInt
		for _, o := range fits {
			out[i] = min(out[i], r.counts[free[o].attributes[r.Field]])
		}
	}
	return out
}

// violated says why one more instance on a host with these fields breaks a constraint now; "" when it does not.
func (rs *rules) violated(fields map[string]string, least []int) string {
	for i, r := range rs.list {
		if why := r.violated(fields[r.Field], least[i]); why != "" {
			return r.text(why)
		}
	}
	return ""
}

func (r rule) violated(value string, least int) string {
	n := r.counts[value]
	switch r.Operator {
	case "UNIQUE":
		if n > 0 {
			return fmt.Sprintf("%d instances are on %q already", n, value)
		}
	case "CLUSTER":
		for other := range r.counts {
			if other != value {
				return fmt.Sprintf("the others are on %q", other)
			}
		}
	case "GROUP_BY":
		if n > least {
			return fmt.Sprintf("%q has %d instances, other groups have fewer", value, n)
		}
	case "MAX_PER":
		if n >= r.number {
			return fmt.Sprintf("%d instances are on %q, at most %d may be", n, value, r.number)
		}
	}
	return ""
}
