package api

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/spec"
)

// Why is the answer of GET /berth/v1/why?app=ID: why an app is not what it should be, as one chain from what the app
// waits for down to the numbers behind it. An app that is as wanted has an empty chain.
type Why struct {
	App       spec.AppID `json:"app"`
	State     string     `json:"state"` // running, deploying, waiting, unhealthy, suspended
	Summary   string     `json:"summary"`
	Wanted    int        `json:"wanted"`
	Running   int        `json:"running"`
	Ready     int        `json:"ready"` // running, healthy and ready
	Causes    []Cause    `json:"causes"`
	Hosts     WhyHosts   `json:"hosts"`
	Addresses *WhyPool   `json:"addresses"` // null: the app takes no address
	// BackoffUntil is when the launch delay after failures ends; absent without one.
	BackoffUntil string `json:"backoffUntil,omitempty"`
	// Advice says with which quota the app would not be held back; absent where it is not.
	Advice string `json:"advice,omitempty"`
	Now    string `json:"now"`
}

// Cause is one link of the chain; each follows from the next.
type Cause struct {
	// Kind is dependency, deployment, never, backoff, address, hosts, engine, instance or failure.
	Kind  string     `json:"kind"`
	App   spec.AppID `json:"app"`
	Text  string     `json:"text"`
	Since string     `json:"since,omitempty"`
	Until string     `json:"until,omitempty"` // when it ends by itself
}

// WhyHosts are the hosts known now, and how many of those that offered were refused for what reason.
type WhyHosts struct {
	Known   int          `json:"known"`
	Offered int          `json:"offered"` // offers looked at the last time
	At      string       `json:"at,omitempty"`
	Refused []WhyRefusal `json:"refused"`
}

// WhyRefusal is one reason for which hosts were refused.
type WhyRefusal struct {
	Reason  string `json:"reason"`
	Hosts   int    `json:"hosts"`
	Example string `json:"example,omitempty"`
}

// WhyPool is what the app's address pool has left.
type WhyPool struct {
	Pool    string `json:"pool"`
	CIDR    string `json:"cidr"`
	Size    int    `json:"size"`
	Leased  int    `json:"leased"`
	Resting int    `json:"resting"` // leases of seats that nobody wants just now
	Held    int    `json:"held"`    // by something other than Berth
	Kept    int    `json:"kept"`    // for docker run on the hosts
	Free    int    `json:"free"`
}

// getWhy is GET /berth/v1/why?app=ID.
func (s *Server) getWhy(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	name := r.URL.Query().Get("app")
	if name == "" {
		return fail(http.StatusBadRequest, "Name the app: /berth/v1/why?app=ID")
	}
	id := appID(segments(name))
	if snap.Apps[id] == nil && len(snap.Tasks[id]) == 0 {
		return appMissing(id)
	}
	return respond(w, r, http.StatusOK, explain(snap, id))
}

// explain finds the chain for an app.
func explain(snap *Snapshot, id spec.AppID) Why {
	out := Why{App: id, Causes: []Cause{}, Hosts: WhyHosts{Known: len(snap.Hosts), Refused: []WhyRefusal{}}, Now: spec.FormatTime(snap.Now)}
	app := snap.Apps[id]
	if app != nil {
		out.Wanted = app.Instances
		out.Addresses = poolLeft(snap, app)
	}
	for _, t := range snap.Tasks[id] {
		if t.Rung == spec.Running {
			out.Running++
		}
	}
	rows := slices.DeleteFunc(instances(snap), func(row Instance) bool { return row.App != id })
	for _, row := range rows {
		if row.Ready && !row.Outdated {
			out.Ready++
		}
	}
	out.Advice = advice(rows)
	out.Causes = append(out.Causes, deploymentCauses(snap, id)...)
	out.Causes = append(out.Causes, ownCauses(snap, id)...)
	if i := slices.IndexFunc(snap.Queue, func(q QueueItem) bool { return q.App.ID == id }); i >= 0 {
		q := snap.Queue[i]
		out.BackoffUntil = optionalTime(q.BackoffUntil)
		out.Hosts.Offered, out.Hosts.At, out.Hosts.Refused = q.Processed, optionalTime(q.LastUnused), refusedHosts(q)
	}
	out.State, out.Summary = verdict(snap, app, out)
	return out
}

