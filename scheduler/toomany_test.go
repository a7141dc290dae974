package scheduler

import (
	"fmt"
	"testing"
	"testing/synctest"
)

// TestTooManyDeployments: at the limit a further deployment is refused with 403; what ends another one, or needs none, is not.
func TestTooManyDeployments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t) // no host: what needs a task waits
		defer p.stop()
		for i := range 100 {
			p.answer(201, "POST", "/v2/apps", fmt.Sprintf(`{"id":"/a%d","cmd":"run","cpus":0.1,"portDefinitions":[]}`, i), nil)
		}
		var refused struct{ Message string }
		p.answer(403, "POST", "/v2/apps", `{"id":"/more","cmd":"run"}`, &refused)
		if refused.Message == "" {
			t.Error("no reason is given")
		}
		p.answer(404, "GET", "/v2/apps/more", "", nil)
		p.answer(403, "PUT", "/v2/groups/g", `{"apps":[{"id":"x","cmd":"run"}]}`, nil)
		p.answer(200, "POST", "/v2/apps?dryRun=true", `{"id":"/more","cmd":"run"}`, nil)
		p.answer(200, "PUT", "/v2/apps/a0", `{"cpus":0.1}`, nil) // nothing to do
		p.answer(200, "PUT", "/v2/apps/a0?force=true", `{"cpus":0.2}`, nil)
		var running []struct{ ID string }
		p.answer(200, "GET", "/v2/deployments", "", &running)
		if len(running) != 100 {
			t.Fatalf("%d deployments", len(running))
		}
		p.answer(200, "DELETE", "/v2/deployments/"+running[1].ID, "", nil)
		p.answer(200, "DELETE", "/v2/apps/a5", "", nil) // force is its default
		synctest.Wait()
		p.answer(201, "POST", "/v2/apps", `{"id":"/more","cmd":"run"}`, nil)
	})
}
