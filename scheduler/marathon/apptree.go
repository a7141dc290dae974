package marathon

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-project/berth/spec"
)

// ValidateTree holds the apps and groups to the rules that concern more than one of them: no id is both an app and a group,
// and dependencies, those of groups included, have no cycle. Dependencies on ids that do not exist are ignored. The error
// is a *Faults whose further texts name the culprits. The tree has been settled.
func ValidateTree(t Tree) error {
	f := &Faults{Message: invalidMessage}
	ids := sortedIDs(t.Apps)
	var clashes []string
	for _, id := range ids {
		if t.Groups[id] != nil {
			clashes = append(clashes, fmt.Sprintf("%s is %s and a group", id, Kind(t.Apps[id])))
		}
		for group := id.Parent(); group != "/"; group = group.Parent() {
			if t.Apps[group] != nil {
				clashes = append(clashes, fmt.Sprintf("%s is %s, so %s cannot lie below it", group, Kind(t.Apps[group]), id))
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.Groups)) {
		for group := id.Parent(); group != "/" && t.Groups[id] != nil; group = group.Parent() {
			if t.Apps[group] != nil {
				clashes = append(clashes, fmt.Sprintf("%s is %s, so the group %s cannot lie below it", group, Kind(t.Apps[group]), id))
			}
		}
	}
	if len(clashes) > 0 {
		f.Add("/", "Groups and Applications may not have the same identifier.")
	}
	for _, text := range clashes {
		f.Add("/", "%s", text)
	}
	if cycle := findCycle(t, ids); cycle != nil {
		f.Add("/", "Dependency graph has cyclic dependencies.")
		f.Add("/", "the cycle is %s", strings.Join(cycle, " -> "))
	}
	return f.Err()
}

// sortedIDs are the ids of the apps that are there; a nil app is one to be removed.
func sortedIDs(apps map[spec.AppID]*spec.App) []spec.AppID {
	ids := make([]spec.AppID, 0, len(apps))
	for id, app := range apps {
		if app != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// graph is the dependency graph. Groups are nodes too, pointing to what is in them, so that a dependency on a large group
// is one edge. An app that depends on a group that it is in depends on itself.
type graph struct {
	edges map[spec.AppID][]spec.AppID
	state map[spec.AppID]visit
	stack []spec.AppID
}

type visit int

const (
	unseen visit = iota
	open
	done
)

// findCycle returns the ids of a cycle, the first one repeated at the end, or nil.
func findCycle(t Tree, ids []spec.AppID) []string {
	g := &graph{edges: map[spec.AppID][]spec.AppID{}, state: map[spec.AppID]visit{}}
	linked := map[spec.AppID]bool{}
	for _, id := range ids {
		g.edges[id] = append(g.edges[id], t.Apps[id].Dependencies...)
		for group := id; group != "/"; {
			group = group.Parent()
			if record := t.Groups[group]; record != nil {
				g.edges[id] = append(g.edges[id], record.Dependencies...) // what is in a group depends on what it depends on
			}
		}
		for child := id; child != "/" && !linked[child]; child = child.Parent() {
			linked[child] = true
			g.edges[child.Parent()] = append(g.edges[child.Parent()], child)
		}
	}
	for _, id := range ids {
		if g.visit(id) {
			first := slices.Index(g.stack, g.stack[len(g.stack)-1])
			var cycle []string
			for _, step := range g.stack[first:] {
				cycle = append(cycle, string(step))
			}
			return cycle
		}
	}
	return nil
}

// visit walks depth first; true: the stack ends with a cycle.
func (g *graph) visit(id spec.AppID) bool {
	g.stack = append(g.stack, id)
	switch g.state[id] {
	case open:
		return true
	case done:
		g.stack = g.stack[:len(g.stack)-1]
		return false
	}
	g.state[id] = open
	for _, next := range g.edges[id] {
		if g.visit(next) {
			return true
		}
	}
	g.state[id] = done
	g.stack = g.stack[:len(g.stack)-1]
	return false
}
