package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// listDeployments is GET /v2/deployments.
func (s *Server) listDeployments(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return err
	}
	out := make([]deploymentJSON, 0, len(snap.Deployments))
	for _, d := range snap.Deployments {
		out = append(out, encodeDeployment(snap, d))
	}
	return respond(w, r, http.StatusOK, out)
}

// deleteDeployment is DELETE /v2/deployments/{id}: with force it stops where it stands (202, no body), otherwise a new
// deployment goes back.
func (s *Server) deleteDeployment(id string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noDryRun(r); err != nil {
			return err
		}
		force := flag(r, "force", false)
		changed, err := s.o.Backend.CancelDeployment(r.Context(), id, force)
		if errors.Is(err, ErrNotFound) {
			return &NotFoundError{Message: "DeploymentPlan " + id + " does not exist"}
		}
		if err != nil {
			return err
		}
		if force || changed == nil {
			w.WriteHeader(http.StatusAccepted)
			return nil
		}
		return respondDeployment(w, r, http.StatusOK, changed)
	}
}

type queueItemJSON struct {
	App   *appInfo          `json:"app,omitempty"`
	Pod   *marathon.PodJSON `json:"pod,omitempty"` // instead of App
	Count int               `json:"count"`
	Role  string            `json:"role,omitempty"`
	Since string            `json:"since"`
	Delay struct {
		TimeLeft int  `json:"timeLeftSeconds"`
		Overdue  bool `json:"overdue"`
	} `json:"delay"`
	Summary    offersSummaryJSON  `json:"processedOffersSummary"`
	LastUnused *[]unusedOfferJSON `json:"lastUnusedOffers,omitempty"`
}

type offersSummaryJSON struct {
	Processed  int           `json:"processedOffersCount"`
	Unused     int           `json:"unusedOffersCount"`
	LastUnused string        `json:"lastUnusedOfferAt,omitempty"`
	LastUsed   string        `json:"lastUsedOfferAt,omitempty"`
	LastOffers []refusalJSON `json:"rejectSummaryLastOffers"`
	Attempt    []refusalJSON `json:"rejectSummaryLaunchAttempt"`
	// Why is Berth's own. It stands here and not beside "app", where strict clients (python3-marathon) refuse unknown keys.
	Why []string `json:"why,omitempty"`
}

type refusalJSON struct {
	Reason    string `json:"reason"`
	Declined  int    `json:"declined"`
	Processed int    `json:"processed"`
}

// getQueue is GET /v2/queue.
func (s *Server) getQueue(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	withOffers := false
	for _, v := range r.URL.Query()["embed"] {
		withOffers = withOffers || v == "lastUnusedOffers"
	}
	out := make([]queueItemJSON, 0, len(snap.Queue))
	for _, q := range snap.Queue {
		item := queueItemJSON{Count: q.Count, Role: q.App.Role, Since: spec.FormatTime(q.Since)}
		if q.App.Pod != nil {
			item.Pod = marathon.EncodePod(q.App)
		} else {
			app := encodeApp(nil, q.App, embed{})
			item.App = &app
		}
		left := q.BackoffUntil.Sub(snap.Now)
		item.Delay.TimeLeft, item.Delay.Overdue = max(0, int(left.Seconds())), left <= 0
		item.Summary = offersSummaryJSON{
			Processed: q.Processed, Unused: q.Unused, LastUnused: optionalTime(q.LastUnused), LastUsed: optionalTime(q.LastUsed),
			LastOffers: encodeRefusals(q.Refusals), Attempt: encodeRefusals(q.Attempt), Why: Texts(q.Why),
		}
		if withOffers {
			unused := encodeUnusedOffers(q.UnusedOffers)
			item.LastUnused = &unused
		}
		out = append(out, item)
	}
	return respond(w, r, http.StatusOK, map[string]any{"queue": out})
}

func encodeRefusals(list []Refusal) []refusalJSON {
	out := make([]refusalJSON, 0, len(list))
	for _, r := range list {
		out = append(out, refusalJSON(r))
	}
	return out
}

