package apitest

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/prepull"
	"github.com/berth-project/berth/spec"
)

// HostDocument implements api.Backend.
func (w *World) HostDocument(ctx context.Context, host string, version uint64) (*spec.HostDocument, error) {
	for {
		w.mu.Lock()
		doc, changed := w.documents[host], w.changed
		w.mu.Unlock()
		if doc != nil && doc.Version > version {
			return doc, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// NetDocument implements api.Backend.
func (w *World) NetDocument(ctx context.Context, host string, version, _ uint64) (*spec.HostDocument, error) {
	return w.HostDocument(ctx, host, version)
}

// HostDead implements api.Backend: what ran on the host is over.
func (w *World) HostDead(_ context.Context, host string) (*api.HostDeath, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &api.HostDeath{Host: host, Tasks: []string{}, Addresses: []netip.Addr{}}
	for _, tasks := range w.tasks {
		for _, t := range tasks {
			if t.Host == host {
				out.Tasks, out.Addresses = append(out.Tasks, t.ID), append(out.Addresses, t.Address)
			}
		}
	}
	if len(out.Tasks) == 0 {
		return nil, &api.NotFoundError{Message: "Host '" + host + "' is not known"}
	}
	return out, nil
}

// DrainHost implements api.Backend. What runs on the host goes elsewhere at the next step.
func (w *World) DrainHost(_ context.Context, host, reason string) (*api.HostDrain, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if host != Host {
		return nil, &api.NotFoundError{Message: "Host '" + host + "' is not known"}
	}
	w.drains[host] = spec.HostDrain{Host: host, Reason: reason, Since: w.now}
	return w.drain(host), nil
}

// UndrainHost implements api.Backend.
func (w *World) UndrainHost(_ context.Context, host string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if host != Host {
		return &api.NotFoundError{Message: "Host '" + host + "' is not known"}
	}
	delete(w.drains, host)
	return nil
}

// drain is how far a host is with being emptied. Tasks of /stays stay.
func (w *World) drain(host string) *api.HostDrain {
	d, ok := w.drains[host]
	if !ok {
		return nil
	}
	out := &api.HostDrain{HostDrain: d}
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		for _, t := range w.tasks[id] {
			if t.Host != host {
				continue
			}
			copied := *t
			x := api.DrainTask{Task: &copied}
			if x.Stays = id == "/stays"; x.Stays {
				x.Why = "its persistent volume data is on " + host
			} else {
				out.Deployment = "drain-1"
			}
			out.Tasks = append(out.Tasks, x)
		}
	}
	return out
}

// Report implements api.Backend.
func (w *World) Report(_ context.Context, r spec.HostReport) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, r)
	return nil
}

// Prepull implements api.Backend: a host begins at once, and is done at the second look. It cannot have images of missing.example.com.
func (w *World) Prepull(_ context.Context, image string, hosts []string, refresh bool) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(hosts) == 0 {
		hosts = []string{"host-1"}
	}
	n, err := w.pulls.Ask(image, hosts, refresh, w.now)
	if err != nil {
		return 0, &api.ConflictError{Message: err.Error()}
	}
	for _, h := range hosts {
		w.pulls.Heard(h, []spec.PullResult{{Number: n, State: spec.Pulling, Note: "1 of 2 MB"}})
	}
	return n, nil
}

// Prepulled implements api.Backend.
func (w *World) Prepulled(_ context.Context, number uint64) (*prepull.View, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.pulls.View(number)
	if v == nil {
		return nil, &api.NotFoundError{Message: "Pull is not known"}
	}
	r := spec.PullResult{Number: number, State: spec.PullDone}
	if strings.HasPrefix(v.Image, "missing.example.com/") {
		r.State, r.Note = spec.PullFailed, "no such host"
	}
	for _, h := range v.Hosts {
		w.pulls.Heard(h.Host, []spec.PullResult{r})
	}
	return v, nil
}

// Asked implements api.Backend: nobody is ever asked.
func (w *World) Asked() (spec.HostAsk, <-chan struct{}) { return spec.HostAsk{}, nil }

// Police puts network policies in force, with what the host tells of them.
func (w *World) Police(p *spec.NetworkPolicies, told *spec.PolicyReport) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policies, w.policed = p, told
}
