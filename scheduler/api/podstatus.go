package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// podStatusJSON is a pod with what is known of its instances.
type podStatusJSON struct {
	ID                 spec.AppID           `json:"id"`
	Spec               *marathon.PodJSON    `json:"spec"`
	Status             string               `json:"status"`
	StatusSince        string               `json:"statusSince"`
	StatusMessage      string               `json:"statusMessage,omitempty"`
	Instances          []podInstanceJSON    `json:"instances"`
	TerminationHistory []podTerminationJSON `json:"terminationHistory"`
	LastUpdated        string               `json:"lastUpdated"`
	LastChanged        string               `json:"lastChanged"`
}

type podInstanceJSON struct {
	ID            string                    `json:"id"`
	Status        string                    `json:"status"`
	StatusSince   string                    `json:"statusSince"`
	Message       string                    `json:"message,omitempty"`
	AgentHostname string                    `json:"agentHostname,omitempty"`
	AgentID       string                    `json:"agentId,omitempty"`
	Conditions    []statusConditionJSON     `json:"conditions"`
	Resources     marathon.PodResourcesJSON `json:"resources"`
	Networks      []podNetworkJSON          `json:"networks"`
	Containers    []containerStatusJSON     `json:"containers"`
	SpecReference string                    `json:"specReference"`
	LocalVolumes  []localVolume             `json:"localVolumes,omitempty"`
	LastUpdated   string                    `json:"lastUpdated"`
	LastChanged   string                    `json:"lastChanged"`
	Role          string                    `json:"role"`
}

type podNetworkJSON struct {
	Name      string   `json:"name,omitempty"`
	Addresses []string `json:"addresses"`
}

type containerStatusJSON struct {
	Name        string                    `json:"name"`
	Status      string                    `json:"status"`
	StatusSince string                    `json:"statusSince"`
	Message     string                    `json:"message,omitempty"`
	ContainerID string                    `json:"containerId,omitempty"`
	Endpoints   []endpointStatusJSON      `json:"endpoints"`
	Conditions  []statusConditionJSON     `json:"conditions"`
	CheckResult *checkJSON                `json:"checkResult,omitempty"`
	Resources   marathon.PodResourcesJSON `json:"resources"`
	Termination *terminationJSON          `json:"termination,omitempty"`
	LastUpdated string                    `json:"lastUpdated"`
	LastChanged string                    `json:"lastChanged"`
}

type endpointStatusJSON struct {
	Name              string `json:"name"`
	AllocatedHostPort *int   `json:"allocatedHostPort,omitempty"`
	Healthy           *bool  `json:"healthy,omitempty"`
}

type statusConditionJSON struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Reason      string `json:"reason,omitempty"`
	LastUpdated string `json:"lastUpdated"`
	LastChanged string `json:"lastChanged"`
}

type terminationJSON struct {
	ExitCode *int   `json:"exitCode,omitempty"`
	Message  string `json:"message,omitempty"`
}

type podTerminationJSON struct {
	InstanceID   string                     `json:"instanceId"`
	TerminatedAt string                     `json:"terminatedAt"`
	Message      string                     `json:"message,omitempty"`
	Containers   []containerTerminationJSON `json:"containers"`
}

type containerTerminationJSON struct {
	ContainerID    string `json:"containerId"`
	LastKnownState string `json:"lastKnownState"`
}

// Marathon's words for pods and their instances.
const (
	podPending  = "PENDING"
	podStaging  = "STAGING"
	podStable   = "STABLE"
	podDegraded = "DEGRADED"
	podTerminal = "TERMINAL"
)

// listPodStatuses is GET /v2/pods/::status.
func (s *Server) listPodStatuses(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	return respond(w, r, http.StatusOK, podStatuses(&snap.View, snap.Queue, func(spec.AppID) bool { return true }))
}

// getPodStatus is GET /v2/pods/{id}::status.
func (s *Server) getPodStatus(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, err := s.o.Backend.Snapshot(r.Context())
		if err != nil {
			return err
		}
		found := podStatuses(&snap.View, snap.Queue, func(have spec.AppID) bool { return have == id })
		if len(found) == 0 {
			return podMissing(id)
		}
		return respond(w, r, http.StatusOK, found[0])
	}
}

