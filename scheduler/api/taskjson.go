package api

import (
	"time"

	"github.com/berth-project/berth/spec"
)

// taskJSON is Marathon's task. Which keys may be missing matters to clients: ports and healthCheckResults never are.
type taskJSON struct {
	ID           string        `json:"id"`
	AppID        spec.AppID    `json:"appId"`
	Host         string        `json:"host"`
	SlaveID      string        `json:"slaveId,omitempty"`
	State        string        `json:"state"`
	StagedAt     string        `json:"stagedAt,omitempty"`
	StartedAt    string        `json:"startedAt,omitempty"`
	Version      string        `json:"version,omitempty"`
	Ports        []int         `json:"ports"`
	ServicePorts []int         `json:"servicePorts,omitempty"`
	IPAddresses  []addressJSON `json:"ipAddresses"`
	Health       []healthJSON  `json:"healthCheckResults"`
	CheckResult  *checkJSON    `json:"checkResult,omitempty"`
	LocalVolumes []localVolume `json:"localVolumes,omitempty"`
	Role         string        `json:"role,omitempty"`
}

// checkJSON is the last result of a check; its one member is empty while there was no answer.
type checkJSON struct {
	HTTP *struct {
		StatusCode int `json:"statusCode,omitempty"`
	} `json:"http,omitempty"`
	TCP *struct {
		Succeeded bool `json:"succeeded"`
	} `json:"tcp,omitempty"`
	Exec *struct {
		ExitCode *int `json:"exitCode,omitempty"`
	} `json:"exec,omitempty"`
}

func encodeCheckResult(r *spec.CheckResult) *checkJSON {
	var out checkJSON
	switch {
	case r == nil:
		return nil
	case r.Protocol == "TCP":
		out.TCP = &struct {
			Succeeded bool `json:"succeeded"`
		}{r.Answered}
	case r.Protocol == "COMMAND":
		out.Exec = &struct {
			ExitCode *int `json:"exitCode,omitempty"`
		}{}
		if r.Answered {
			out.Exec.ExitCode = &r.Code
		}
	default:
		out.HTTP = &struct {
			StatusCode int `json:"statusCode,omitempty"`
		}{r.Code}
	}
	return &out
}

// localVolume is one persistent volume of a task or of a pod's instance.
type localVolume struct {
	RunSpecID     spec.AppID `json:"runSpecId"`
	ContainerPath string     `json:"containerPath"`
	UUID          string     `json:"uuid"`
	PersistenceID string     `json:"persistenceId"`
}

type addressJSON struct {
	IPAddress string `json:"ipAddress"`
	Protocol  string `json:"protocol"`
}

type healthJSON struct {
	InstanceID          string `json:"instanceId"`
	Alive               bool   `json:"alive"`
	ConsecutiveFailures int    `json:"consecutiveFailures"`
	FirstSuccess        string `json:"firstSuccess,omitempty"`
	LastSuccess         string `json:"lastSuccess,omitempty"`
	LastFailure         string `json:"lastFailure,omitempty"`
	LastFailureCause    string `json:"lastFailureCause,omitempty"`
}

func encodeTask(t *spec.Task) taskJSON {
	out := taskJSON{
		ID: t.ID, AppID: t.Seat.App, Host: t.VisibleHost(), SlaveID: t.AgentID, State: t.VisibleState(),
		StagedAt: optionalTime(t.StagedAt), StartedAt: optionalTime(t.StartedAt),
		Ports: taskPorts(t), IPAddresses: taskAddresses(t), Health: []healthJSON{}, CheckResult: encodeCheckResult(t.CheckResult), Role: t.Role,
	}
	if !t.StagedAt.IsZero() || !t.StartedAt.IsZero() {
		out.Version = spec.FormatTime(t.AppVersion)
	}
	for _, h := range t.Health {
		if h.Known {
			out.Health = append(out.Health, healthJSON{
				InstanceID: t.Instance, Alive: h.Alive, ConsecutiveFailures: h.ConsecutiveFailures,
				FirstSuccess: optionalTime(h.FirstSuccess), LastSuccess: optionalTime(h.LastSuccess),
				LastFailure: optionalTime(h.LastFailure), LastFailureCause: h.LastFailureCause,
			})
		}
	}
	out.LocalVolumes = localVolumes(t)
	return out
}

func localVolumes(t *spec.Task) []localVolume {
	var out []localVolume
	for _, v := range t.Volumes {
		out = append(out, localVolume{
			RunSpecID: t.Seat.App, ContainerPath: v.ContainerPath, UUID: v.ID, PersistenceID: v.PersistenceID(t.Seat.App),
		})
	}
	return out
}

func encodeTasks(tasks []*spec.Task) []taskJSON {
	out := make([]taskJSON, 0, len(tasks))
	for _, t := range tasks {
		out = append(out, encodeTask(t))
	}
	return out
}

// taskPorts are the ports at VisibleHost: those published on the host, or the app's own in mode "host".
func taskPorts(t *spec.Task) []int {
	if t.ClientPorts == nil {
		return []int{}
	}
	return t.ClientPorts
}

func taskAddresses(t *spec.Task) []addressJSON {
	if !t.Address.IsValid() {
		return []addressJSON{}
	}
	out := []addressJSON{{IPAddress: t.Address.String(), Protocol: "IPv4"}}
	if t.Twin.IsValid() {
		out = append(out, addressJSON{IPAddress: t.Twin.String(), Protocol: "IPv6"})
	}
	return out
}

func optionalTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return spec.FormatTime(t)
}
