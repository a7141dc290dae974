package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/marathon"
)

// deploymentHeader carries the id of the deployment that a call started.
const deploymentHeader = "Marathon-Deployment-Id"

// statusError is an answer that is only a status and a message.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string { return e.message }

func fail(code int, format string, args ...any) error {
	return &statusError{code: code, message: fmt.Sprintf(format, args...)}
}

type errorBody struct {
	Message     string         `json:"message"`
	Details     any            `json:"details,omitempty"`
	Deployments []deploymentID `json:"deployments,omitempty"`
}

type faultJSON struct {
	Path   string   `json:"path"`
	Errors []string `json:"errors"`
}

type deploymentID struct {
	ID string `json:"id"`
}

// lockedMessage is Marathon's text; the deployments stand beside it.
const lockedMessage = "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."

// describe is the one place where errors become codes. ok is false when the error is ours, not the client's.
func describe(err error) (code int, body errorBody, ok bool) {
	var (
		faults   *marathon.Faults
		status   *statusError
		locked   *LockedError
		conflict *ConflictError
		tooMany  *TooManyDeploymentsError
		refused  *RefusedError
		tooBig   *http.MaxBytesError
	)
	switch {
	case errors.As(err, &faults):
		if faults.Syntax != "" {
			return http.StatusBadRequest, errorBody{Message: faults.Message, Details: faults.Syntax}, true
		}
		if len(faults.Details) == 0 {
			return http.StatusUnprocessableEntity, errorBody{Message: faults.Message}, true
		}
		details := make([]faultJSON, 0, len(faults.Details))
		for _, f := range faults.Details {
			details = append(details, faultJSON{Path: f.Path, Errors: f.Errors})
		}
		return http.StatusUnprocessableEntity, errorBody{Message: faults.Message, Details: details}, true
	case errors.As(err, &status):
		return status.code, errorBody{Message: status.message}, true
	case errors.As(err, &locked):
		body = errorBody{Message: lockedMessage}
		for _, id := range locked.Deployments {
			body.Deployments = append(body.Deployments, deploymentID{id})
		}
		return http.StatusConflict, body, true
	case errors.As(err, &conflict):
		return http.StatusConflict, errorBody{Message: conflict.Message}, true
	case errors.As(err, &tooMany):
		return http.StatusForbidden, errorBody{Message: tooMany.Error()}, true
	case errors.As(err, &refused):
		return http.StatusUnprocessableEntity, errorBody{Message: refused.Message}, true
	case errors.As(err, &tooBig):
		return http.StatusRequestEntityTooLarge, errorBody{Message: fmt.Sprintf("The body is larger than %d bytes.", tooBig.Limit)}, true
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound, errorBody{Message: notFoundMessage(err)}, true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, errorBody{Message: "The operation did not finish in time; it may still take effect."}, false
	}
	return http.StatusInternalServerError, errorBody{Message: "internal error: " + err.Error()}, false
}

func notFoundMessage(err error) string {
	var nf *NotFoundError
	if errors.As(err, &nf) {
		return nf.Message
	}
	return err.Error()
}

func (s *Server) respondError(w http.ResponseWriter, r *http.Request, err error) {
	code, body, expected := describe(err)
	if !expected && r.Context().Err() == nil {
		s.log.WithError(err).WithField("method", r.Method).WithField("path", r.URL.Path).Error("request failed")
	}
	_ = respond(w, r, code, body)
}

// respond writes v as JSON. It is handlers' last call, and its error (the client went away) needs no answer.
func respond(w http.ResponseWriter, r *http.Request, code int, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	return respondBytes(w, r, code, "application/json", body)
}

// compressFrom is the size below which compressing only costs time.
const compressFrom = 1024

func respondBytes(w http.ResponseWriter, r *http.Request, code int, contentType string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Add("Vary", "Accept-Encoding")
	if len(body) >= compressFrom && acceptsGzip(r) {
		var buf bytes.Buffer
		z, _ := gzip.NewWriterLevel(&buf, gzip.BestSpeed) // fails only for an unknown level
		_, _ = z.Write(body)                              // a bytes.Buffer never fails
		_ = z.Close()
		h.Set("Content-Encoding", "gzip")
		body = buf.Bytes()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
	return nil
}

// respondDeployment answers a change with its deployment, or with its steps alone when it was a dry run.
func respondDeployment(w http.ResponseWriter, r *http.Request, code int, c *Changed) error {
	announce(w, c)
	if c.DeploymentID == "" {
		return respondSteps(w, r, c)
	}
	return respond(w, r, code, deploymentResult(c))
}

func acceptsGzip(r *http.Request) bool {
	for _, item := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, q := mediaItem(item)
		if (name == "gzip" || name == "*") && q > 0 {
			return true
		}
	}
	return false
}

// mediaItem splits "text/plain;q=0.5".
func mediaItem(item string) (name string, q float64) {
	name, params, _ := strings.Cut(item, ";")
	q = 1
	for _, p := range strings.Split(params, ";") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
			if f, err := strconv.ParseFloat(v, 64); err == nil {
				q = f
			}
		}
	}
	return strings.ToLower(strings.TrimSpace(name)), q
}

// negotiate picks the offered type that the client likes best; the first of equals. "" when none fits.
func negotiate(r *http.Request, offered ...string) string {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return offered[0]
	}
	best, bestQ := "", 0.0
	for _, o := range offered {
		if q := quality(accept, o); q > bestQ {
			best, bestQ = o, q
		}
	}
	return best
}

// quality is how much the Accept header likes one type; the most exact range decides.
func quality(accept, offered string) float64 {
	major, _, _ := strings.Cut(offered, "/")
	rank, q := 0, 0.0
	for _, item := range strings.Split(accept, ",") {
		name, itemQ := mediaItem(item)
		match := 0
		switch name {
		case offered:
			match = 3
		case major + "/*":
			match = 2
		case "*/*", "*":
			match = 1
		}
		if match > rank {
			rank, q = match, itemQ
		}
	}
	return q
}

// readBody reads a JSON body of bounded size within bounded time.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if ct := r.Header.Get("Content-Type"); ct != "" {
		kind, _, err := mime.ParseMediaType(ct)
		if err != nil || kind != "application/json" {
			return nil, fail(http.StatusUnsupportedMediaType, "The body must be application/json, not %q (with curl: -H 'Content-Type: application/json').", ct)
		}
	}
	rc := http.NewResponseController(w)
	bounded := rc.SetReadDeadline(time.Now().Add(time.Minute)) == nil
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.o.MaxBody))
	if err != nil {
		// The deadline stays, and the connection ends: net/http would read on, as slowly as the client likes.
		w.Header().Set("Connection", "close")
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return nil, err
		}
		return nil, fail(http.StatusBadRequest, "The body could not be read: %v", err)
	}
	if bounded {
		_ = rc.SetReadDeadline(time.Time{}) // net/http would take its end for a client that went away
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, &marathon.Faults{Message: "Please specify data in JSON format", Syntax: "the body is empty"}
	}
	return body, nil
}

// flag reads a boolean query parameter as Java does: "true" in any case is true, anything else false.
func flag(r *http.Request, name string, absent bool) bool {
	v, ok := r.URL.Query()[name]
	if !ok {
		return absent
	}
	return strings.EqualFold(v[0], "true")
}
