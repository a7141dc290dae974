package marathon

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Faults are all violations found in one definition, in the form the API answers them: one entry a path.
type Faults struct {
	// Message is Marathon's: "Invalid JSON" for type-level faults, "Object is not valid" for semantic ones.
	Message string
	// Syntax is set instead of Details when the body is no JSON at all (400; Marathon's "details" is then a string).
	Syntax  string
	Details []Fault
}

// Fault is one path with its texts: {"path":"/cpus","errors":["got -3, expected 0 or more"]}.
type Fault struct {
	Path   string
	Errors []string
}

// Add records a violation; the same text at the same path once.
func (f *Faults) Add(path, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for i := range f.Details {
		if f.Details[i].Path == path {
			if slices.Contains(f.Details[i].Errors, text) {
				return
			}
			f.Details[i].Errors = append(f.Details[i].Errors, text)
			return
		}
	}
	f.Details = append(f.Details, Fault{Path: path, Errors: []string{text}})
}

// Err is f as an error, or nil when nothing was found. Details are then sorted by path.
func (f *Faults) Err() error {
	if f.Syntax == "" && len(f.Details) == 0 {
		return nil
	}
	sort.SliceStable(f.Details, func(i, j int) bool { return f.Details[i].Path < f.Details[j].Path })
	return f
}

func (f *Faults) Error() string {
	if f.Syntax != "" {
		return f.Message + ": " + f.Syntax
	}
	parts := make([]string, 0, len(f.Details))
	for _, d := range f.Details {
		parts = append(parts, d.Path+": "+strings.Join(d.Errors, "; "))
	}
	return f.Message + ": " + strings.Join(parts, ", ")
}
