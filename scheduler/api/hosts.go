package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/berth-project/berth/spec"
)

// maxWait bounds a host's long poll.
const maxWait = time.Minute

// getHostDocument is GET /berth/v1/hosts/{host}/document?version=N&wait=30s&survey=S&anew=A: the document when it is newer than
// N, 204 when wait passes without one, or when there is a question that the host does not know; every answer has the
// questions' numbers in its headers. With for=net&applied=N it is the question of the process that keeps the host's network, and the
// answer is the host's right to go on with its addresses.
func (s *Server) getHostDocument(host string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		q := r.URL.Query()
		var version uint64
		var known spec.HostAsk
		var wait time.Duration
		var err error
		for name, field := range map[string]*uint64{"version": &version, "survey": &known.Survey, "anew": &known.Anew} {
			if text := q.Get(name); text != "" {
				if *field, err = strconv.ParseUint(text, 10, 64); err != nil {
					return fail(http.StatusBadRequest, "%s=%q is no number", name, text)
				}
			}
		}
		if text := q.Get("wait"); text != "" {
			if wait, err = time.ParseDuration(text); err != nil || wait < 0 {
				return fail(http.StatusBadRequest, "wait=%q is no duration, such as 30s", text)
			}
		}
		stream, stop := streamContext(r)
		defer stop()
		ctx, cancel := context.WithTimeout(stream, min(wait, maxWait))
		defer cancel()
		ask, asked := s.o.Backend.Asked()
		if !q.Has("survey") {
			known = ask // an agent that cannot be asked
		}
		if ask != known {
			cancel()
		}
		go func() {
			select {
			case <-asked:
				cancel()
			case <-ctx.Done():
			}
		}()
		doc, err := s.hostDocument(ctx, host, version, q)
		// The process of the host's network takes any answer for leave to go on: it gets none without a document that was looked at.
		if err != nil && (q.Get("for") == "net" || !(ctx.Err() != nil && errors.Is(err, ctx.Err()))) {
			return fmt.Errorf("document of host %s: %w", host, err)
		}
		ask, _ = s.o.Backend.Asked()
		w.Header().Set(spec.HeaderSurvey, strconv.FormatUint(ask.Survey, 10))
		w.Header().Set(spec.HeaderAnew, strconv.FormatUint(ask.Anew, 10))
		if doc == nil {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return respond(w, r, http.StatusOK, doc)
	}
}

// hostDocument is the document that the host has not; nil when there is none.
func (s *Server) hostDocument(ctx context.Context, host string, version uint64, q url.Values) (*spec.HostDocument, error) {
	if q.Get("for") == "net" {
		applied, err := strconv.ParseUint(cmp.Or(q.Get("applied"), "0"), 10, 64)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "applied=%q is no number", q.Get("applied"))
		}
		return s.o.Backend.NetDocument(ctx, host, version, applied)
	}
	doc, err := s.o.Backend.HostDocument(ctx, host, version)
	if doc != nil && doc.Version <= version {
		doc = nil
	}
	return doc, err
}

