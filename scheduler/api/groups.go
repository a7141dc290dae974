package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// groupInfo is Marathon's group with what lies in it. Which parts are there is the client's choice (embed).
type groupInfo struct {
	marathon.GroupJSON
	Apps   *[]appInfo       `json:"apps,omitempty"`
	Pods   *[]podStatusJSON `json:"pods,omitempty"`
	Groups *[]groupInfo     `json:"groups,omitempty"`
}

// groupEmbed says which parts of a groupInfo are wanted, and which of its apps'.
type groupEmbed struct {
	groups, apps, pods bool
	app                embed
}

// groupEmbeds reads the embed parameters; without any all parts are there. Naming a part of the apps names the apps.
func groupEmbeds(r *http.Request) groupEmbed {
	values := r.URL.Query()["embed"]
	if len(values) == 0 {
		return groupEmbed{groups: true, apps: true, pods: true}
	}
	e := groupEmbed{app: embeds(r, embed{})}
	for _, v := range values {
		e.groups = e.groups || v == "group.groups"
		e.pods = e.pods || v == "group.pods"
		e.apps = e.apps || v == "group.apps" || strings.HasPrefix(v, "group.apps.")
	}
	return e
}

func groupMissing(id spec.AppID) error {
	return &NotFoundError{Message: "Group '" + string(id) + "' does not exist"}
}

// tree are the snapshot's apps and groups.
func (s *View) tree() marathon.Tree { return marathon.Tree{Apps: s.Apps, Groups: s.Groups} }

// groupWriter encodes the groups of one tree.
type groupWriter struct {
	snap    *View
	embed   groupEmbed
	version string
	apps    map[spec.AppID][]*spec.App // by the group they lie in, sorted
	pods    map[spec.AppID][]podStatusJSON
	groups  map[spec.AppID][]spec.AppID
}

func newGroupWriter(snap *View, e groupEmbed) *groupWriter {
	w := &groupWriter{
		snap: snap, embed: e, version: treeVersion(snap.Version),
		apps: map[spec.AppID][]*spec.App{}, pods: map[spec.AppID][]podStatusJSON{}, groups: map[spec.AppID][]spec.AppID{},
	}
	seen := map[spec.AppID]bool{}
	place := func(group spec.AppID) {
		for ; group != "/" && !seen[group]; group = group.Parent() {
			seen[group] = true
			w.groups[group.Parent()] = append(w.groups[group.Parent()], group)
		}
	}
	for _, app := range sortedApps(snap, func(*spec.App) bool { return true }) {
		w.apps[app.ID.Parent()] = append(w.apps[app.ID.Parent()], app)
	}
	if e.pods {
		for _, status := range podStatuses(snap, nil, func(spec.AppID) bool { return true }) {
			w.pods[status.ID.Parent()] = append(w.pods[status.ID.Parent()], status)
		}
	}
	for id := range snap.Apps {
		place(id.Parent()) // also where there are but pods
	}
	for id := range snap.Groups {
		place(id)
	}
	for _, list := range w.groups {
		slices.Sort(list)
	}
	return w
}

// treeVersion writes the version of a tree; one that nobody has changed yet has Unix's first moment.
func treeVersion(v time.Time) string {
	if v.IsZero() {
		v = time.Unix(0, 0)
	}
	return spec.FormatTime(v)
}

func (w *groupWriter) encode(id spec.AppID) groupInfo {
	out := groupInfo{GroupJSON: marathon.EncodeGroup(id, w.snap.Groups[id], w.version)}
	if w.embed.apps {
		list := encodeApps(w.snap, w.apps[id], w.embed.app)
		out.Apps = &list
	}
	if w.embed.pods {
		list := w.pods[id]
		if list == nil {
			list = []podStatusJSON{}
		}
		out.Pods = &list
	}
	if w.embed.groups {
		list := make([]groupInfo, 0, len(w.groups[id]))
		for _, child := range w.groups[id] {
			list = append(list, w.encode(child))
		}
		out.Groups = &list
	}
	return out
}

// getGroup is GET /v2/groups and /v2/groups/{id}.
func (s *Server) getGroup(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		if !snap.tree().HasGroup(id) {
			return groupMissing(id)
		}
		return respond(w, r, http.StatusOK, newGroupWriter(snap, groupEmbeds(r)).encode(id))
	}
}

// getAppsOfGroup is GET /v2/groups/{id}/apps: all apps below the group. A group that really has that name wins.
func (s *Server) getAppsOfGroup(group, named spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		tree := snap.tree()
		if tree.HasGroup(named) {
			return s.getGroup(named)(w, r)
		}
		if !tree.HasGroup(group) {
			return groupMissing(group)
		}
		apps := sortedApps(snap, func(app *spec.App) bool { return app.ID != group && app.ID.In(group) })
		e := embeds(r, embed{counts: true, deployments: true})
		return s.respondApps(w, r, snap, func() []*spec.App { return apps }, false, e, frame{"[", "]"})
	}
}