// advice is the advice for the instance that needs the most; "" where all have enough.
func advice(rows []Instance) string {
	most := -1
	for i, row := range rows {
		if row.CPUAdvice != nil && (most < 0 || *row.CPUAdvice > *rows[most].CPUAdvice) {
			most = i
		}
	}
	if most < 0 {
		return ""
	}
	return fmt.Sprintf("instance %d %s", rows[most].Seat, rows[most].Advice())
}

// Advice is what there is to say of an instance that is held back by its quota, and the way out; "" where it is not.
func (i Instance) Advice() string {
	if i.CPUAdvice == nil || i.Lost == nil {
		return ""
	}
	text := fmt.Sprintf("lost %.0f %% of its periods in the last hour; %s cpus would do", *i.Lost*100, cores(*i.CPUAdvice))
	switch {
	case len(i.Containers) > 0: // each has a quota of its own
		return text
	case *i.CPUAdvice > i.Held:
		return fmt.Sprintf("%s: berth resize %s --cpus %s --restart", text, i.App, cores(*i.CPUAdvice))
	}
	return fmt.Sprintf("%s: berth resize %s --cpus %s", text, i.App, cores(*i.CPUAdvice))
}

// verdict is the chain in one word and one sentence.
func verdict(snap *Snapshot, app *spec.App, w Why) (state, summary string) {
	has := func(kinds ...string) bool {
		return slices.ContainsFunc(w.Causes, func(c Cause) bool { return slices.Contains(kinds, c.Kind) })
	}
	switch {
	case len(w.Causes) == 0 && w.Wanted == 0:
		return "suspended", fmt.Sprintf("%s is scaled to 0 instances.", w.App)
	case len(w.Causes) == 0:
		return "running", fmt.Sprintf("All %d instances of %s run as wanted.", w.Wanted, w.App)
	case app == nil:
		state = "deploying"
	case has("never", "backoff", "address", "hosts", "engine"):
		state = "waiting"
	case has("deployment", "dependency"):
		state = "deploying"
	default:
		state = "unhealthy"
	}
	return state, fmt.Sprintf("%d of %d instances are ready: %s.", w.Ready, w.Wanted, strings.Join(root(snap, w.Causes), "; "))
}

