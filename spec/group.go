package spec

import "time"

// Group is what is known of a group beside what lies in it: apps, pods and groups belong to it by their ids. The root "/"
// has a record only when it has dependencies.
type Group struct {
	ID           AppID
	Dependencies []AppID // apps or groups, absolute; every app below the group inherits them
	EnforceRole  *bool   // top-level groups only; nil: not set
}

// TreeChange is one change of the tree of apps and groups, kept so that it can be undone: what was before it. Undoing all
// changes after a version, newest first, gives the tree of that version.
type TreeChange struct {
	Version time.Time // the tree's version after the change
	// Apps and Groups are what the changed ones were before; nil values: they did not exist.
	Apps   map[AppID]*App
	Groups map[AppID]*Group
}
