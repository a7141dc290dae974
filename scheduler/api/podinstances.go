package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// instanceJSON is Marathon's instance (1.8 and later), the answer to its kill. It tells what the instance was.
type instanceJSON struct {
	InstanceID     string         `json:"instanceId"`
	State          instanceState  `json:"state"`
	AgentInfo      *agentInfoJSON `json:"agentInfo,omitempty"`
	RunSpecVersion string         `json:"runSpecVersion"`
	Unreachable    any            `json:"unreachableStrategy"`
}

type instanceState struct {
	Condition   string `json:"condition"`
	Since       string `json:"since"`
	ActiveSince string `json:"activeSince,omitempty"`
	Healthy     *bool  `json:"healthy,omitempty"`
	Goal        string `json:"goal"`
}

type agentInfoJSON struct {
	Host       string   `json:"host"`
	AgentID    string   `json:"agentId,omitempty"`
	Attributes []string `json:"attributes"`
}

func encodeInstance(pod *spec.App, t *spec.Task) instanceJSON {
	out := instanceJSON{
		InstanceID: t.Instance, RunSpecVersion: spec.FormatTime(t.AppVersion),
		State: instanceState{
			Condition: condition(t), Since: spec.FormatTime(statusSince(t)), ActiveSince: optionalTime(t.StartedAt),
			Healthy: taskAlive(t), Goal: "Running",
		},
		Unreachable: marathon.EncodeUnreachable(pod.Unreachable),
	}
	if t.Host != "" {
		out.AgentInfo = &agentInfoJSON{Host: t.VisibleHost(), AgentID: t.AgentID, Attributes: []string{}}
	}
	return out
}

// condition is Marathon's word for where an instance stands.
func condition(t *spec.Task) string {
	if t.Rung == spec.Created || t.Rung == spec.Launched {
		return "Provisioned"
	}
	word := strings.ToLower(strings.TrimPrefix(t.VisibleState(), "TASK_"))
	return strings.ToUpper(word[:1]) + word[1:]
}

// deletePodInstance is DELETE /v2/pods/{id}::instances/{instanceId}.
func (s *Server) deletePodInstance(id spec.AppID, instance string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		killed, err := s.killPodInstances(r, id, []string{instance})
		if err != nil {
			return err
		}
		if len(killed) == 0 {
			return &NotFoundError{Message: "Instance '" + instance + "' does not exist"}
		}
		return respond(w, r, http.StatusOK, killed[0])
	}
}

// deletePodInstances is DELETE /v2/pods/{id}::instances with a list of instance ids; unknown ones are skipped.
func (s *Server) deletePodInstances(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		var ids []string
		if err := decodeJSON(body, &ids); err != nil {
			return err
		}
		killed, err := s.killPodInstances(r, id, ids)
		if err != nil {
			return err
		}
		return respond(w, r, http.StatusOK, killed)
	}
}

// killPodInstances kills those of the instances that are the pod's.
func (s *Server) killPodInstances(r *http.Request, id spec.AppID, instances []string) ([]instanceJSON, error) {
	if err := noDryRun(r); err != nil {
		return nil, err
	}
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return nil, err
	}
	pod := snap.pod(id)
	if pod == nil {
		return nil, podMissing(id)
	}
	out := []instanceJSON{}
	var ids []string
	for _, t := range snap.Tasks[id] {
		if slices.Contains(instances, t.Instance) {
			ids = append(ids, t.ID)
			out = append(out, encodeInstance(pod, t))
		}
	}
	o := KillOptions{Wipe: flag(r, "wipe", false)}
	for _, name := range instances {
		// A seat that waits for the host of its volumes has no instance, but the queue tells its name.
		if seat, err := spec.ParseSeatID(name); err == nil && seat.App == id {
			o.Seats = append(o.Seats, seat)
		}
	}
	_, _, err = s.o.Backend.Kill(r.Context(), ids, o)
	return out, err
}
