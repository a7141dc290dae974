package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/berth-project/berth/spec"
)

// SeatUpdate is the body of PATCH /berth/v1/instances; what is null stays.
type SeatUpdate struct {
	// Weight is the share of requests, 1 to spec.MaxServiceWeight; 0: as the app's label says.
	Weight *int `json:"weight,omitempty"`
	// Maintenance is why no requests are to be sent there; "": they are.
	Maintenance *string `json:"maintenance,omitempty"`
}

// maxMaintenance bounds a reason: it is in the host's document, and in Consul.
const maxMaintenance = 500

func (u SeatUpdate) validate() error {
	switch {
	case u.Weight == nil && u.Maintenance == nil:
		return &RefusedError{Message: "Give a weight, or a reason for maintenance."}
	case u.Weight != nil && (*u.Weight < 0 || *u.Weight > spec.MaxServiceWeight):
		return &RefusedError{Message: "A weight is a number from 1 to " + strconv.Itoa(spec.MaxServiceWeight) + "; 0 is what the app says."}
	case u.Maintenance != nil && (len(*u.Maintenance) > maxMaintenance || strings.ContainsFunc(*u.Maintenance, unicode.IsControl)):
		return &RefusedError{Message: "A reason is one line of at most " + strconv.Itoa(maxMaintenance) + " bytes."}
	}
	return nil
}

// Apply is the seat with the update.
func (u SeatUpdate) Apply(seat spec.Seat) spec.Seat {
	if u.Weight != nil {
		seat.Weight = *u.Weight
	}
	if u.Maintenance != nil {
		seat.Maintenance = *u.Maintenance
	}
	return seat
}

// SeatChanged says that an instance's share of requests changed, or that it is in maintenance or out of it.
func SeatChanged(app *spec.App, seat spec.Seat, now time.Time) Event {
	return Event{Type: EventSeatChanged, At: now, Fields: map[string]any{
		"runSpecId": seat.ID.App, "seat": seat.ID.Index, "hostname": seat.Hostname, "weight": app.ServiceWeight(seat), "maintenance": seat.Maintenance,
	}}
}

// patchInstances is PATCH /berth/v1/instances?app=ID&seat=N: what is kept of instances beside their definition. Without a seat
// it is of all instances that the app has now.
func (s *Server) patchInstances(w http.ResponseWriter, r *http.Request) error {
	if err := noDryRun(r); err != nil {
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var u SeatUpdate
	if err := decodeJSON(body, &u); err != nil {
		return err
	}
	if err := u.validate(); err != nil {
		return err
	}
	q, seat := r.URL.Query(), -1
	if q.Get("app") == "" {
		return fail(http.StatusBadRequest, "Name the app: /berth/v1/instances?app=ID&seat=N")
	}
	id := appID(segments(q.Get("app")))
	if text := q.Get("seat"); text != "" {
		if seat, err = strconv.Atoi(text); err != nil || seat < 0 {
			return fail(http.StatusBadRequest, "seat=%q is no number of an instance", text)
		}
	}
	changed, err := s.o.Backend.UpdateSeats(r.Context(), id, seat, u)
	if err != nil {
		return err
	}
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	out := InstanceList{Instances: []Instance{}, Now: spec.FormatTime(snap.Now), Connected: snap.Connected}
	for _, row := range instances(snap) {
		if row.App == id && slices.Contains(changed, row.Seat) {
			out.Instances = append(out.Instances, row)
		}
	}
	return respond(w, r, http.StatusOK, out)
}
