package api

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/berth-project/berth/scheduler/prepull"
	"github.com/berth-project/berth/spec"
)

// PullRequest is the body of POST /berth/v1/images/pulls.
type PullRequest struct {
	Image   string   `json:"image"`
	Hosts   []string `json:"hosts,omitempty"`   // none: all
	Refresh bool     `json:"refresh,omitempty"` // also where an image of that name is
}

// PullRow is one host of a PullAnswer.
type PullRow struct {
	Host  string `json:"host"`
	State string `json:"state"` // waiting (it has not answered), pulling, done, failed
	Note  string `json:"note,omitempty"`
}

// PullAnswer is how far the hosts are with an image.
type PullAnswer struct {
	Number uint64    `json:"number"`
	Image  string    `json:"image"`
	Until  string    `json:"until"` // when it is forgotten
	Hosts  []PullRow `json:"hosts"`
}

// postPull is POST /berth/v1/images/pulls: hosts pull an image ahead of a rollout.
func (s *Server) postPull(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var q PullRequest
	if err := decodeJSON(body, &q); err != nil {
		return err
	}
	if !prepull.Valid(q.Image) {
		return fail(http.StatusUnprocessableEntity, "%q is no name of an image", q.Image)
	}
	number, err := s.o.Backend.Prepull(r.Context(), q.Image, q.Hosts, q.Refresh)
	if err != nil {
		return fmt.Errorf("pull image %s: %w", q.Image, err)
	}
	return s.answerPull(w, r, http.StatusAccepted, number)
}

// getPull is GET /berth/v1/images/pulls/{number}.
func (s *Server) getPull(text string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		number, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fail(http.StatusBadRequest, "%q is no number of a pull", text)
		}
		return s.answerPull(w, r, http.StatusOK, number)
	}
}

func (s *Server) answerPull(w http.ResponseWriter, r *http.Request, code int, number uint64) error {
	v, err := s.o.Backend.Prepulled(r.Context(), number)
	if err != nil {
		return err
	}
	out := PullAnswer{Number: v.Number, Image: v.Image, Until: spec.FormatTime(v.Until), Hosts: []PullRow{}}
	for _, h := range v.Hosts {
		state := string(h.State)
		if state == "" {
			state = "waiting"
		}
		out.Hosts = append(out.Hosts, PullRow{h.Host, state, h.Note})
	}
	return respond(w, r, code, out)
}
