package router

import "slices"

// Step is one change of a chain: a rule is inserted as number At, or number At is removed. Numbers count from 1.
type Step struct {
	Insert bool
	At     int
	Rule   string
}

// Difference lists the steps that turn have into want, in order. Rules that are wanted and in their place stay untouched,
// and everything wanted is in place before anything is removed.
func Difference(have, want []string) []Step {
	var steps []Step
	now := slices.Clone(have)
	keep := make([]bool, len(now))
	at := 0 // wanted rules so far are before this index
	for i, w := range want {
		next := at
		for next < len(now) && !slices.Contains(want[i:], now[next]) {
			next++ // wanted no more: removed below
		}
		if next < len(now) && now[next] == w {
			keep[next] = true
			at = next + 1
			continue
		}
		steps = append(steps, Step{Insert: true, At: at + 1, Rule: w})
		now, keep = slices.Insert(now, at, w), slices.Insert(keep, at, true)
		at++
	}
	for n := len(now) - 1; n >= 0; n-- { // from the back, so that numbers stay true
		if !keep[n] {
			steps = append(steps, Step{At: n + 1, Rule: now[n]})
		}
	}
	return steps
}