// deleteDelay is DELETE /v2/queue/{app}/delay.
func (s *Server) deleteDelay(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := s.o.Backend.ResetDelay(r.Context(), id)
		if errors.Is(err, ErrNotFound) {
			return &NotFoundError{Message: "Application " + string(id) + " not found in tasks queue."}
		}
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// marathonVersion is the Marathon whose behaviour this API has; clients choose forms by it.
const marathonVersion = "1.10.26"

// BridgeName is the ipAddress.networkName that means bridge mode, Marathon's default for it.
const BridgeName = "mesos-bridge"

// getInfo is GET /v2/info.
func (s *Server) getInfo(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return err
	}
	i := s.o.Info
	return respond(w, r, http.StatusOK, map[string]any{
		"name": "marathon", "version": marathonVersion, "buildref": "berth " + i.Version, "elected": true, "leader": i.Leader,
		"frameworkId": snap.FrameworkID,
		"marathon_config": map[string]any{
			"access_control_allow_origin": optionalText(strings.Join(s.o.AllowOrigins, ",")), "checkpoint": true, "default_network_name": optionalText(i.DefaultNetwork),
			"decline_offer_duration": 120000, "env_vars_prefix": nil, "executor": "//cmd",
			"failover_timeout": int(i.FailoverTimeout.Seconds()), "features": []string{}, "framework_name": i.FrameworkName,
			"ha": false, "hostname": i.Hostname, "launch_token": 100, "launch_token_refresh_interval": 30000,
			"leader_proxy_connection_timeout_ms": 5000, "leader_proxy_read_timeout_ms": 10000,
			"local_port_min": i.LocalPortMin, "local_port_max": i.LocalPortMax, "maintenance_mode": i.MaintenanceMode,
			"master": snap.EngineURL, "max_instances_per_offer": 5, "mesos_bridge_name": BridgeName,
			"mesos_heartbeat_interval": 15000, "mesos_heartbeat_failure_threshold": 5, "min_revive_offers_interval": 5000,
			"offer_matching_timeout": 3000, "on_elected_prepare_timeout": 180000, "mesos_leader_ui_url": nil, "mesos_role": i.Role, "mesos_user": i.User, "new_group_enforce_role": "off",
			"reconciliation_initial_delay": 15000, "reconciliation_interval": 600000, "scale_apps_initial_delay": 15000,
			"scale_apps_interval": 300000, "store_cache": true,
			"task_launch_confirm_timeout": i.TaskLaunchWindow.Milliseconds(),
			"task_launch_timeout":         i.TaskLaunchWindow.Milliseconds(), "task_lost_expunge_initial_delay": 300000,
			"task_lost_expunge_interval": 30000, "task_reservation_timeout": 20000, "webui_url": nil,
		},
		"zookeeper_config": map[string]any{
			"zk": "", "zk_compression": false, "zk_compression_threshold": 0, "zk_connection_timeout": 0,
			"zk_max_node_size": 0, "zk_max_versions": 50, "zk_session_timeout": 0, "zk_timeout": 0,
		},
		"http_config": map[string]any{"http_port": i.HTTPPort, "https_port": 0},
	})
}

func optionalText(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// getLeader is GET /v2/leader.
func (s *Server) getLeader(w http.ResponseWriter, r *http.Request) error {
	if s.o.Info.Leader == "" {
		return fail(http.StatusNotFound, "There is no leader")
	}
	return respond(w, r, http.StatusOK, map[string]string{"leader": s.o.Info.Leader})
}

// deleteLeader is DELETE /v2/leader. Marathon's leader steps down and another server takes over; here is no other, and an
// answer that says so is better than an outage.
func (s *Server) deleteLeader(http.ResponseWriter, *http.Request) error {
	return fail(http.StatusConflict, "This scheduler is the only one: there is nobody who could lead instead.")
}

// getPlugins is GET /v2/plugins.
func (s *Server) getPlugins(w http.ResponseWriter, r *http.Request) error {
	return respond(w, r, http.StatusOK, map[string]any{"plugins": []any{}})
}

// ping is GET /ping.
func (s *Server) ping(w http.ResponseWriter, r *http.Request) error {
	switch negotiate(r, "text/plain", "application/json") {
	case "text/plain":
		return respondBytes(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte("pong"))
	case "application/json":
		return respond(w, r, http.StatusOK, "pong")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
