// Package recipe knows berth.yaml, the short description from which an image is built. A description comes in as bytes and the
// folder beside it as an fs.FS; a validated Recipe, a Dockerfile and the list of files for its build context go out. It never
// runs anything and never asks an engine: the same description of the same folder is always the same plan.
package recipe

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// DefaultBase is the image that a recipe without a base starts from.
const DefaultBase = "berth/base:bookworm"

// Supervisor is what runs the recipe's services in the container.
type Supervisor string

// Supervisors. S6 is that of Berth's base image; Units are systemd unit files, which berth-svc reads, too; None makes the one
// service the container's command.
const (
	S6    Supervisor = "s6"
	Units Supervisor = "units"
	None  Supervisor = "none"
)

// Family is how packages are installed.
type Family string

// Families.
const (
	Deb Family = "deb"
	RPM Family = "rpm"
)

// Language is one of those that need no further description.
type Language string

// Languages.
const (
	PHP    Language = "php"
	Node   Language = "node"
	Python Language = "python"
	Java   Language = "java"
	Go     Language = "go"
)

// Languages lists all languages.
func Languages() []Language { return []Language{PHP, Node, Python, Java, Go} }

// Recipe is a description as it was written, checked, with the defaults that do not depend on the folder.
type Recipe struct {
	Name        string
	Version     string `json:"-"` // "": asked of git; no part of what is built
	Push        string `json:"-"` // REGISTRY/NAME, "": nowhere
	Base        string
	Family      Family
	Supervisor  Supervisor
	Language    Language
	App         string // the application's folder, where a language is given
	Users       []string
	Packages    []string // names for the package manager, or paths that end in .deb or .rpm
	Files       []File
	Ignore      []string // patterns of what is left out of copied folders
	Build       *Stage
	Commands    []string
	Environment []Var // by name
	Services    []Service
	Ports       []int
	Health      *Check
}

// File is a file or a folder that is copied into the image.
type File struct {
	Source      string // inside the folder, with slashes; "." is all of it
	Destination string // absolute; with a slash at its end: into that folder
	Mode        fs.FileMode
	Owner       string // "user" or "user:group"; "" is root

	line int
}

// Stage builds something in a container of its own, of which only the folder Output is taken.
type Stage struct {
	Base        string
	Packages    []string
	Source      string // what is copied to /src, where the commands run
	Commands    []string
	Output      string // absolute
	Destination string // absolute, in the image
}

// Var is an environment variable.
type Var struct{ Name, Value string }

// Service is a program that runs as long as the container does.
type Service struct {
	Name        string
	Command     []string // of one word when it was written as a line for the shell
	Shell       bool     // Command is one line for the shell
	User        string
	Directory   string
	Environment []Var
	Order       int // 0-99
	Health      *Check
}

// Check is how to find out whether something is well. One of HTTP, TCP and Command is set.
type Check struct {
	HTTP     string // a path; a port goes with it
	TCP      bool
	Command  string // a line for the shell; exit code 0 is well
	Port     int
	Interval int // seconds, as all times
	Timeout  int
	Start    int
	Retries  int
}

// Fault is one thing that is wrong with a description.
type Fault struct {
	Line int    // from 1; 0: of no line
	Path string // "services[1].command"
	Text string
}

// Faults are all that is wrong, in the order of the lines.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, 0, len(f))
	for _, fault := range f {
		where := ""
		if fault.Line > 0 {
			where = fmt.Sprintf("line %d: ", fault.Line)
		}
		if fault.Path != "" {
			where += fault.Path + ": "
		}
		lines = append(lines, where+fault.Text)
	}
	return strings.Join(lines, "\n")
}

// err sorts the faults; nil when there are none.
func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	slices.SortStableFunc(f, func(a, b Fault) int { return a.Line - b.Line })
	return f
}
