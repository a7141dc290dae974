package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

var (
	errTimeout     = errors.New("timed out")
	errInterrupted = errors.New("interrupted")
)

// apiError is an answer of the API that is no success.
type apiError struct {
	Status      int
	Message     string          `json:"message"`
	Details     json.RawMessage `json:"details"`
	Deployments []struct {
		ID string `json:"id"`
	} `json:"deployments"`
}

func newAPIError(status int, body []byte) *apiError {
	e := &apiError{}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = strings.TrimSpace(string(body))
	}
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	e.Status = status
	return e
}

// refusal says whether the API understood the request and would not do it, as opposed to could not.
func (e *apiError) refusal() bool {
	switch e.Status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// Error is the message, then one line a fault with its JSON path, then the way out.
func (e *apiError) Error() string {
	if len(e.Deployments) > 0 {
		ids := make([]string, 0, len(e.Deployments))
		for _, d := range e.Deployments {
			ids = append(ids, d.ID)
		}
		return fmt.Sprintf("refused: a running deployment (%s) holds the app; wait for it, or use --force to end it", strings.Join(ids, ", "))
	}
	var b strings.Builder
	if e.refusal() {
		b.WriteString("refused: ")
	}
	b.WriteString(e.Message)
	var text string
	var faults []struct {
		Path   string   `json:"path"`
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(e.Details, &text) == nil {
		b.WriteString(": " + text)
	} else if json.Unmarshal(e.Details, &faults) == nil {
		for _, f := range faults {
			b.WriteString("\n  " + f.Path + ": " + strings.Join(f.Errors, "; "))
		}
	}
	return b.String()
}
