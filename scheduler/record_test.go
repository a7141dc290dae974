package scheduler

import (
	"strconv"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// TestHistoryIsBounded: quotas that change again and again do not push out how rollouts went, and neither is kept for ever.
func TestHistoryIsBounded(t *testing.T) {
	h := newHistory()
	rollout := func(id string) *spec.Deployment {
		return &spec.Deployment{ID: id, Steps: []spec.Step{{Actions: []spec.Action{{App: "/web"}}}}}
	}
	h.over(rollout("first"), api.DeploymentFinished, time.Time{})
	for i := range 3 * recordedDeployments {
		h.over(&spec.Deployment{ID: strconv.Itoa(i)}, api.DeploymentFinished, time.Time{})
	}
	if n := len(h.finished); n != recordedDeployments+1 || h.finished[0].Deployment.ID != "first" || h.finished[1].Deployment.ID != "100" {
		t.Errorf("%d are left, from %s on", n, h.finished[0].Deployment.ID)
	}
	for i := range 3 * recordedDeployments {
		h.over(rollout("r"+strconv.Itoa(i)), api.DeploymentFinished, time.Time{})
	}
	if n := len(h.finished); n != 2*recordedDeployments || len(h.running) > 0 {
		t.Errorf("%d are left, %d run", n, len(h.running))
	}
}