// podStatuses are the statuses of the pods whose ids keep accepts, by id. A pod that is being removed is there as long as
// it has instances. Why one waits is told of those in the queue.
func podStatuses(snap *View, queue []QueueItem, keep func(spec.AppID) bool) []podStatusJSON {
	out := []podStatusJSON{}
	for _, pod := range sortedPods(snap) {
		if keep(pod.ID) {
			out = append(out, podStatus(snap, queue, pod))
		}
	}
	for _, d := range snap.Deployments {
		for id, pod := range d.Original {
			if pod != nil && pod.Pod != nil && snap.Apps[id] == nil && len(snap.Tasks[id]) > 0 && keep(id) {
				status := podStatus(snap, queue, pod)
				status.Status = podTerminal
				out = append(out, status)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b podStatusJSON) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return slices.CompactFunc(out, func(a, b podStatusJSON) bool { return a.ID == b.ID })
}

// podStatus: a pod is stable when it has as many stable instances as it wants.
func podStatus(snap *View, queue []QueueItem, pod *spec.App) podStatusJSON {
	out := podStatusJSON{
		ID: pod.ID, Spec: marathon.EncodePod(pod), Instances: []podInstanceJSON{}, TerminationHistory: []podTerminationJSON{},
		Status: podDegraded, LastUpdated: spec.FormatTime(snap.Now),
	}
	stable, since := 0, pod.Version
	for _, t := range snap.Tasks[pod.ID] {
		i := podInstance(snap, definitionOf(snap, pod, t), t)
		if i.Status == podStable {
			stable++
		}
		if s := statusSince(t); s.After(since) {
			since = s
		}
		out.Instances = append(out.Instances, i)
	}
	if stable >= pod.Instances {
		out.Status = podStable
	}
	if i := slices.IndexFunc(queue, func(q QueueItem) bool { return q.App.ID == pod.ID }); i >= 0 {
		out.StatusMessage = strings.Join(Texts(queue[i].Why), "; ")
	}
	out.StatusSince, out.LastChanged = spec.FormatTime(since), spec.FormatTime(since)
	if f := snap.LastFailure[pod.ID]; f != nil {
		out.TerminationHistory = append(out.TerminationHistory, podTerminationJSON{
			InstanceID: f.TaskID, TerminatedAt: spec.FormatTime(f.Timestamp), Message: f.Message,
			Containers: []containerTerminationJSON{},
		})
	}
	return out
}

// definitionOf is the definition that the task was launched from, if it is still at hand: during an update that is the one
// from before. Otherwise today's is the nearest.
func definitionOf(snap *View, pod *spec.App, t *spec.Task) *spec.App {
	for _, d := range snap.Deployments {
		if was := d.Original[pod.ID]; was != nil && was.Pod != nil && was.LastConfigChange.Equal(t.ConfigVersion) {
			return was
		}
	}
	return pod
}

func podInstance(snap *View, pod *spec.App, t *spec.Task) podInstanceJSON {
	since := spec.FormatTime(statusSince(t))
	out := podInstanceJSON{
		ID: t.Instance, Status: podInstanceStatus(pod, t), StatusSince: since, LastUpdated: spec.FormatTime(snap.Now), LastChanged: since,
		Message: t.Message, AgentHostname: t.VisibleHost(), AgentID: t.AgentID, Role: cmp.Or(t.Role, pod.Role), Conditions: []statusConditionJSON{},
		Resources: marathon.PodResourcesJSON{CPUs: pod.CPUs, Mem: pod.Mem, Disk: pod.Disk, GPUs: pod.GPUs},
		Networks:  []podNetworkJSON{}, Containers: []containerStatusJSON{},
		SpecReference: "/v2/pods" + string(pod.ID) + "::versions/" + spec.FormatTime(t.AppVersion),
		LocalVolumes:  localVolumes(t),
	}
	if t.Address.IsValid() {
		out.Networks = append(out.Networks, podNetworkJSON{Name: t.Pool, Addresses: []string{t.Address.String()}})
	}
	ports := hostPortsByEndpoint(pod, t)
	for i := range pod.Pod.Containers {
		out.Containers = append(out.Containers, containerStatus(snap, pod, &pod.Pod.Containers[i], t, ports))
	}
	return out
}

// podInstanceStatus: an instance is stable when it runs and each of its checks has succeeded.
func podInstanceStatus(pod *spec.App, t *spec.Task) string {
	switch {
	case t.Rung == spec.Terminal || t.Rung == spec.Killing:
		return podTerminal
	case !t.UnreachableSince.IsZero():
		return podDegraded
	case t.Rung == spec.Created || t.Rung == spec.Launched:
		return podPending
	case t.Rung == spec.Staged:
		return podStaging
	}
	for i := range pod.HealthChecks {
		if i >= len(t.Health) || !t.Health[i].Known || !t.Health[i].Alive {
			return podDegraded
		}
	}
	return podStable
}

// statusSince is when the task came where it stands.
func statusSince(t *spec.Task) time.Time {
	switch {
	case !t.EndedAt.IsZero():
		return t.EndedAt
	case !t.KillWanted.IsZero():
		return t.KillWanted
	case !t.UnreachableSince.IsZero():
		return t.UnreachableSince
	case !t.StartedAt.IsZero():
		return t.StartedAt
	case !t.StagedAt.IsZero():
		return t.StagedAt
	}
	return t.CreatedAt
}

// hostPortsByEndpoint are the ports that lead to the endpoints at the task's visible host, by name: those that it has from
// the host, in the order of the endpoints that ask for one; in host mode every port of its own.
func hostPortsByEndpoint(pod *spec.App, t *spec.Task) map[string]int {
	out := map[string]int{}
	hostMode := len(pod.Networks) > 0 && pod.Networks[0].Mode == spec.NetworkHost
	next, i := 0, 0
	for _, c := range pod.Pod.Containers {
		for _, e := range c.Endpoints {
			if hostMode && i < len(t.Ports) {
				out[e.Name] = t.Ports[i]
			}
			i++
			if !hostMode && e.HostPort != nil && next < len(t.HostPorts) {
				out[e.Name] = t.HostPorts[next]
				next++
			}
		}
	}
	return out
}

func containerStatus(snap *View, pod *spec.App, c *spec.PodContainer, t *spec.Task, ports map[string]int) containerStatusJSON {
	out := containerStatusJSON{
		Name: c.Name, Status: "TASK_STAGING", Endpoints: []endpointStatusJSON{}, Conditions: []statusConditionJSON{},
		Resources: marathon.PodResourcesJSON{CPUs: c.CPUs, Mem: c.Mem, Disk: c.Disk, GPUs: c.GPUs}, LastUpdated: spec.FormatTime(snap.Now),
	}
	since := statusSince(t)
	if i := slices.IndexFunc(t.Containers, func(run spec.TaskContainer) bool { return run.Name == c.Name }); i >= 0 {
		run := t.Containers[i]
		out.ContainerID, out.Message, out.CheckResult = run.TaskID, run.Message, encodeCheckResult(run.CheckResult)
		if run.State != "" {
			out.Status = run.State
		}
		if !run.Since.IsZero() {
			since = run.Since
		}
		if spec.TerminalState(run.State) {
			out.Termination = &terminationJSON{ExitCode: run.ExitCode, Message: run.Message}
		}
	}
	out.StatusSince, out.LastChanged = spec.FormatTime(since), spec.FormatTime(since)
	health := containerHealth(pod, c, t)
	if c.HealthCheck != nil && out.Status == "TASK_RUNNING" {
		out.Conditions = append(out.Conditions, healthCondition(snap, health, since))
	}
	for _, e := range c.Endpoints {
		status := endpointStatusJSON{Name: e.Name}
		if port, allocated := ports[e.Name]; allocated {
			status.AllocatedHostPort = &port
		}
		if health != nil && c.HealthCheck.Endpoint == e.Name {
			status.Healthy = &health.Alive
		}
		out.Endpoints = append(out.Endpoints, status)
	}
	return out
}

// containerHealth is the last result of the container's check; nil when it has none, or there was none yet.
func containerHealth(pod *spec.App, c *spec.PodContainer, t *spec.Task) *spec.CheckHealth {
	for i, check := range pod.HealthChecks {
		if check.Container == c.Name && i < len(t.Health) && t.Health[i].Known {
			return &t.Health[i]
		}
	}
	return nil
}

// healthCondition: without any result a container counts as not healthy.
func healthCondition(snap *View, h *spec.CheckHealth, since time.Time) statusConditionJSON {
	out := statusConditionJSON{Name: "healthy", Value: "false", Reason: "health-unreported-by-mesos", LastUpdated: spec.FormatTime(snap.Now)}
	if h != nil {
		out.Value, out.Reason = strconv.FormatBool(h.Alive), "health-reported-by-mesos"
		if since = h.FirstSuccess; !h.Alive || since.IsZero() {
			since = h.LastFailure
		}
	}
	out.LastChanged = spec.FormatTime(since)
	return out
}
