package calico

import (
	"fmt"
	"strings"
)

// place is where in a stream of documents something stands.
type place struct {
	Document int    // counted from 1; 0: the whole stream
	Prefix   string // path of the list item, such as "items[2]."
}

func (p place) item(i int) place {
	p.Prefix += fmt.Sprintf("items[%d].", i)
	return p
}

func (p place) String() string {
	if p.Prefix == "" {
		return fmt.Sprintf("document %d", p.Document)
	}
	return fmt.Sprintf("document %d: %s", p.Document, strings.TrimSuffix(p.Prefix, "."))
}

// Fault is one reason why the pools cannot be used.
type Fault struct {
	Document int    // counted from 1; 0: the whole stream
	Path     string // "spec.cidr"; "" for the whole document
	Text     string
}

func (f Fault) String() string {
	var parts []string
	if f.Document > 0 {
		parts = append(parts, fmt.Sprintf("document %d", f.Document))
	}
	if f.Path != "" {
		parts = append(parts, f.Path)
	}
	return strings.Join(append(parts, f.Text), ": ")
}

// Faults are all of them, in the order of the documents.
type Faults []Fault

func (f *Faults) add(at place, path, format string, args ...any) {
	*f = append(*f, Fault{at.Document, strings.TrimSuffix(at.Prefix+path, "."), fmt.Sprintf(format, args...)})
}

// Error is one line a fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}
