// Package plan decides the order of a deployment. In: the apps that are and the apps that are wanted. Out: steps of
// actions, each with its reason, in Marathon's order: stops, starts, then one step a dependency depth.
package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/berth-project/berth/spec"
)

// Input is what is and what is wanted. Apps missing from Wanted are stopped.
type Input struct {
	Current, Wanted map[spec.AppID]*spec.App
	// Groups are the wanted groups: what lies in one depends on what it depends on.
	Groups map[spec.AppID]*spec.Group
	// Restart lists apps that are restarted although nothing changed.
	Restart map[spec.AppID]bool
	// SameConfig says that two definitions differ in nothing that tasks would be restarted for (marathon.InPlace).
	SameConfig func(a, b *spec.App) bool
}

// Compute returns the steps; none when nothing has to happen.
func Compute(in Input) []spec.Step {
	var stop, start spec.Step
	for _, id := range slices.Sorted(maps.Keys(in.Current)) {
		if in.Wanted[id] == nil {
			stop.Actions = append(stop.Actions, spec.Action{Kind: spec.StopApplication, App: id, Reason: "the app is no longer wanted"})
		}
	}
	byDepth := map[int][]spec.Action{}
	depth := depths(in.Wanted, in.Groups)
	for _, id := range slices.Sorted(maps.Keys(in.Wanted)) {
		was, want := in.Current[id], in.Wanted[id]
		if was == nil {
			start.Actions = append(start.Actions, spec.Action{Kind: spec.StartApplication, App: id, Reason: "the app is new"})
		}
		if a, ok := action(in, was, want); ok {
			byDepth[depth[id]] = append(byDepth[depth[id]], a)
		}
	}
	var steps []spec.Step
	for _, s := range []spec.Step{stop, start} {
		if len(s.Actions) > 0 {
			steps = append(steps, s)
		}
	}
	for _, d := range slices.Sorted(maps.Keys(byDepth)) {
		steps = append(steps, spec.Step{Actions: byDepth[d]})
	}
	for _, s := range steps {
		for i, a := range s.Actions {
			s.Actions[i].Pod = isPod(in.Wanted[a.App]) || in.Wanted[a.App] == nil && isPod(in.Current[a.App])
		}
	}
	return steps
}

func isPod(app *spec.App) bool { return app != nil && app.Pod != nil }

func action(in Input, was, want *spec.App) (spec.Action, bool) {
	scale := spec.Action{Kind: spec.ScaleApplication, App: want.ID}
	switch {
	case was == nil:
		scale.Reason = fmt.Sprintf("start %d instances", want.Instances)
	case !in.SameConfig(was, want) || in.Restart[want.ID]:
		if want.Instances > 0 {
			reason := "the definition changed"
			if in.SameConfig(was, want) {
				reason = "a restart was asked for"
			}
			return spec.Action{Kind: spec.RestartApplication, App: want.ID, Reason: reason}, true
		}
		scale.Reason = "no instance is wanted"
	case was.Instances != want.Instances:
		scale.Reason = fmt.Sprintf("scale from %d to %d instances", was.Instances, want.Instances)
	default:
		return spec.Action{}, false
	}
	return scale, true
}

// depths gives the length of the longest dependency path of each app, its groups' dependencies included. Dependencies may
// name groups; ids that do not exist are ignored. Cycles were refused before; if one got here, the walk stops where it closes.
func depths(apps map[spec.AppID]*spec.App, groups map[spec.AppID]*spec.Group) map[spec.AppID]int {
	out := map[spec.AppID]int{}
	ids := slices.Sorted(maps.Keys(apps))
	below := members(ids)
	visiting := map[spec.AppID]bool{}
	var walk func(id spec.AppID) int
	walk = func(id spec.AppID) int {
		if d, ok := out[id]; ok {
			return d
		}
		if visiting[id] {
			return 0
		}
		visiting[id] = true
		deepest := 0
		for _, dep := range dependencies(apps[id], groups) {
			for _, other := range below[dep] {
				if other != id {
					deepest = max(deepest, walk(other)+1)
				}
			}
		}
		delete(visiting, id)
		out[id] = deepest
		return deepest
	}
	for _, id := range ids {
		walk(id)
	}
	return out
}

// dependencies are the app's own and those of the groups that it is in.
func dependencies(app *spec.App, groups map[spec.AppID]*spec.Group) []spec.AppID {
	out := slices.Clone(app.Dependencies)
	for group := app.ID; group != "/"; {
		group = group.Parent()
		if g := groups[group]; g != nil {
			out = append(out, g.Dependencies...)
		}
	}
	return out
}

// members lists the apps that each id stands for: itself, or all below the group.
func members(ids []spec.AppID) map[spec.AppID][]spec.AppID {
	out := map[spec.AppID][]spec.AppID{}
	for _, id := range ids {
		out[id] = append(out[id], id)
		for group := id; group != "/"; {
			group = group.Parent()
			out[group] = append(out[group], id)
		}
	}
	return out
}
