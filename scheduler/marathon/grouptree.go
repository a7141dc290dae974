package marathon

import (
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// Tree is a set of apps (and pods) and groups by id. Among the puts of a change a nil value removes.
type Tree struct {
	Apps   map[spec.AppID]*spec.App
	Groups map[spec.AppID]*spec.Group
}

// Apply is the tree after the puts; t itself stays as it is.
func (t Tree) Apply(puts Tree) Tree {
	return Tree{Apps: applied(t.Apps, puts.Apps), Groups: applied(t.Groups, puts.Groups)}
}

func applied[V any](have, puts map[spec.AppID]*V) map[spec.AppID]*V {
	out := make(map[spec.AppID]*V, len(have)+len(puts))
	maps.Copy(out, have)
	for id, v := range puts {
		if v == nil {
			delete(out, id)
			continue
		}
		out[id] = v
	}
	return out
}

// HasGroup says whether the group is there: by a record of its own, or by what lies in it. The root always is.
func (t Tree) HasGroup(id spec.AppID) bool {
	if id == "/" || t.Groups[id] != nil {
		return true
	}
	for app := range t.Apps {
		if app != id && app.In(id) {
			return true
		}
	}
	return false
}

// Settle adds to the puts what follows from them: groups around what is put get records, a group in which no app lies
// gives way to a new app of the same id, and a group in which something stays is not removed. Settling twice changes
// nothing more. What cannot be settled is left to ValidateTree.
func Settle(current, puts Tree) Tree {
	out := Tree{Apps: puts.Apps, Groups: maps.Clone(puts.Groups)}
	if out.Groups == nil {
		out.Groups = map[spec.AppID]*spec.Group{}
	}
	wanted := current.Apply(puts)
	full := map[spec.AppID]bool{} // groups with an app below
	for id := range wanted.Apps {
		for group := id; group != "/" && !full[group.Parent()]; {
			group = group.Parent()
			full[group] = true
		}
	}
	for id := range puts.Apps {
		if wanted.Apps[id] == nil || current.Apps[id] != nil || full[id] {
			continue
		}
		for group := range wanted.Groups {
			if group.In(id) {
				out.Groups[group] = nil
				delete(wanted.Groups, group)
			}
		}
	}
	needed := func(id spec.AppID) {
		for group := id.Parent(); group != "/"; group = group.Parent() {
			if wanted.Groups[group] != nil {
				continue
			}
			if wanted.Groups[group] = current.Groups[group]; wanted.Groups[group] != nil {
				delete(out.Groups, group) // it stays
				continue
			}
			if wanted.Apps[group] == nil {
				wanted.Groups[group] = &spec.Group{ID: group}
				out.Groups[group] = wanted.Groups[group]
			}
		}
	}
	for id := range wanted.Apps {
		needed(id)
	}
	for _, id := range slices.Sorted(maps.Keys(wanted.Groups)) {
		needed(id)
	}
	return out
}

// Removal is the change that removes a group with all that lies in it.
func (t Tree) Removal(group spec.AppID) Tree {
	out := Tree{Apps: map[spec.AppID]*spec.App{}, Groups: map[spec.AppID]*spec.Group{}}
	for id := range t.Apps {
		if id.In(group) {
			out.Apps[id] = nil
		}
	}
	for id := range t.Groups {
		if id.In(group) {
			out.Groups[id] = nil
		}
	}
	return out
}

// SameGroup says whether two records of a group say the same. A role that is not said to be enforced is not enforced.
func SameGroup(a, b *spec.Group) bool {
	return a == b || a != nil && b != nil && a.ID == b.ID && slices.Equal(a.Dependencies, b.Dependencies) &&
		or(a.EnforceRole, false) == or(b.EnforceRole, false)
}

// TreeAt is the tree as it was in a version: current, whose version is given, without the changes made since. The changes
// are those stored, newest first; ones that are newer than current do not matter. It is false for a version that no
// stored change made and that is not current's.
func TreeAt(current Tree, version time.Time, changes []spec.TreeChange, want time.Time) (Tree, bool) {
	if sameVersion(version, want) {
		return current, true
	}
	t := Tree{Apps: maps.Clone(current.Apps), Groups: maps.Clone(current.Groups)}
	for _, c := range changes {
		if sameVersion(c.Version, want) {
			return t, true
		}
		if !c.Version.After(version) {
			t = t.Apply(Tree{Apps: c.Apps, Groups: c.Groups})
		}
	}
	return Tree{}, false
}

// sameVersion compares as clients see versions: in milliseconds.
func sameVersion(a, b time.Time) bool { return spec.FormatTime(a) == spec.FormatTime(b) }

// Rollback is the change that brings everything in a group back to what it was in the old tree.
func Rollback(current, old Tree, group spec.AppID) Tree {
	out := current.Removal(group)
	for id, app := range old.Apps {
		if id.In(group) {
			out.Apps[id] = app
		}
	}
	for id, g := range old.Groups {
		if id.In(group) {
			out.Groups[id] = g
		}
	}
	return out
}

// GroupVersions are the versions of the tree in which the group is there, newest first; current's is one of them.
func GroupVersions(current Tree, version time.Time, changes []spec.TreeChange, group spec.AppID) []time.Time {
	var out []time.Time
	t := Tree{Apps: maps.Clone(current.Apps), Groups: maps.Clone(current.Groups)}
	have := version
	for i := 0; ; i++ {
		if t.HasGroup(group) && (len(out) == 0 || !sameVersion(out[len(out)-1], have)) {
			out = append(out, have)
		}
		for i < len(changes) && changes[i].Version.After(version) {
			i++ // current is older than the list
		}
		if i+1 >= len(changes) {
			return out
		}
		t = t.Apply(Tree{Apps: changes[i].Apps, Groups: changes[i].Groups})
		have = changes[i+1].Version
	}
}