// root are the causes that a sentence has room for: what lies behind the deployment, as far as anything is known of it.
func root(snap *Snapshot, causes []Cause) []string {
	const room = 2
	var out []string
	if !snap.Connected {
		out = append(out, "the scheduler has no connection to the engine")
	}
	more := 0
	for _, c := range causes {
		switch {
		case c.Kind == "deployment":
		case len(out) < room:
			out = append(out, c.Text)
		default:
			more++
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	if len(out) == 0 {
		out = append(out, causes[0].Text)
	}
	return out
}

// deploymentCauses say which step of a deployment the app waits in, or for which apps before it.
func deploymentCauses(snap *Snapshot, id spec.AppID) []Cause {
	var out []Cause
	for _, d := range snap.Deployments {
		if !d.Affects(id) || d.Current >= len(d.Steps) {
			continue
		}
		since := spec.FormatTime(d.StepSince)
		step := d.Steps[d.Current]
		if i := slices.IndexFunc(step.Actions, func(a spec.Action) bool { return a.App == id }); i >= 0 {
			text := fmt.Sprintf("deployment %s, step %d of %d (%s: %s)", d.ID, d.Current+1, len(d.Steps), step.Actions[i].Kind, step.Actions[i].Reason)
			if w := snap.Waiting[id]; w != "" {
				text += " waits: " + w
			}
			out = append(out, Cause{Kind: "deployment", App: id, Text: text, Since: since})
			continue
		}
		if !laterStep(d, id) {
			continue
		}
		for _, a := range step.Actions {
			if w := snap.Waiting[a.App]; w != "" {
				out = append(out, Cause{Kind: "dependency", App: a.App, Since: since,
					Text: fmt.Sprintf("its part of deployment %s comes after step %d of %d, which waits for %s: %s", d.ID, d.Current+1, len(d.Steps), a.App, w)})
				out = append(out, ownCauses(snap, a.App)...)
			}
		}
	}
	return out
}

// maxCauses bounds the causes of one app: a list of a thousand instances explains no more than ten of them.
const maxCauses = 10

func laterStep(d *spec.Deployment, id spec.AppID) bool {
	for _, step := range d.Steps[d.Current+1:] {
		if slices.ContainsFunc(step.Actions, func(a spec.Action) bool { return a.App == id }) {
			return true
		}
	}
	return false
}

// ownCauses are the reasons that lie with the app itself: its launches, its instances, its last failure.
func ownCauses(snap *Snapshot, id spec.AppID) []Cause {
	var out []Cause
	for _, q := range snap.Queue {
		if q.App.ID != id {
			continue
		}
		for _, why := range q.Why {
			c := Cause{Kind: string(why.Kind), App: id, Text: why.Text, Since: optionalTime(q.Since)}
			if why.Kind == ReasonBackoff && q.BackoffUntil.After(snap.Now) {
				c.Until = spec.FormatTime(q.BackoffUntil)
			}
			out = append(out, c)
		}
	}
	more := 0
	for _, row := range instances(snap) {
		if row.App != id || row.State == "waiting" || row.Ready { // an outdated one that is well is the deployment's part
			continue
		}
		if len(out) >= maxCauses {
			more++
			continue
		}
		text := fmt.Sprintf("%s.%d is %s", id, row.Seat, row.State)
		switch {
		case len(row.Why) > 0:
			text += ": " + strings.Join(row.Why, "; ")
		case row.State == "running" && row.Healthy == nil && row.Checks > 0:
			text += ", its health checks have no result yet"
		case row.State == "running":
			text += ", its readiness check has not passed yet"
		}
		out = append(out, Cause{Kind: "instance", App: id, Text: text, Since: row.Since})
	}
	if more > 0 {
		out = append(out, Cause{Kind: "instance", App: id, Text: fmt.Sprintf("%d more instances of %s are not ready", more, id)})
	}
	if f := snap.LastFailure[id]; f != nil && len(out) > 0 && snap.Apps[id] != nil && !f.AppVersion.Before(snap.Apps[id].LastConfigChange) {
		text := fmt.Sprintf("the last task that failed: %s on %s: %s", f.State, f.Host, cmp.Or(f.Message, "no message"))
		out = append(out, Cause{Kind: "failure", App: id, Text: text, Since: spec.FormatTime(f.Timestamp)})
	}
	return out
}

// refusedHosts counts the refusals of the last offers by reason, with the first of each as the example.
func refusedHosts(q QueueItem) []WhyRefusal {
	out := []WhyRefusal{}
	for _, r := range q.Refusals {
		if r.Declined > 0 {
			out = append(out, WhyRefusal{Reason: r.Reason, Hosts: r.Declined})
		}
	}
	for _, u := range q.UnusedOffers {
		i := slices.IndexFunc(out, func(r WhyRefusal) bool { return r.Reason == u.Reason })
		if i < 0 { // one of Berth's own, which Marathon's funnel does not have
			out = append(out, WhyRefusal{Reason: u.Reason})
			i = len(out) - 1
		}
		if out[i].Example == "" {
			out[i].Example = u.Why
		}
	}
	return out
}

// poolLeft counts what the app's pool has left; nil when the app takes no address or its pool does not exist.
func poolLeft(snap *Snapshot, app *spec.App) *WhyPool {
	name, ok := address.PoolOf(app, snap.Pools)
	i := slices.IndexFunc(snap.Pools, func(p spec.Pool) bool { return p.Name == name })
	if !ok || i < 0 {
		return nil
	}
	p := snap.Pools[i]
	out := &WhyPool{Pool: p.Name, CIDR: p.CIDR.String(), Size: address.Size(p)}
	taken := map[netip.Addr]bool{}
	for _, l := range snap.Leases {
		if l.Pool != p.Name {
			continue
		}
		taken[l.Address] = true
		if l.IdleSince.IsZero() {
			out.Leased++
		} else {
			out.Resting++
		}
	}
	for _, h := range snap.Held {
		if address.Usable(p, h.Address) && !taken[h.Address] {
			out.Held++
		}
	}
	for _, h := range snap.Held {
		taken[h.Address] = true
	}
	for _, h := range snap.Hosts {
		for _, b := range h.Blocks {
			out.Kept += address.ForHost(p, b, func(a netip.Addr) bool { return taken[a] })
		}
	}
	out.Free = max(0, out.Size-out.Leased-out.Resting-out.Held-out.Kept)
	return out
}
