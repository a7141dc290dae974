package marathon

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/spec"
)

// GroupUpdate is a group as a request wants it. Its apps and groups may be nested to any depth.
type GroupUpdate struct {
	// ID is the group that changes.
	ID spec.AppID
	// Version asks for everything in the group as it was in that version of the tree, see Rollback. It stands alone.
	Version *time.Time
	root    *groupDraft
	found   []Fault // without the tree; Puts tells them together with its own
}

// groupDraft is one group of a request. A nil list was absent: what the tree has there is kept; an empty one empties it.
type groupDraft struct {
	path         string // of its keys in the body, "" for the request's own
	id           spec.AppID
	apps         []groupApp
	groups       []*groupDraft
	dependencies []string
	enforceRole  *bool
	scaleBy      *float64
	version      *time.Time
	rawID        *string
	alone        bool // nothing stands beside scaleBy or version
}

// groupApp is one app of a group: a full definition.
type groupApp struct {
	path  string
	id    spec.AppID
	draft *draft // normalised
	bad   bool   // and a fault was found then
}

// onlyAlone is Marathon's text for a version or scaleBy with company.
const onlyAlone = "not allowed in conjunction with other properties."

const onlyTopLevel = "only top-level groups can enforce their role"

// DecodeGroup reads the body of a POST or PUT to the group at; "/" is the root. The body's id may be missing, may name the
// same group, or one below it. The error, a *Faults, is about types and the request's id; Puts tells everything else.
func DecodeGroup(body []byte, at spec.AppID, o Options) (*GroupUpdate, error) {
	n, err := parse(body)
	if err != nil {
		return nil, err
	}
	types := &Faults{Message: invalidJSON}
	d := readGroup(value{n: n, f: types})
	if err := types.Err(); err != nil {
		return nil, err
	}
	f := &Faults{Message: invalidMessage}
	u := &GroupUpdate{ID: d.target(at, f), Version: d.version, root: d}
	if err := f.Err(); err != nil {
		return nil, err
	}
	d.resolve(u.ID, o, f)
	u.found = f.Details
	if !d.alone {
		u.Version = nil // refused above, unless it says that the body was read before: see AsRead
	}
	return u, nil
}

// AsRead takes a version beside other keys for what it is when it is the tree's own: the body is what GET answered, sent
// back. Any other one stays refused, as somebody else has changed the tree meanwhile.
func (u *GroupUpdate) AsRead(version time.Time) {
	if u.root.version != nil && !u.root.alone && sameVersion(*u.root.version, version) {
		u.found = slices.DeleteFunc(u.found, func(f Fault) bool { return f.Path == "/version" })
	}
}

func readGroup(v value) *groupDraft {
	if !v.object() {
		return &groupDraft{path: v.path}
	}
	d := &groupDraft{
		path: v.path, rawID: readID(v.get("id")), dependencies: list(v.get("dependencies"), readID), enforceRole: v.get("enforceRole").boolean(),
		scaleBy: v.get("scaleBy").numberIn(0, math.MaxFloat64), version: v.get("version").timestamp(), alone: true,
	}
	for _, key := range v.n.keys() {
		d.alone = d.alone && (key == "id" || key == "version" || key == "scaleBy")
	}
	d.alone = d.alone && (d.scaleBy == nil || d.version == nil)
	for _, item := range v.get("apps").items() {
		item.need("id")
		d.apps = append(d.apps, groupApp{path: item.path, draft: readApp(item)})
	}
	for _, item := range v.get("groups").items() {
		item.need("id")
		d.groups = append(d.groups, readGroup(item))
	}
	if v.get("apps").ok() && d.apps == nil {
		d.apps = []groupApp{}
	}
	if v.get("groups").ok() && d.groups == nil {
		d.groups = []*groupDraft{}
	}
	return d
}

// target is the group that the request names: by its path, which the body's id may repeat or lead below.
func (d *groupDraft) target(at spec.AppID, f *Faults) spec.AppID {
	if d.rawID == nil || resolve(*d.rawID, at.Parent()) == at || resolve(*d.rawID, "/") == at {
		return at
	}
	id := resolve(*d.rawID, at)
	if !id.In(at) {
		f.Add("/id", "%s is not the group %s of the path, nor below it", id, at)
	}
	return id
}

// resolve makes the ids absolute and holds the shape of the tree against the rules.
func (d *groupDraft) resolve(id spec.AppID, o Options, f *Faults) {
	d.id = id
	if id != "/" && isReserved(id.Base()) {
		f.Add(d.path+"/id", "must not end with any of the following reserved keywords: restart, tasks, versions, ., ..")
	}
	nested := d.path != ""
	// A version beside other keys of a group inside the request is what a GET has answered, and means nothing.
	for _, k := range []struct {
		key  string
		sent bool
	}{{"/version", d.version != nil && !nested}, {"/scaleBy", d.scaleBy != nil}} {
		if k.sent && (nested || !d.alone) {
			f.Add(d.path+k.key, onlyAlone)
		}
	}
	if d.enforceRole != nil && len(id.Segments()) != 1 {
		f.Add(d.path+"/enforceRole", onlyTopLevel)
	}
	seen := map[spec.AppID]bool{}
	for i := range d.apps {
		app := &d.apps[i]
		app.id = resolve(*app.draft.id, id)
		switch {
		case app.id.Parent() != id || app.id == "/":
			f.Add(app.path+"/id", "Identifier is not child of '%s'", id)
		case seen[app.id]:
			f.Add(app.path+"/id", "%s is listed twice", app.id)
		}
		seen[app.id] = true
		legacy := &Faults{Message: invalidMessage}
		app.draft.normalise(o, false, legacy)
		app.bad = len(legacy.Details) > 0
		f.under(app.path, legacy)
	}
	for _, g := range d.groups {
		child := resolve(*g.rawID, id)
		switch {
		case child == id || !child.In(id):
			f.Add(g.path+"/id", "Identifier is not child of '%s'", id)
		case seen[child] && !slices.ContainsFunc(d.apps, func(a groupApp) bool { return a.id == child }):
			f.Add(g.path+"/id", "%s is listed twice", child)
		}
		seen[child] = true
		g.resolve(child, o, f)
	}
}

