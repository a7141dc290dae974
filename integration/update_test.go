//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/integration/rig"
)

// client50 is a client that asks all instances of an app 50 times a second, as the API names them at that moment.
type client50 struct {
	b     *rig.Berth
	app   string
	floor int

	mu    sync.Mutex // guards what is below
	looks int
	low   []string // looks that saw too few instances answer
}

// watch looks until ctx ends.
func (c *client50) watch(ctx context.Context) {
	var looks sync.WaitGroup
	defer looks.Wait()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			looks.Go(func() { c.look(time.Since(began)) })
		}
	}
}

func (c *client50) look(at time.Duration) {
	tasks, err := c.b.Tasks(c.app)
	answers := make([]string, len(tasks))
	var asked sync.WaitGroup
	for i, t := range tasks {
		asked.Go(func() { answers[i] = ask(t.Address()) })
	}
	asked.Wait()
	answering, text := 0, ""
	for i, a := range answers {
		if a == "" {
			answering++
		}
		text += fmt.Sprintf("\n    %s %s: %s", tasks[i].Address(), tasks[i].State, a)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	if err != nil || answering < c.floor {
		c.low = append(c.low, fmt.Sprintf("at %v: %d answer (%v)%s", at, answering, err, text))
	}
}

// quick gives up after a second and starts a connection each time, as a kept one would not show a closed door.
var quick = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask returns "" or why there was no good answer.
func ask(address string) string {
	if address == "" {
		return "no address"
	}
	resp, err := quick.Get("http://" + address + "/healthz")
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		return resp.Status
	}
	return ""
}

// TestRollingUpdateHoldsTheFloor with the default strategy, and with one that allows no instance more than asked for.
func TestRollingUpdateHoldsTheFloor(t *testing.T) {
	requireReal(t, "docker", webImage)
	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	t.Run("at once", func(t *testing.T) {
		for _, c := range []struct {
			name      string
			instances int
			strategy  map[string]any // nil: the default
		}{
			{"one-default", 1, nil},
			{"one-tight", 1, map[string]any{"minimumHealthCapacity": 1, "maximumOverCapacity": 0}},
			{"four-default", 4, nil},
			{"four-tight", 4, map[string]any{"minimumHealthCapacity": 1, "maximumOverCapacity": 0}},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				b := b.In(t)
				edits := []func(map[string]any){rig.HTTPCheck("/healthz"), rig.With("cpus", 0.3)}
				if c.strategy != nil {
					edits = append(edits, rig.With("upgradeStrategy", c.strategy))
				}
				app := b.AppID(c.name)
				b.Create(b.App(c.name, webImage, c.instances, edits...))
				before := b.Running(app, c.instances, 60*time.Second)
				want := identities(b, before)
				rig.Eventually(t, 10*time.Second, "the first deployment is done", func() error { return idle(b, app) })

				ctx, stop := context.WithCancel(t.Context())
				client := &client50{b: b, app: app, floor: c.instances}
				done := make(chan struct{})
				go func() { client.watch(ctx); close(done) }()
				b.Update(app, map[string]any{"env": map[string]string{"RELEASE": "2"}})
				rig.Eventually(t, 120*time.Second, "the update is done", func() error { return updated(b, app, before, c.instances) })
				stop()
				<-done

				t.Logf("%d looks", client.looks)
				for i, low := range client.low {
					if i < 5 {
						t.Errorf("below the floor of %d %s", c.instances, low)
					}
				}
				if n := len(client.low); n > 5 {
					t.Errorf("and %d more looks below the floor", n-5)
				}
				sameIdentities(t, "the update", want, identities(b, b.Running(app, c.instances, 10*time.Second)))
			})
		}
	})
}

// updated says whether all seats run anew and nothing is deploying.
func updated(b *rig.Berth, app string, before map[int]rig.Container, n int) error {
	now, err := b.Containers(app)
	if err != nil {
		return err
	}
	if len(now) != n {
		return fmt.Errorf("%d containers", len(now))
	}
	for seat, c := range now {
		if c.ID == before[seat].ID {
			return fmt.Errorf("seat %d runs the old version", seat)
		}
	}
	return idle(b, app)
}

// idle says whether no deployment of the app runs.
func idle(b *rig.Berth, app string) error {
	deploying, err := b.Deploying()
	for _, d := range deploying {
		if strings.HasSuffix(d, app) {
			return fmt.Errorf("%s still runs", d)
		}
	}
	return err
}

// TestKilledInTheMiddle: Berth dies 20 times at random moments of rolling updates, and each of them is finished.
func TestKilledInTheMiddle(t *testing.T) {
	requireReal(t, "docker", webImage)
	const kills, instances = 20, 4
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, instances, rig.HTTPCheck("/healthz"), rig.With("cpus", 0.5)))
	before := b.Running(app, instances, 60*time.Second)
	want := identities(b, before)

	release := 0
	for n := range kills {
		if running, err := b.Deploying(); err != nil {
			t.Fatalf("after kill %d: %v", n, err)
		} else if len(running) == 0 {
			release++
			b.Update(app, map[string]any{"env": map[string]string{"RELEASE": fmt.Sprint(release)}})
		}
		<-time.After(time.Duration(random.IntN(1200)) * time.Millisecond)
		b.Kill9()
		b.Start()
	}
	t.Logf("%d updates", release)
	b.Settle(120 * time.Second)
	after := b.Running(app, instances, 10*time.Second)
	sameIdentities(t, "20 kills", want, identities(b, after))
	for seat, c := range after {
		got, err := b.SSH(c.Address).Run("tr '\\0' '\\n' </proc/1/environ | grep ^RELEASE=")
		if err != nil || got != fmt.Sprintf("RELEASE=%d", release) {
			t.Errorf("seat %d runs %q (%v), want release %d", seat, got, err, release)
		}
	}
	if diff := cmp.Diff(instances, attached(b)); diff != "" {
		t.Errorf("endpoints on the network: %s", diff)
	}
	b.Want(200, "DELETE", "/v2/apps"+app, nil, nil)
	b.Settle(30 * time.Second)
	rig.Eventually(t, 15*time.Second, "all addresses are free", func() error {
		if n := attached(b); n > 0 {
			return fmt.Errorf("%d endpoints are left", n)
		}
		return nil
	})
}

// attached counts the containers on the pool's network, as the engine sees them.
func attached(b *rig.Berth) int {
	var n int
	_, _ = fmt.Sscan(b.Engine.Docker("network", "inspect", "--format", "{{len .Containers}}", b.Pool), &n)
	return n
}