// history is the tree of now, and the changes that made it, newest first. A change made between the two calls is in the
// list only, where its version tells it.
func (s *Server) history(r *http.Request) (*View, []spec.TreeChange, error) {
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return nil, nil, err
	}
	changes, err := s.o.Backend.TreeChanges(r.Context())
	return snap, changes, err
}

// getGroupVersions is GET /v2/groups/versions and /v2/groups/{id}/versions, newest first.
func (s *Server) getGroupVersions(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, changes, err := s.history(r)
		if err != nil {
			return err
		}
		versions := marathon.GroupVersions(snap.tree(), snap.Version, changes, id)
		if len(versions) == 0 {
			return groupMissing(id)
		}
		list := make([]string, 0, len(versions))
		for _, v := range versions {
			list = append(list, treeVersion(v))
		}
		return respond(w, r, http.StatusOK, list)
	}
}

// treeAt is the tree as it was in a version, in which the group must have been there.
func (s *Server) treeAt(r *http.Request, group spec.AppID, at time.Time) (marathon.Tree, error) {
	snap, changes, err := s.history(r)
	if err != nil {
		return marathon.Tree{}, err
	}
	tree, known := marathon.TreeAt(snap.tree(), snap.Version, changes, at)
	if !known || !tree.HasGroup(group) {
		return marathon.Tree{}, &NotFoundError{Message: "Group '" + string(group) + "' does not exist in version " + spec.FormatTime(at)}
	}
	return tree, nil
}

// getGroupVersion is GET /v2/groups/{id}/versions/{ts}: the definitions of that time, without what runs now.
func (s *Server) getGroupVersion(id spec.AppID, version string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		at, err := marathon.ParseTime(version)
		if err != nil {
			return err
		}
		tree, err := s.treeAt(r, id, at)
		if err != nil {
			return err
		}
		e := groupEmbeds(r)
		e.app = embed{}
		then := &View{Apps: tree.Apps, Groups: tree.Groups, Version: at, Now: at}
		return respond(w, r, http.StatusOK, newGroupWriter(then, e).encode(id))
	}
}

// putGroup is PUT of a group, which creates a missing one, and POST, which refuses an existing one.
func (s *Server) putGroup(at spec.AppID, post bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		u, err := marathon.DecodeGroup(body, at, s.o.Marathon)
		if err != nil {
			return err
		}
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		u.AsRead(snap.Version)
		var old marathon.Tree
		if u.Version != nil && !post {
			if old, err = s.treeAt(r, u.ID, *u.Version); err != nil {
				return err
			}
		}
		c := Change{Group: u.ID, Force: flag(r, "force", false), DryRun: dryRun(r)}
		changed, err := s.changeTree(r, c, func(current Tree) (Tree, error) {
			tree := marathon.Tree(current)
			switch {
			case post && tree.HasGroup(u.ID):
				return Tree{}, &ConflictError{Message: "Group " + string(u.ID) + " is already created. Use PUT to change this group."}
			case post && tree.Apps[u.ID] != nil:
				kind := marathon.Kind(tree.Apps[u.ID])
				return Tree{}, &ConflictError{Message: "A" + kind[1:] + " with the path " + string(u.ID) + " already exists."}
			case !tree.HasGroup(u.ID) && u.NeedsGroup():
				return Tree{}, groupMissing(u.ID)
			}
			puts, err := u.Puts(tree, s.o.Marathon)
			if err == nil && u.Version != nil {
				puts = marathon.Rollback(tree, old, u.ID)
			}
			return Tree(puts), err
		})
		if err != nil {
			return err
		}
		if post && !c.DryRun {
			w.Header().Set("Location", location(r, u.ID))
			return respondDeployment(w, r, http.StatusCreated, changed)
		}
		return respondDeployment(w, r, http.StatusOK, changed)
	}
}

// patchGroup is PATCH of a group: whether it enforces its role. Apps keep the roles that they have.
func (s *Server) patchGroup(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noDryRun(r); err != nil {
			return err
		}
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		enforce, err := marathon.DecodeGroupRole(body, id)
		if err != nil {
			return err
		}
		_, err = s.changeTree(r, Change{Group: id}, func(current Tree) (Tree, error) {
			if !marathon.Tree(current).HasGroup(id) {
				return Tree{}, groupMissing(id)
			}
			g := spec.Group{ID: id}
			if was := current.Groups[id]; was != nil {
				g = *was
			}
			g.EnforceRole = &enforce
			return Tree{Groups: map[spec.AppID]*spec.Group{id: &g}}, nil
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
}

// deleteGroup is DELETE of a group with all that lies in it.
func (s *Server) deleteGroup(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		c := Change{Group: id, Force: flag(r, "force", false), DryRun: dryRun(r)}
		changed, err := s.changeTree(r, c, func(current Tree) (Tree, error) {
			tree := marathon.Tree(current)
			if !tree.HasGroup(id) {
				return Tree{}, groupMissing(id)
			}
			return Tree(tree.Removal(id)), nil
		})
		if err != nil {
			return err
		}
		return respondDeployment(w, r, http.StatusOK, changed)
	}
}