// Puts is what the update changes in the tree, a version apart. Apps and groups that the lists name replace those of the
// group; pods stay. The error is a *Faults with every fault of every app.
func (u *GroupUpdate) Puts(current Tree, o Options) (Tree, error) {
	out := Tree{Apps: map[spec.AppID]*spec.App{}, Groups: map[spec.AppID]*spec.Group{}}
	f := &Faults{Message: invalidMessage}
	f.under("", &Faults{Details: u.found})
	if u.root.scaleBy != nil {
		scaleGroup(current, u.ID, *u.root.scaleBy, out, f)
		return out, f.Err()
	}
	u.root.record(current, out, f)
	o = o.WithGroups(current.Apply(out).Groups)
	u.root.put(current, out, o, f)
	return out, f.Err()
}

// record puts the groups themselves, the inner ones too.
func (d *groupDraft) record(current, out Tree, f *Faults) {
	g := spec.Group{ID: d.id}
	if was := current.Groups[d.id]; was != nil {
		g = *was
	}
	if d.dependencies != nil {
		g.Dependencies = nil
		for _, raw := range d.dependencies {
			g.Dependencies = append(g.Dependencies, resolve(raw, d.id.Parent()))
		}
		g.Dependencies = compact(unique(g.Dependencies))
	}
	if d.enforceRole != nil {
		changes := or(g.EnforceRole, false) != *d.enforceRole && current.HasGroup(d.id)
		if changes && (d.apps != nil || d.groups != nil) {
			f.Add(d.path+"/enforceRole", "cannot be changed together with the services of the group")
		}
		g.EnforceRole = d.enforceRole
	}
	switch {
	case d.id != "/" || g.Dependencies != nil:
		out.Groups[d.id] = &g
	case current.Groups["/"] != nil:
		out.Groups["/"] = nil // the root's record holds its dependencies
	}
	for _, child := range d.groups {
		child.record(current, out, f)
	}
}

// put adds the apps, and the removal of what the lists do not name.
func (d *groupDraft) put(current, out Tree, o Options, f *Faults) {
	listed := map[spec.AppID]bool{}
	for _, app := range d.apps {
		listed[app.id] = true
		out.Apps[app.id] = app.complete(current.Apps[app.id], o, f)
	}
	for id, app := range current.Apps {
		direct := id.Parent() == d.id
		if direct && d.apps != nil && app.Pod == nil && !listed[id] || !direct && d.groups != nil && d.drops(id) {
			out.Apps[id] = nil
		}
	}
	for id := range current.Groups {
		if id != d.id && d.groups != nil && out.Groups[id] == nil && d.drops(id) {
			out.Groups[id] = nil
		}
	}
	for _, child := range d.groups {
		child.put(current, out, o, f)
	}
}

// drops says that the list of groups leaves out what lies somewhere in this group.
func (d *groupDraft) drops(id spec.AppID) bool {
	return id.In(d.id) && !slices.ContainsFunc(d.groups, func(g *groupDraft) bool { return id.In(g.id) })
}

// complete makes the app, nil after a fault.
func (a groupApp) complete(current *spec.App, o Options, f *Faults) *spec.App {
	if a.bad {
		return nil
	}
	found := &Faults{Message: invalidMessage}
	defer func() { f.under(a.path, found) }()
	if current != nil && current.Pod != nil {
		found.Add("/id", "%s is a pod; an app cannot take its place", a.id)
		return nil
	}
	keep := ""
	if current != nil {
		keep = current.Role
	}
	app := a.draft.complete(a.id, o, found)
	validate(app, keep, o, found)
	if len(found.Details) == 0 && current != nil {
		app.Version, app.LastScaling, app.LastConfigChange = current.Version, current.LastScaling, current.LastConfigChange
		if faults := (*Faults)(nil); errors.As(validateResidentUpdate(current, app), &faults) {
			found.Details = faults.Details
		}
	}
	return app
}

// under takes in the faults of one part of a body.
func (f *Faults) under(path string, part *Faults) {
	for _, d := range part.Details {
		for _, text := range d.Errors {
			f.Add(or(unlessEmpty(path+strings.TrimSuffix(d.Path, "/")), "/"), "%s", text)
		}
	}
}

// scaleGroup multiplies the instances of all apps in the group.
func scaleGroup(current Tree, group spec.AppID, by float64, out Tree, f *Faults) {
	for id, app := range current.Apps {
		if app.Pod != nil || !id.In(group) {
			continue
		}
		own, found := *app, &Faults{Message: invalidMessage}
		if n := math.Ceil(float64(app.Instances) * by); n <= math.MaxInt32 {
			own.Instances = int(n)
		} else {
			found.Add("/instances", "%s is more than %d", plain(n), math.MaxInt32)
		}
		validateStrategies(&own, found)
		f.under("/apps/"+string(id), found)
		out.Apps[id] = &own
	}
}

// NeedsGroup says that the update only makes sense for a group that is there.
func (u *GroupUpdate) NeedsGroup() bool {
	return u.root.alone && (u.Version != nil || u.root.scaleBy != nil)
}
