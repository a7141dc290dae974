package api

import (
	"net/http"
	"time"

	"github.com/berth-project/berth/spec"
)

// The event types of Marathon that Berth publishes.
const (
	EventAPIPost               = "api_post_event"
	EventPodCreated            = "pod_created_event"
	EventPodUpdated            = "pod_updated_event"
	EventPodDeleted            = "pod_deleted_event"
	EventStatusUpdate          = "status_update_event"
	EventInstanceChanged       = "instance_changed_event"
	EventInstanceHealthChanged = "instance_health_changed_event"
	EventHealthStatusChanged   = "health_status_changed_event"
	EventFailedHealthCheck     = "failed_health_check_event"
	EventAddHealthCheck        = "add_health_check_event"
	EventRemoveHealthCheck     = "remove_health_check_event"
	EventUnhealthyInstanceKill = "unhealthy_instance_kill_event"
	EventAppTerminated         = "app_terminated_event"
	EventGroupChangeSuccess    = "group_change_success"
	EventGroupChangeFailed     = "group_change_failed"
	EventDeploymentInfo        = "deployment_info"
	EventDeploymentStepSuccess = "deployment_step_success"
	EventDeploymentStepFailure = "deployment_step_failure"
	EventDeploymentSuccess     = "deployment_success"
	EventDeploymentFailed      = "deployment_failed"
	EventSchedulerRegistered   = "scheduler_registered_event"
	EventSchedulerReregistered = "scheduler_reregistered_event"
	EventSchedulerDisconnected = "scheduler_disconnected_event"
	EventStreamAttached        = "event_stream_attached"
	EventStreamDetached        = "event_stream_detached"
)

// EventStreamGap is Berth's own: it says that events are missing at this place of a stream. Marathon drops slow readers
// without a word and remembers nothing; clients ignore types that they do not know.
const EventStreamGap = "event_stream_gap"

// EventSeatChanged is Berth's own, too: an instance's share of requests changed, or its maintenance.
const EventSeatChanged = "instance_traffic_event"

// APIPost says that a client stored an app.
func APIPost(app *spec.App, clientIP, uri string, now time.Time) Event {
	return Event{Type: EventAPIPost, At: now, Fields: map[string]any{"clientIp": clientIP, "uri": uri, "appDefinition": app}}
}

// StatusUpdate says that the engine reported a new state of a task.
func StatusUpdate(t *spec.Task, now time.Time) Event {
	return Event{Type: EventStatusUpdate, At: now, later: func() map[string]any {
		return map[string]any{
			"slaveId": t.AgentID, "taskId": t.ID, "taskStatus": t.VisibleState(), "message": t.Message, "appId": t.Seat.App, "host": t.VisibleHost(),
			"ipAddresses": taskAddresses(t), "ports": taskPorts(t), "version": spec.FormatTime(t.AppVersion),
		}
	}}
}

// InstanceChanged says that an instance's condition ("Staging", "Running", "Killed", ...) changed.
func InstanceChanged(t *spec.Task, condition string, now time.Time) Event {
	return Event{Type: EventInstanceChanged, At: now, later: func() map[string]any {
		return map[string]any{
			"instanceId": t.Instance, "condition": condition, "runSpecId": t.Seat.App, "agentId": t.AgentID, "host": t.VisibleHost(),
			"runSpecVersion": spec.FormatTime(t.AppVersion),
		}
	}}
}

// InstanceHealthChanged says that an instance as a whole became healthy or unhealthy.
func InstanceHealthChanged(t *spec.Task, healthy bool, now time.Time) Event {
	return Event{Type: EventInstanceHealthChanged, At: now, Fields: map[string]any{
		"instanceId": t.Instance, "runSpecId": t.Seat.App, "healthy": healthy, "runSpecVersion": spec.FormatTime(t.AppVersion),
	}}
}

// HealthStatusChanged says that one health check of a task flipped. It carries the task's id beside the instance's, as
// clients of before Marathon 1.4 look for the former.
func HealthStatusChanged(t *spec.Task, alive bool, now time.Time) Event {
	return Event{Type: EventHealthStatusChanged, At: now, Fields: map[string]any{
		"appId": t.Seat.App, "taskId": t.ID, "instanceId": t.Instance, "version": spec.FormatTime(t.AppVersion), "alive": alive,
	}}
}

// FailedHealthCheck says that a probe failed and the failure counts. Marathon puts the instance's id in "taskId".
func FailedHealthCheck(t *spec.Task, check spec.HealthCheck, now time.Time) Event {
	return Event{Type: EventFailedHealthCheck, At: now, Fields: map[string]any{
		"appId": t.Seat.App, "taskId": t.Instance, "healthCheck": check,
	}}
}

