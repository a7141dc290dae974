package place

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Known is a host as far as it is known whether it offers something now or not: all that it could give to one framework,
// and its Fields.
type Known struct {
	Host                  string
	CPUs, Mem, Disk, GPUs float64
	Fields                map[string]string
	Never                 string // why it can never run what is asked about; "": nothing is known against it
}

// Outlook says what can never come true on the hosts known now, however long one waits: "" when nothing is known against
// it. spare is how many instances beside the wanted ones a rolling update needs room for. With no known host it says nothing.
func Outlook(app *spec.App, spare int, hosts []Known) []string {
	if len(hosts) == 0 || app.Instances == 0 {
		return nil
	}
	rs := newRules(app, NewTally(app))
	var never []string
	slots := make([]int, len(hosts))
	for i, h := range hosts {
		why := cmp.Or(h.Never, rs.never(h.Fields))
		if why == "" {
			slots[i], why = room(app, h)
		}
		if why != "" {
			never = append(never, h.Host+": "+why)
		}
	}
	total := rs.room(hosts, slots)
	switch {
	case len(never) == len(hosts):
		return []string{fmt.Sprintf("no host known now can ever run %s: %s", app.ID, some(never))}
	case total < app.Instances:
		return []string{fmt.Sprintf("of %d instances of %s at most %d can run at the same time on the %d hosts known now%s",
			app.Instances, app.ID, total, len(hosts), because(rs, never))}
	case total < app.Instances+spare:
		return []string{fmt.Sprintf("a rolling update of %s needs room for %d instances at a time, and the %d hosts known now have room for %d: "+
			"it would wait; a minimumHealthCapacity below 1 lets it replace instances in place", app.ID, app.Instances+spare, len(hosts), total)}
	}
	return nil
}

// room is how many instances would fit the empty host.
func room(app *spec.App, h Known) (int, string) {
	n := math.MaxInt32
	for _, r := range []struct {
		name, unit string
		want, have float64
	}{
		{"cpus", "", app.Held(), h.CPUs}, {"memory", " MiB", app.Mem, h.Mem}, {"disk", " MiB", app.Disk, h.Disk}, {"gpus", "", float64(app.GPUs), h.GPUs},
	} {
		if r.want > r.have+slack {
			return 0, fmt.Sprintf("%s: %s%s wanted, the host has %s%s", r.name, number(r.want), r.unit, number(r.have), r.unit)
		}
		if r.want > 0 {
			n = min(n, int((r.have+slack)/r.want))
		}
	}
	return n, ""
}

// room is how many instances fit all hosts together under the constraints, given what fits each of them.
func (rs *rules) room(hosts []Known, slots []int) int {
	total := sum(slots)
	for _, r := range rs.list {
		byValue := map[string]int{}
		for i, h := range hosts {
			byValue[h.Fields[r.Field]] = min(math.MaxInt32, byValue[h.Fields[r.Field]]+slots[i])
		}
		most, all := 0, 0
		for _, n := range byValue {
			switch r.Operator {
			case "UNIQUE":
				n = min(n, 1)
			case "MAX_PER":
				n = min(n, r.number)
			}
			most, all = max(most, n), all+n
		}
		if r.Operator == "CLUSTER" {
			all = most
		}
		total = min(total, all)
	}
	return total
}

func sum(ns []int) int {
	total := 0
	for _, n := range ns {
		total += n
	}
	return total
}

// because names the constraints and the hosts that are out of the question.
func because(rs *rules, never []string) string {
	var parts []string
	for _, r := range rs.list {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("constraint %s %s %s", r.Field, r.Operator, r.Value)))
	}
	parts = append(parts, some(never))
	if text := strings.Trim(strings.Join(parts, "; "), "; "); text != "" {
		return " (" + text + ")"
	}
	return ""
}

// some joins the first few texts.
func some(texts []string) string {
	const few = 3
	if len(texts) <= few {
		return strings.Join(texts, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(texts[:few], "; "), len(texts)-few)
}
