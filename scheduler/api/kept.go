package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/berth-project/berth/spec"
)

// part is a piece of an answer that stays the same over many answers.
type part struct {
	raw []byte
	// packed is raw compressed by itself, bare the same without the comma it begins with; made when first asked for.
	packed, bare []byte
}

// form is a way to write what belongs to one app. Of the view it gets only what the app's unit is kept by: a form cannot
// depend on anything else.
type form interface {
	// write makes the parts of one app; none when it has nothing to show. old are those of before, nil for none: parts of it
	// that are still right may be used again.
	write(v *View, id spec.AppID, old *unit) (*unit, error)
	// separated says that each app begins with a comma, which the first one loses.
	separated() bool
}

// unit is what one form says of one app, with what it was made of. Tasks, apps, deployments and failures are never changed
// in place, so the same pointers mean the same text.
type unit struct {
	app         *spec.App
	tasks       []*spec.Task
	deployments []*spec.Deployment
	failure     *spec.TaskFailure

	parts  []*part
	chunks map[int]chunk // of apps with many tasks
}

func (u *unit) madeOf(app *spec.App, tasks []*spec.Task, deployments []*spec.Deployment, failure *spec.TaskFailure) bool {
	same := len(u.tasks) == len(tasks) && (len(tasks) == 0 || &u.tasks[0] == &tasks[0])
	return same && u.app == app && u.failure == failure && slices.Equal(u.deployments, deployments)
}

// maxForms bounds how many forms are kept; each needs about the memory of its whole answer. Clients of one kind all ask
// for the same form.
const maxForms = 8

// kept are the encoded pieces of answers, shared by all requests: when one app changes, one app is encoded.
type kept struct {
	mu       sync.Mutex // guards all below; whoever asks for the same at the same time waits for the one who encodes it
	forms    map[form]*keptForm
	clock    uint64
	byApp    map[spec.AppID][]*spec.Deployment // of listed
	listed   []*spec.Deployment
	compress packer
}

type keptForm struct {
	units map[spec.AppID]*unit
	used  uint64
	// whole are the answers about all apps in one generation of views, by whether they are packed.
	generation uint64
	whole      map[bool]*answer
}

// answer is a body in pieces.
type answer struct {
	pieces [][]byte
	size   int
	packed bool
}

func (a *answer) add(piece []byte) {
	a.pieces = append(a.pieces, piece)
	a.size += len(piece)
}

// frame is what stands around the apps of an answer.
type frame struct{ before, after string }

// answer writes the apps in ids in one form. whole says that ids are all there are; then the answer is kept, too.
func (k *kept) answer(v *View, f form, ids func() []spec.AppID, whole bool, around frame, packed bool) (*answer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.form(f)
	if v.Generation > of.generation {
		of.generation, of.whole = v.Generation, map[bool]*answer{}
		k.sweep(of, v)
	}
	// A slow reader with an older view must not push out what others share.
	whole = whole && v.Generation == of.generation && v.Generation > 0
	if a := of.whole[packed]; whole && a != nil {
		return a, nil
	}
	var units []*unit
	size := 0
	for _, id := range ids() {
		u, err := k.unit(v, f, of, id)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", id, err)
		}
		units = append(units, u)
		for _, p := range u.parts {
			size += len(p.raw)
		}
	}
	a := k.join(units, f.separated(), around, packed && size >= compressFrom)
	if whole {
		of.whole[packed] = a
	}
	return a, nil
}

// form finds what is kept of a form; the form that was not asked for longest makes room for a new one.
func (k *kept) form(f form) *keptForm {
	k.clock++
	of := k.forms[f]
	if of == nil {
		if k.forms == nil {
			k.forms = map[form]*keptForm{}
		}
		for len(k.forms) >= maxForms {
			var oldest form
			for g, of := range k.forms {
				if oldest == nil || of.used < k.forms[oldest].used {
					oldest = g
				}
			}
			delete(k.forms, oldest)
		}
		of = &keptForm{units: map[spec.AppID]*unit{}}
		k.forms[f] = of
	}
	of.used = k.clock
	return of
}

// sweep forgets the apps that are gone.
func (k *kept) sweep(of *keptForm, v *View) {
	for id := range of.units {
		if v.Apps[id] == nil && len(v.Tasks[id]) == 0 {
			delete(of.units, id)
		}
	}
}

func (k *kept) unit(v *View, f form, of *keptForm, id spec.AppID) (*unit, error) {
	app, tasks, deployments, failure := v.Apps[id], v.Tasks[id], k.deployments(v, id), v.LastFailure[id]
	old := of.units[id]
	if old != nil && old.madeOf(app, tasks, deployments, failure) {
		return old, nil
	}
	narrow := &View{Apps: map[spec.AppID]*spec.App{}, Tasks: map[spec.AppID][]*spec.Task{id: tasks}, Deployments: deployments}
	if app != nil {
		narrow.Apps[id] = app
	}
	if failure != nil {
		narrow.LastFailure = map[spec.AppID]*spec.TaskFailure{id: failure}
	}
	u, err := f.write(narrow, id, old)
	if err != nil {
		return nil, err
	}
	u.app, u.tasks, u.deployments, u.failure = app, tasks, deployments, failure
	of.units[id] = u
	return u, nil
}

// deployments are those that touch the app.
func (k *kept) deployments(v *View, id spec.AppID) []*spec.Deployment {
	if k.byApp == nil || !slices.Equal(k.listed, v.Deployments) {
		k.byApp, k.listed = map[spec.AppID][]*spec.Deployment{}, v.Deployments
		for _, d := range v.Deployments {
			for _, app := range slices.Concat(affected(d, false), affected(d, true)) {
				k.byApp[app] = append(k.byApp[app], d)
			}
		}
	}
	return k.byApp[id]
}

// join puts an answer together.
func (k *kept) join(units []*unit, separated bool, around frame, packed bool) *answer {
	a := &answer{packed: packed}
	var pack *packing
	if packed {
		pack = k.compress.begin(a)
	}
	add := func(p *part, bare bool) {
		switch {
		case !packed && bare:
			a.add(p.raw[1:])
		case !packed:
			a.add(p.raw)
		default:
			pack.add(p, bare)
		}
	}
	if around.before != "" {
		add(&part{raw: []byte(around.before)}, false)
	}
	first := separated
	for _, u := range units {
		for _, p := range u.parts {
			add(p, first)
			first = false
		}
	}
	if around.after != "" {
		add(&part{raw: []byte(around.after)}, false)
	}
	if packed {
		pack.end()
	}
	return a
}

// encode is JSON as answers have it.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
