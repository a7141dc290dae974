package place

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/berth-project/berth/spec"
)

// Fields are the values that constraints can name on an offer's host: its attributes and Marathon's own fields.
func Fields(o spec.Offer) map[string]string {
	out := make(map[string]string, len(o.Attributes)+4)
	for k, v := range o.Attributes {
		out[k] = v
	}
	for _, f := range ownFields(o) {
		if f.value != "" {
			out[f.name] = f.value
		}
	}
	return out
}

// HasFields says whether fields are what Fields would return, without making them.
func HasFields(o spec.Offer, fields map[string]string) bool {
	own, n := ownFields(o), 0
	for _, f := range own {
		if f.value == "" {
			continue
		}
		if n++; fields[f.name] != f.value {
			return false
		}
	}
	for k, v := range o.Attributes {
		if slices.ContainsFunc(own[:], func(f field) bool { return f.name == k && f.value != "" }) {
			continue // the host's own stands in its place
		}
		n++
		if got, ok := fields[k]; !ok || got != v {
			return false
		}
	}
	return n == len(fields)
}

type field struct{ name, value string }

// ownFields are Marathon's; one without a value is not there.
func ownFields(o spec.Offer) [4]field {
	return [...]field{{"hostname", o.Host}, {"@hostname", o.Host}, {"@region", o.Region}, {"@zone", o.Zone}}
}

// rules are one app's constraints with how many of its tasks run on each value of their fields.
type rules struct {
	list []rule
}

type rule struct {
	spec.Constraint
	pattern *regexp.Regexp  // LIKE and UNLIKE
	number  int             // GROUP_BY and MAX_PER
	counts  map[string]int  // tasks by the field's value: the tally's own
	matches map[string]bool // LIKE and UNLIKE: what the pattern said of a value
}

func newRules(app *spec.App, tally *Tally) *rules {
	rs := &rules{list: make([]rule, 0, len(app.Constraints))}
	for _, c := range app.Constraints {
		r := rule{Constraint: c, counts: tally.of(canonical(c.Field))}
		switch c.Operator {
		case "LIKE", "UNLIKE":
			r.pattern, _ = regexp.Compile("^(?:" + c.Value + ")$") // nil: never() says so
			r.matches = map[string]bool{}
		case "GROUP_BY", "MAX_PER":
			r.number, _ = strconv.Atoi(c.Value)
		}
		rs.list = append(rs.list, r)
	}
	return rs
}

// never says why a host with these fields breaks a constraint whatever runs where; "" when it does not.
func (rs *rules) never(fields map[string]string) string {
	for i := range rs.list {
		r := &rs.list[i]
		if r.excludes(fields) {
			return r.text(r.never(fields))
		}
	}
	return ""
}

// excludes says whether a host with these fields breaks a constraint whatever runs where.
func (rs *rules) excludes(fields map[string]string) bool {
	for i := range rs.list {
		if rs.list[i].excludes(fields) {
			return true
		}
	}
	return false
}

func (r *rule) excludes(fields map[string]string) bool {
	value, has := fields[r.Field]
	if !has {
		return r.Operator != "UNLIKE"
	}
	switch r.Operator {
	case "CLUSTER":
		return r.Value != "" && value != r.Value
	case "LIKE", "UNLIKE":
		return r.pattern == nil || r.like(value) != (r.Operator == "LIKE")
	case "MAX_PER":
		return r.number <= 0
	case "IS":
		return !is(value, r.Value)
	}
	return false
}

// like asks the pattern once for each value.
func (r *rule) like(value string) bool {
	yes, known := r.matches[value]
	if !known {
		yes = r.pattern.MatchString(value)
		r.matches[value] = yes
	}
	return yes
}

// is compares as numbers what are numbers.
func is(a, b string) bool {
	if a == b {
		return true
	}
	x, errA := strconv.ParseFloat(a, 64)
	y, errB := strconv.ParseFloat(b, 64)
	return errA == nil && errB == nil && number(x) == number(y)
}

func (r rule) text(why string) string {
	return fmt.Sprintf("constraint %s %s: %s", r.Field, r.Operator, why)
}

// never is why, when excludes.
func (r *rule) never(fields map[string]string) string {
	value, has := fields[r.Field]
	switch {
	case !has:
		return "the host has no such attribute"
	case r.Operator == "MAX_PER":
		return "at most 0 may be anywhere"
	case r.Operator == "CLUSTER", r.Operator == "IS":
		return fmt.Sprintf("%q is not %q", value, r.Value)
	case r.pattern == nil:
		return "the pattern does not compile"
	}
	return fmt.Sprintf("%q against %q", value, r.Value)
}

// full says whether one more instance on a host with these fields breaks a constraint now. GROUP_BY never does: it decides
// where an instance goes first, among the hosts that it can go to, so no group that is full holds the others up. Its value
// (how many groups to expect) has no effect: groups that nobody knows yet cannot be waited for without stalling either.
func (rs *rules) full(fields map[string]string) bool {
	for i := range rs.list {
		r := &rs.list[i]
		if r.full(fields[r.Field]) {
			return true
		}
	}
	return false
}

func (r *rule) full(value string) bool {
	switch r.Operator {
	case "UNIQUE":
		return r.counts[value] > 0
	case "MAX_PER":
		return r.counts[value] >= r.number
	case "CLUSTER":
		// A value that is given says it all, as in Marathon: who changes it moves the app, whose tasks are still on another one.
		return r.Value == "" && (len(r.counts) > 1 || len(r.counts) == 1 && r.counts[value] == 0)
	}
	return false
}

// violated says why, when full; otherwise "".
func (rs *rules) violated(fields map[string]string) string {
	for i := range rs.list {
		r := &rs.list[i]
		value := fields[r.Field]
		if !r.full(value) {
			continue
		}
		switch r.Operator {
		case "UNIQUE":
			return r.text(fmt.Sprintf("%d instances are on %q already", r.counts[value], value))
		case "MAX_PER":
			return r.text(fmt.Sprintf("%d instances are on %q, at most %d may be", r.counts[value], value, r.number))
		}
		for _, other := range slices.Sorted(maps.Keys(r.counts)) {
			if other != value {
				return r.text(fmt.Sprintf("the others are on %q", other))
			}
		}
	}
	return ""
}
