package api

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotFound is the root of "does not exist" errors; wrap it with the exact Marathon message in NotFoundError.
var ErrNotFound = errors.New("not found")

// NotFoundError carries Marathon's message, such as "App '/x' does not exist".
type NotFoundError struct{ Message string }

func (e *NotFoundError) Error() string { return e.Message }
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// ConflictError is a 409 without a lock: the id exists already.
type ConflictError struct{ Message string }

func (e *ConflictError) Error() string { return e.Message }

// LockedError is a 409 with the deployments that lock the app.
type LockedError struct{ Deployments []string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'. Deployments: %s", strings.Join(e.Deployments, ", "))
}

// TooManyDeploymentsError is a 403: as many deployments run as may.
type TooManyDeploymentsError struct{ Max int }

func (e *TooManyDeploymentsError) Error() string {
	return fmt.Sprintf("Max number (%d) of running deployments is achieved. Wait for existing deployments to complete or cancel one using force=true parameter.", e.Max)
}

// RefusedError is a 422 with a plain message.
type RefusedError struct{ Message string }

func (e *RefusedError) Error() string { return e.Message }