// AddHealthCheck says that a definition with this check was stored.
func AddHealthCheck(app *spec.App, check spec.HealthCheck, now time.Time) Event {
	return Event{Type: EventAddHealthCheck, At: now, Fields: map[string]any{
		"appId": app.ID, "version": spec.FormatTime(app.Version), "healthCheck": check,
	}}
}

// RemoveHealthCheck says that an app's checks are gone.
func RemoveHealthCheck(app spec.AppID, now time.Time) Event {
	return Event{Type: EventRemoveHealthCheck, At: now, Fields: map[string]any{"appId": app}}
}

// UnhealthyInstanceKill says that a task is killed for its health.
func UnhealthyInstanceKill(t *spec.Task, reason string, now time.Time) Event {
	return Event{Type: EventUnhealthyInstanceKill, At: now, Fields: map[string]any{
		"appId": t.Seat.App, "taskId": t.ID, "instanceId": t.Instance, "version": spec.FormatTime(t.AppVersion),
		"reason": reason, "host": t.VisibleHost(), "slaveId": t.AgentID,
	}}
}

// AppTerminated says that a removed app's last task ended.
func AppTerminated(app spec.AppID, now time.Time) Event {
	return Event{Type: EventAppTerminated, At: now, Fields: map[string]any{"appId": app}}
}

// GroupChangeSuccess says that a plan for apps of the group was stored.
func GroupChangeSuccess(group spec.AppID, version, now time.Time) Event {
	return Event{Type: EventGroupChangeSuccess, At: now, Fields: map[string]any{"groupId": group, "version": spec.FormatTime(version)}}
}

// GroupChangeFailed says that a change was refused.
func GroupChangeFailed(group spec.AppID, version time.Time, reason string, now time.Time) Event {
	return Event{Type: EventGroupChangeFailed, At: now, Fields: map[string]any{
		"groupId": group, "version": spec.FormatTime(version), "reason": reason,
	}}
}

// DeploymentInfo says that a step (an index into d.Steps) begins.
func DeploymentInfo(d *spec.Deployment, step int, now time.Time) Event {
	return deploymentStep(EventDeploymentInfo, d, step, now)
}

// DeploymentStepSuccess says that a step is done.
func DeploymentStepSuccess(d *spec.Deployment, step int, now time.Time) Event {
	return deploymentStep(EventDeploymentStepSuccess, d, step, now)
}

// DeploymentStepFailure says that a step was given up.
func DeploymentStepFailure(d *spec.Deployment, step int, now time.Time) Event {
	return deploymentStep(EventDeploymentStepFailure, d, step, now)
}

func deploymentStep(kind string, d *spec.Deployment, step int, now time.Time) Event {
	current := stepJSON{Actions: []actionJSON{}}
	if step >= 0 && step < len(d.Steps) {
		current = encodeStep(d.Steps[step])
	}
	return Event{Type: kind, At: now, Fields: map[string]any{"plan": encodePlan(d), "currentStep": current}}
}

// DeploymentSuccess says that all steps are done.
func DeploymentSuccess(d *spec.Deployment, now time.Time) Event {
	return Event{Type: EventDeploymentSuccess, At: now, Fields: map[string]any{"id": d.ID, "plan": encodePlan(d)}}
}

// DeploymentFailed says that a deployment was cancelled or given up.
func DeploymentFailed(d *spec.Deployment, reason string, now time.Time) Event {
	return Event{Type: EventDeploymentFailed, At: now, Fields: map[string]any{"id": d.ID, "plan": encodePlan(d), "reason": reason}}
}

// SchedulerRegistered says that the engine gave the framework its id.
func SchedulerRegistered(frameworkID, master string, now time.Time) Event {
	return Event{Type: EventSchedulerRegistered, At: now, Fields: map[string]any{"frameworkId": frameworkID, "master": master}}
}

// SchedulerReregistered says that the connection to the engine is back.
func SchedulerReregistered(master string, now time.Time) Event {
	return Event{Type: EventSchedulerReregistered, At: now, Fields: map[string]any{"master": master}}
}

// SchedulerDisconnected says that the connection to the engine is lost.
func SchedulerDisconnected(now time.Time) Event {
	return Event{Type: EventSchedulerDisconnected, At: now, Fields: map[string]any{}}
}

// podEvent says that a client changed a pod.
func podEvent(kind string, r *http.Request, now time.Time) Event {
	return Event{Type: kind, At: now, Fields: map[string]any{"clientIp": clientIP(r), "uri": r.URL.EscapedPath()}}
}

func streamEvent(kind, remote string, now time.Time) Event {
	return Event{Type: kind, At: now, Fields: map[string]any{"remoteAddress": remote}}
}
