package marathon

import "github.com/berth-project/berth/spec"

// DecodeGroupRole reads the body of a PATCH of a group, which says whether it enforces its role. The error is a *Faults.
func DecodeGroupRole(body []byte, group spec.AppID) (bool, error) {
	n, err := parse(body)
	if err != nil {
		return false, err
	}
	types := &Faults{Message: invalidJSON}
	v := value{n: n, f: types}
	enforce := or(v.need("enforceRole").boolean(), false)
	v.object()
	if err := types.Err(); err != nil {
		return false, err
	}
	f := &Faults{Message: invalidMessage}
	if len(group.Segments()) != 1 {
		f.Add("/enforceRole", onlyTopLevel)
	}
	return enforce, f.Err()
}

// GroupJSON is a group beside what lies in it, in Marathon's canonical form.
type GroupJSON struct {
	ID           string   `json:"id"`
	Dependencies []string `json:"dependencies"`
	EnforceRole  *bool    `json:"enforceRole,omitempty"` // top-level groups only
	Version      string   `json:"version"`
}

// EncodeGroup is the group of a tree of the given version. A group without a record is known by what lies in it only.
func EncodeGroup(id spec.AppID, g *spec.Group, version string) GroupJSON {
	out := GroupJSON{ID: string(id), Dependencies: []string{}, Version: version}
	if len(id.Segments()) == 1 {
		out.EnforceRole = new(bool)
	}
	if g == nil {
		return out
	}
	if out.EnforceRole != nil {
		*out.EnforceRole = or(g.EnforceRole, false)
	}
	for _, d := range g.Dependencies {
		out.Dependencies = append(out.Dependencies, string(d))
	}
	return out
}
