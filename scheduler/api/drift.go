package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/berth-project/berth/spec"
)

// Instances looks into running instances. What it answers is written as JSON.
type Instances interface {
	// Drift is in what an instance differs from its image.
	Drift(ctx context.Context, taskID string) (any, error)
	// Commit makes an image of an instance. A name that another image has is a *ConflictError, one that is none a *RefusedError.
	Commit(ctx context.Context, taskID string, c CommitRequest) (any, error)
}

// CommitRequest is the body of POST /berth/v1/drift.
type CommitRequest struct {
	Tag     string      `json:"tag"`
	Message string      `json:"message,omitempty"`
	By      string      `json:"by,omitempty"`
	With    []string    `json:"with,omitempty"` // files that look like secrets and are to be in the image all the same
	Seat    spec.SeatID `json:"-"`              // whose instance it is
}

// maxMessage bounds what people say of an image: it becomes a label.
const maxMessage = 2000

// drifting finds the instance that GET and POST /berth/v1/drift mean: task=ID, or app=ID&seat=N, and container=NAME of a pod.
func (s *Server) drifting(r *http.Request) (*spec.Task, string, error) {
	q := r.URL.Query()
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return nil, "", err
	}
	t, err := logTask(snap, q.Get("task"), q.Get("app"), q.Get("seat"))
	if err != nil {
		return nil, "", err
	}
	if s.o.Instances == nil {
		return nil, "", fail(http.StatusNotFound, "This scheduler has no Docker Engine of its own: run it on host %s, where the instance is, with --here.", t.Host)
	}
	id, err := logID(t, q.Get("task"), q.Get("container"))
	return t, id, err
}

// patient lets an answer take as long as it needs: a layer of many gigabytes is read and written in between.
func patient(w http.ResponseWriter) error {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("wait for the instance: %w", err)
	}
	return nil
}

// getDrift is GET /berth/v1/drift.
func (s *Server) getDrift(w http.ResponseWriter, r *http.Request) error {
	t, id, err := s.drifting(r)
	if err != nil {
		return err
	}
	if err := patient(w); err != nil {
		return err
	}
	found, err := s.o.Instances.Drift(r.Context(), id)
	if err != nil {
		return fmt.Errorf("drift of %s: %w", t.Seat, err)
	}
	return respond(w, r, http.StatusOK, found)
}

// postDrift is POST /berth/v1/drift: an image is made of the instance.
func (s *Server) postDrift(w http.ResponseWriter, r *http.Request) error {
	t, id, err := s.drifting(r)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	c := CommitRequest{Seat: t.Seat}
	if err := decodeJSON(body, &c); err != nil {
		return err
	}
	if len(c.Message) > maxMessage || len(c.By) > maxMessage {
		return fail(http.StatusUnprocessableEntity, "The message, or who says it, is longer than %d bytes.", maxMessage)
	}
	if err := patient(w); err != nil {
		return err
	}
	made, err := s.o.Instances.Commit(r.Context(), id, c)
	if err != nil {
		return fmt.Errorf("make an image of %s: %w", t.Seat, err)
	}
	return respond(w, r, http.StatusCreated, made)
}
