package marathon

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// validateConstraints holds each constraint to its operator's rules. Operators are upper case only. Regular expressions
// are Go's (RE2), as placement uses them: what Java has beyond (look-around, back references) is refused here rather than
// never matching later.
func validateConstraints(constraints []spec.Constraint, path string, f *Faults) {
	for i, c := range constraints {
		if reason := constraintFault(c); reason != "" {
			f.Add(at(path, i), "%s", reason)
		}
	}
}

func constraintFault(c spec.Constraint) string {
	if c.Field == "" {
		return "must name a field"
	}
	switch c.Operator {
	case "UNIQUE":
		if c.Value != "" {
			return "UNIQUE takes no value"
		}
	case "CLUSTER":
	case "GROUP_BY":
		if c.Value != "" && !isCount(c.Value) {
			return "GROUP_BY takes a number, got " + strconv.Quote(c.Value)
		}
	case "MAX_PER":
		if !isCount(c.Value) {
			return "MAX_PER needs a number, got " + strconv.Quote(c.Value)
		}
	case "LIKE", "UNLIKE":
		if c.Value == "" {
			return c.Operator + " needs a regular expression"
		}
		if !compiles(c.Value) {
			return strconv.Quote(c.Value) + " is not a valid regular expression"
		}
	case "IS":
		if !isLiteral(c.Value) {
			return "IS needs a value of letters, digits and _/.-, got " + strconv.Quote(c.Value)
		}
	default:
		return "unknown operator " + strconv.Quote(c.Operator) + ", expected UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER or IS"
	}
	return ""
}

func isCount(s string) bool {
	n, err := strconv.ParseInt(s, 10, 32)
	return err == nil && n >= 0
}

func compiles(pattern string) bool {
	_, err := regexp.Compile(pattern)
	return err == nil
}

func isLiteral(s string) bool {
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_/.-", c)) {
			return false
		}
	}
	return s != ""
}