// postHostReport is POST /berth/v1/hosts/{host}/report.
func (s *Server) postHostReport(host string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		var report spec.HostReport
		if err := decodeJSON(body, &report); err != nil {
			return err
		}
		if report.Host != host {
			return fail(http.StatusBadRequest, "The report is of host %q, the path names %q.", report.Host, host)
		}
		if err := s.o.Backend.Report(r.Context(), report); err != nil {
			return fmt.Errorf("report of host %s: %w", host, err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// HostRow is one host of GET /berth/v1/hosts.
type HostRow struct {
	Name  string   `json:"name"`
	State string   `json:"state"` // ok, silent (its agent has not spoken), draining, drained (nothing is left that can go), dead (an operator says so)
	Tasks []string `json:"tasks"`
	// Addresses are those of the tasks.
	Addresses []netip.Addr `json:"addresses"`
	// Blocks are the parts of the pools that are this host's.
	Blocks []netip.Prefix `json:"blocks"`
	// Unreachable is how many of the tasks the engine cannot reach.
	Unreachable int `json:"unreachable"`
	// Contact is when its `berth net` was last answered; absent: not since the scheduler began.
	Contact  string            `json:"contact,omitempty"`
	Networks map[string]string `json:"networks"` // pool -> "" when ready, otherwise why not
	// Drain is how far the host is with being emptied; absent: it is not being drained.
	Drain *HostDrainRow `json:"drain,omitempty"`
}

// HostDrainRow is how far a host is with being emptied: the answer of POST and GET /berth/v1/hosts/{host}/drain.
type HostDrainRow struct {
	Host         string         `json:"host"`
	Since        string         `json:"since"`
	Reason       string         `json:"reason,omitempty"`
	DeploymentID string         `json:"deploymentId,omitempty"` // that empties it; absent: nothing is left that can go elsewhere
	Tasks        []DrainTaskRow `json:"tasks"`                  // that are still there
}

// DrainTaskRow is one task on a host that is drained.
type DrainTaskRow struct {
	ID    string     `json:"id"`
	App   spec.AppID `json:"app"`
	Seat  int        `json:"seat"`
	Stays bool       `json:"stays"` // it cannot go elsewhere, and nothing is done about it
	Why   string     `json:"why,omitempty"`
}

// Moving is how many tasks are still to go.
func (r *HostDrainRow) Moving() int {
	n := 0
	for _, t := range r.Tasks {
		if !t.Stays {
			n++
		}
	}
	return n
}

func drainRow(d *HostDrain) *HostDrainRow {
	if d == nil {
		return nil
	}
	out := &HostDrainRow{Host: d.Host, Since: spec.FormatTime(d.Since), Reason: d.Reason, DeploymentID: d.Deployment, Tasks: make([]DrainTaskRow, 0, len(d.Tasks))}
	for _, t := range d.Tasks {
		out.Tasks = append(out.Tasks, DrainTaskRow{ID: t.Task.ID, App: t.Task.Seat.App, Seat: t.Task.Seat.Index, Stays: t.Stays, Why: t.Why})
	}
	return out
}

// HostList is the answer of GET /berth/v1/hosts.
type HostList struct {
	Hosts []HostRow `json:"hosts"`
	Now   string    `json:"now"`
}

// getHosts is GET /berth/v1/hosts.
func (s *Server) getHosts(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	return respond(w, r, http.StatusOK, HostList{Hosts: hostRows(snap), Now: spec.FormatTime(snap.Now)})
}

func hostRows(snap *Snapshot) []HostRow {
	out := make([]HostRow, 0, len(snap.Hosts))
	at := map[string]int{}
	for i, h := range snap.Hosts {
		row := HostRow{Name: h.Name, State: "ok", Tasks: []string{}, Addresses: []netip.Addr{}, Blocks: []netip.Prefix{}, Contact: optionalTime(h.Contact), Networks: h.Networks, Drain: drainRow(h.Drain)}
		switch {
		case !h.Dead.IsZero():
			row.State = "dead"
		case row.Drain != nil && row.Drain.Moving() > 0:
			row.State = "draining"
		case row.Drain != nil:
			row.State = "drained"
		case !h.Reported:
			row.State = "silent"
		}
		if row.Networks == nil {
			row.Networks = map[string]string{}
		}
		for _, b := range h.Blocks {
			row.Blocks = append(row.Blocks, b.Prefix)
		}
		at[h.Name] = i
		out = append(out, row)
	}
	for _, tasks := range snap.Tasks {
		for _, t := range tasks {
			i, ok := at[t.Host]
			if !ok || !t.Live() {
				continue
			}
			out[i].Tasks = append(out[i].Tasks, t.ID)
			if t.Address.IsValid() {
				out[i].Addresses = append(out[i].Addresses, t.Address)
			}
			if !t.UnreachableSince.IsZero() {
				out[i].Unreachable++
			}
		}
	}
	for i := range out {
		slices.Sort(out[i].Tasks)
		slices.SortFunc(out[i].Addresses, netip.Addr.Compare)
	}
	return out
}

// postHostDead is POST /berth/v1/hosts/{host}/dead.
func (s *Server) postHostDead(host string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		death, err := s.o.Backend.HostDead(r.Context(), host)
		if err != nil {
			return err
		}
		return respond(w, r, http.StatusOK, struct {
			Host      string       `json:"host"`
			Tasks     []string     `json:"tasks"`
			Addresses []netip.Addr `json:"addresses"`
		}(*death))
	}
}

// maxDrainReason bounds what an operator says about a drain, in bytes.
const maxDrainReason = 500

// postHostDrain is POST /berth/v1/hosts/{host}/drain, with {"reason": "..."} or nothing.
func (s *Server) postHostDrain(host string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		var in struct {
			Reason string `json:"reason"`
		}
		if len(body) > 0 {
			if err := decodeJSON(body, &in); err != nil {
				return err
			}
		}
		if len(in.Reason) > maxDrainReason || strings.ContainsFunc(in.Reason, unicode.IsControl) {
			return fail(http.StatusBadRequest, "The reason is one line of at most %d bytes.", maxDrainReason)
		}
		d, err := s.o.Backend.DrainHost(r.Context(), host, in.Reason)
		if err != nil {
			return err
		}
		return respond(w, r, http.StatusOK, drainRow(d))
	}
}

// getHostDrain is GET /berth/v1/hosts/{host}/drain: 404 when the host is not being drained.
func (s *Server) getHostDrain(host string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, err := s.o.Backend.Snapshot(r.Context())
		if err != nil {
			return err
		}
		for _, h := range snap.Hosts {
			if h.Name == host && h.Drain != nil {
				return respond(w, r, http.StatusOK, drainRow(h.Drain))
			}
		}
		return &NotFoundError{Message: fmt.Sprintf("Host '%s' is not being drained", host)}
	}
}

// deleteHostDrain is DELETE /berth/v1/hosts/{host}/drain.
func (s *Server) deleteHostDrain(host string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.o.Backend.UndrainHost(r.Context(), host); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}
