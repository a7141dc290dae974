package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/ipcheck"
	"github.com/berth-project/berth/spec"
)

// AddressCheck is the answer of POST /berth/v1/addresses/check: where the store, the hosts' Docker Engines and their kernels
// differ. Nothing differs when Findings is empty.
type AddressCheck struct {
	Findings  []AddressFinding `json:"findings"`
	Hosts     int              `json:"hosts"`     // that answered
	Silent    int              `json:"silent"`    // that did not, and have tasks or had containers
	Addresses int              `json:"addresses"` // compared
	// Left is how many of the findings are still true after the repair; without one, all.
	Left int    `json:"left"`
	Now  string `json:"now"`

	answered []string // the hosts that did, sorted
}

// AddressFinding is one difference.
type AddressFinding struct {
	Kind      ipcheck.Kind   `json:"kind"`
	Address   string         `json:"address,omitempty"`
	Hosts     []string       `json:"hosts"`
	App       spec.AppID     `json:"app,omitempty"`
	Seat      *int           `json:"seat,omitempty"`
	TaskID    string         `json:"taskId,omitempty"`
	Container string         `json:"container,omitempty"`
	Text      string         `json:"text"`             // what differs, and why
	Action    ipcheck.Action `json:"action,omitempty"` // what a repair does; "": nothing, it is for people to judge
	Repair    string         `json:"repair"`           // the same for people, or what they may do
	Done      string         `json:"done,omitempty"`   // what the repair did
	Gone      bool           `json:"gone,omitempty"`   // it is no longer true after the repair
}

const (
	defaultCheckWait = 10 * time.Second
	maxCheckWait     = 30 * time.Second
	// maxComparisons bounds those after the first, on a fleet where hosts come and go all the time.
	maxComparisons = 4
	// repairLook is how often is looked whether a repair has worked, until the wait is over.
	repairLook = time.Second
)

// postAddressCheck is POST /berth/v1/addresses/check?repair=true&wait=10s. It asks the hosts for fresh reports and waits for
// them, compares, and, when something differs, does so once more: what differs twice is a finding.
func (s *Server) postAddressCheck(w http.ResponseWriter, r *http.Request) error {
	wait := defaultCheckWait
	if text := r.URL.Query().Get("wait"); text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil || wait <= 0 || wait > maxCheckWait {
			return fail(http.StatusBadRequest, "wait=%q is no duration up to %s, such as 10s", text, maxCheckWait)
		}
	}
	out, found, err := s.checkAddresses(r.Context(), wait)
	if err != nil {
		return err
	}
	if flag(r, "repair", false) && len(found) > 0 {
		if err := s.repairAddresses(r.Context(), &out, found, wait); err != nil {
			return err
		}
	}
	return respond(w, r, http.StatusOK, out)
}

// checkAddresses compares until nothing differs, or two comparisons of the same hosts are made; what differs in both counts.
func (s *Server) checkAddresses(ctx context.Context, wait time.Duration) (AddressCheck, []ipcheck.Finding, error) {
	out, found, err := s.compareAddresses(ctx, wait, false)
	var lasting []ipcheck.Finding
	for range maxComparisons {
		if err != nil || len(found) == 0 {
			return out, nil, err
		}
		if err := pause(ctx, s.o.CheckPause); err != nil {
			return out, nil, err
		}
		before, known := found, out.answered
		out, found, err = s.compareAddresses(ctx, wait, false)
		if lasting = ipcheck.Lasting(before, found); err == nil && slices.Equal(known, out.answered) {
			break
		}
	}
	found = lasting
	if err != nil {
		return out, nil, err
	}
	for _, f := range found {
		out.Findings = append(out.Findings, findingOf(f))
	}
	out.Left = len(found)
	return out, found, nil
}

// compareAddresses asks the hosts and compares what they say with the store.
func (s *Server) compareAddresses(ctx context.Context, wait time.Duration, anew bool) (AddressCheck, []ipcheck.Finding, error) {
	asking, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	number, err := s.o.Backend.Survey(asking, anew)
	if err != nil {
		return AddressCheck{}, nil, err
	}
	snap, err := s.o.Backend.Snapshot(ctx)
	if err != nil {
		return AddressCheck{}, nil, err
	}
	in := ipcheck.Input{Pools: snap.Pools, Leases: snap.Leases, Apps: snap.Apps, Tasks: snap.Tasks, Settling: snap.Settling, Now: snap.Now}
	out := AddressCheck{Findings: []AddressFinding{}, Addresses: len(newAddressBook(snap).all()), Now: spec.FormatTime(snap.Now)}
	for _, h := range snap.Hosts {
		fresh := h.Endpoints != nil && h.Endpoints.Survey >= number
		if fresh {
			out.Hosts, out.answered = out.Hosts+1, append(out.answered, h.Name)
		}
		in.Hosts = append(in.Hosts, ipcheck.Host{Name: h.Name, Seen: h.Endpoints, At: h.ToldAt, Fresh: fresh, Held: h.Held})
	}
	found := ipcheck.Compare(in)
	for _, f := range found {
		if f.Kind == ipcheck.Silent {
			out.Silent++
		}
	}
	return out, found, nil
}

// repairAddresses has the repairable findings repaired, and looks until all of them are gone or the wait is over.
func (s *Server) repairAddresses(ctx context.Context, out *AddressCheck, found []ipcheck.Finding, wait time.Duration) error {
	done, err := s.o.Backend.RepairAddresses(ctx, found)
	if err != nil {
		return err
	}
	anew := false
	for i, f := range found {
		out.Findings[i].Done = done[i]
		if f.Action == ipcheck.SetNetwork {
			anew, out.Findings[i].Done = true, "the host was told to set its network anew"
		}
	}
	end := time.Now().Add(wait)
	for {
		_, now, err := s.compareAddresses(ctx, wait, anew)
		if err != nil {
			return err
		}
		anew, out.Left = false, 0
		pending, still := false, ipcheck.NewSet(now)
		for i, f := range found {
			out.Findings[i].Gone = !still.Has(f)
			if !out.Findings[i].Gone {
				out.Left++
				pending = pending || out.Findings[i].Done != ""
			}
		}
		if !pending || !time.Now().Before(end) {
			return nil
		}
		if err := pause(ctx, repairLook); err != nil {
			return err
		}
	}
}

func findingOf(f ipcheck.Finding) AddressFinding {
	out := AddressFinding{Kind: f.Kind, Hosts: append([]string{}, f.Hosts...), TaskID: f.Task, Container: f.Container, Text: f.Text, Action: f.Action, Repair: f.Repair}
	if f.Address.IsValid() {
		out.Address = f.Address.String()
	}
	if f.Seat.App != "" {
		index := f.Seat.Index
		out.App, out.Seat = f.Seat.App, &index
	}
	return out
}

// pause waits for d, or until ctx ends, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
