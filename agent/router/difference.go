package router

import "slices"

// Step is one change of a chain: a rule is inserted as number At, or number At is removed. Numbers count from 1.
type Step struct {
	Insert bool
	At     int
	Rule   string
}

// Difference lists the steps that turn have into want. Every rule that is wanted is in place before any is removed, so no
// packet ever meets a chain that lacks one which both states hold.
func Difference(have, want []string) []Step {
	var steps []Step
	now := slices.Clone(have)
	for i, w := range want {
		if i < len(now) && now[i] == w {
			continue
		}
		steps = append(steps, Step{Insert: true, At: i + 1, Rule: w})
		now = slices.Insert(now, i, w)
	}
	for n := len(now); n > len(want); n-- {
		steps = append(steps, Step{At: n, Rule: now[n-1]})
	}
	return steps
}
