package marathon

import (
	"encoding/json"
	"time"

	"github.com/berth-project/berth/spec"
)

// DecodeApp reads a full definition. Version, LastScaling and LastConfigChange of the result are zero: a version in the
// body has no meaning here. The error is a *Faults.
func DecodeApp(body []byte, o Options) (*spec.App, error) {
	n, err := parse(body)
	if err != nil {
		return nil, err
	}
	return decodeApp(n, "/", o)
}

// decodeApp reads one definition whose relative id is below base.
func decodeApp(n *node, base spec.AppID, o Options) (*spec.App, error) {
	d, err := readDraft(n, o, false)
	if err != nil {
		return nil, err
	}
	id := o.ID
	if id == "" {
		id = resolve(*d.id, base)
	}
	return finish(d, id, "", o)
}

// readDraft reads and normalises. An absent id is a fault of a full definition like the other type-level ones.
func readDraft(n *node, o Options, update bool) (*draft, error) {
	types := &Faults{Message: invalidJSON}
	v := value{n: n, f: types}
	d := readApp(v)
	if !update && o.ID == "" {
		v.need("id")
	}
	if err := types.Err(); err != nil {
		return nil, err
	}
	legacy := &Faults{Message: invalidMessage}
	d.normalise(o, update, legacy)
	return d, legacy.Err()
}

// finish completes and validates. keepRole is the role that the app has already, which it may keep.
func finish(d *draft, id spec.AppID, keepRole string, o Options) (*spec.App, error) {
	f := &Faults{Message: invalidMessage}
	app := d.complete(id, o, f)
	validate(app, keepRole, o, f)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return app, nil
}

// Update is one element of a change request: which app, and the keys that change.
type Update struct {
	ID  spec.AppID // "" when the body names none (its path does)
	Raw json.RawMessage
	// Version asks for a rollback to the app's definition of that time. It is set only when no other key than id stands
	// beside it; UpdateApp refuses a version beside other keys.
	Version *time.Time
}

// DecodeUpdate reads the frame of a PUT or PATCH on one app.
func DecodeUpdate(body []byte) (Update, error) {
	n, err := parse(body)
	if err != nil {
		return Update{}, err
	}
	f := &Faults{Message: invalidJSON}
	u := readUpdate(value{n: n, f: f})
	return u, f.Err()
}

// DecodeUpdates reads the array of the bulk forms. Every element must have an id.
func DecodeUpdates(body []byte) ([]Update, error) {
	n, err := parse(body)
	if err != nil {
		return nil, err
	}
	f := &Faults{Message: invalidJSON}
	items := value{n: n, f: f}.items()
	updates := make([]Update, 0, len(items))
	for _, item := range items {
		updates = append(updates, readUpdate(item))
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	for _, u := range updates {
		if u.ID == "" {
			return nil, &Faults{Message: "App Update must have app id set"}
		}
	}
	return updates, nil
}

func readUpdate(v value) Update {
	if !v.object() {
		return Update{}
	}
	u := Update{Raw: v.n.raw()}
	if id := readID(v.get("id")); id != nil {
		u.ID = resolve(*id, "/")
	}
	version := v.get("version").timestamp()
	if version != nil && !hasOtherKeys(v.n) {
		u.Version = version
	}
	return u
}

// hasOtherKeys says whether anything stands beside version and id.
func hasOtherKeys(n *node) bool {
	for _, k := range n.keys() {
		if k != "version" && k != "id" {
			return true
		}
	}
	return false
}

// timestamp reads an ISO-8601 instant, with or without fraction and zone; no zone is UTC.
func (v value) timestamp() *time.Time {
	s := v.str()
	if s == nil {
		return nil
	}
	t, err := ParseTime(*s)
	if err != nil {
		v.fault("error.expected.date.isoformat")
		return nil
	}
	return &t
}

// ParseTime reads an instant as Marathon's clients write it in bodies and paths.
func ParseTime(text string) (time.Time, error) {
	layouts := []string{time.RFC3339Nano, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02"}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, &Faults{Message: "Invalid timestamp provided '" + text + "'. Expecting ISO-8601 datetime string."}
}
