package spec

import "time"

// ActionKind is Marathon's name of a deployment action.
type ActionKind string

// The deployment actions.
const (
	StartApplication   ActionKind = "StartApplication"
	ScaleApplication   ActionKind = "ScaleApplication"
	RestartApplication ActionKind = "RestartApplication"
	StopApplication    ActionKind = "StopApplication"
)

// A pod's actions have names of their own for clients (see ActionKind.ForPod).
const (
	startPod   ActionKind = "StartPod"
	scalePod   ActionKind = "ScalePod"
	restartPod ActionKind = "RestartPod"
	stopPod    ActionKind = "StopPod"
)

// ForPod is Marathon's name of the action when the run spec is a pod.
func (k ActionKind) ForPod() ActionKind {
	switch k {
	case StartApplication:
		return startPod
	case ScaleApplication:
		return scalePod
	case RestartApplication:
		return restartPod
	case StopApplication:
		return stopPod
	}
	return k
}

// Action is one app's part of a step, with the reason it is there.
type Action struct {
	Kind   ActionKind
	App    AppID
	Pod    bool // the run spec is a pod
	Reason string
}

// Step is a set of actions that run side by side.
type Step struct{ Actions []Action }

// Deployment is the ordered way from the apps that were to the apps that are wanted.
type Deployment struct {
	ID      string
	Version time.Time
	Steps   []Step
	// Current is the index of the running step, from 0; len(Steps) when done.
	Current int
	// StepSince is when the current step began.
	StepSince time.Time
	// Original holds the affected apps as they were; nil value: the app did not exist. OriginalGroups the same for groups.
	Original       map[AppID]*App
	OriginalGroups map[AppID]*Group
	// Drain is the host that the deployment empties; "": it is one of a change. It locks no app: whatever changes one meanwhile goes on
	// beside it, and the drain with what is wanted then.
	Drain string `json:",omitempty"`
}

// HostDrain is an operator's wish that a host is emptied and gets nothing new. It holds until the operator ends it.
type HostDrain struct {
	Host   string
	Reason string `json:",omitempty"` // for people
	Since  time.Time
}

// Text is the wish in words.
func (d HostDrain) Text() string {
	text := "the host is drained since " + FormatTime(d.Since)
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text
}

// Affects says whether the deployment touches the app.
func (d *Deployment) Affects(app AppID) bool {
	for _, s := range d.Steps {
		for _, a := range s.Actions {
			if a.App == app {
				return true
			}
		}
	}
	return false
}
