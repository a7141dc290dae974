package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := handlerFixture(t, func(o *api.Options) { o.Now = time.Now })
		for _, c := range []struct{ method, path, body string }{
			{"POST", "/v2/apps", `{"id":"/a/b/web","cmd":"sleep 1","instances":3}`}, {"POST", "/v2/apps", `{"id":"/a/db","cmd":"sleep 1"}`},
			{"POST", "/v2/apps", "{"}, {"GET", "/nothing", ""}, {"GET", "/ping", ""},
		} {
			_, _ = f.ask(t, c.method, c.path, c.body)
		}
		f.world.Step()
		f.world.Step()
		ctx, leave := context.WithCancel(t.Context())
		out := &stream{}
		done := attach(ctx, f.server, out, "/v2/events")
		synctest.Wait()
		time.Sleep(10 * time.Second)

		var got struct {
			Gauges   map[string]struct{ Value float64 }
			Counters map[string]struct{ Count int }
			Meters   map[string]struct{ Count int }
			Timers   map[string]struct{ Count int }
		}
		_, answer := f.ask(t, "GET", "/metrics", "")
		if err := json.Unmarshal(answer, &got); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]float64{
			"marathon.apps.active.gauge": 2, "marathon.pods.active.gauge": 0, "marathon.groups.active.gauge": 3, "marathon.deployments.active.gauge": 2,
			"marathon.instances.staged.gauge": 4, "marathon.instances.running.gauge": 0, "marathon.uptime.gauge.seconds": 10,
			"marathon.http.requests.active.gauge": 1, "marathon.http.event-streams.active.gauge": 1, "berth.engine.connected.gauge": 1,
		} {
			if g, ok := got.Gauges[name]; !ok || g.Value != want {
				t.Errorf("%s is %v (there: %v), want %v", name, g.Value, ok, want)
			}
		}
		if n := got.Meters["marathon.http.responses.2xx.rate.meter"].Count; n != 3 {
			t.Errorf("%d good answers, want 3", n)
		}
		if n := got.Meters["marathon.http.responses.4xx.rate.meter"].Count; n != 2 {
			t.Errorf("%d refusals, want 2", n)
		}
		if n := got.Timers["marathon.http.requests.duration.timer.seconds"].Count; n != 5 {
			t.Errorf("%d durations, want 5: the stream does not count", n)
		}
		if _, ok := got.Counters["marathon.tasks.launched.counter"]; !ok {
			t.Error("no counter of tasks")
		}
		resp, answer := f.ask(t, "GET", "/metrics/prometheus", "")
		if !strings.Contains(string(answer), "\nmarathon_apps_active_gauge 2\n") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
			t.Errorf("%s\n%s", resp.Header, answer)
		}
		leave()
		<-done
	})
}

// The level changes for the time asked for, and what was set for good before comes back.
func TestLogging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		level := logrus.New()
		f := handlerFixture(t, func(o *api.Options) { o.Level = level })
		set := func(body string, want int) {
			t.Helper()
			if resp, answer := f.ask(t, "POST", "/logging", body); resp.StatusCode != want {
				t.Errorf("%s: %d %s", body, resp.StatusCode, answer)
			}
		}
		is := func(want string) {
			t.Helper()
			synctest.Wait()
			if _, answer := f.ask(t, "GET", "/logging", ""); string(answer) != `{"ROOT":"`+want+`"}` {
				t.Errorf("%s, want %s", answer, want)
			}
		}
		is("INFO")
		set(`{"level":"DEBUG","logger":"ROOT","durationSeconds":60}`, 200)
		is("DEBUG")
		time.Sleep(30 * time.Second)
		set(`{"level":"trace","durationSeconds":60}`, 200) // in its place, from now on
		time.Sleep(40 * time.Second)
		is("TRACE")
		time.Sleep(21 * time.Second)
		is("INFO")
		set(`{"level":"debug","durationSeconds":60}`, 200)
		set(`{"level":"warn"}`, 200)
		time.Sleep(time.Hour)
		is("WARN")
		set(`{"level":"loud","logger":"root"}`, 422)
		set(`{"level":"info","logger":"mesosphere.marathon"}`, 422)
		set(`{"level":"info","durationSeconds":0}`, 422)
		set(`{"level":"info","durationSeconds":"x"}`, 422)
		set(`{"level":`, 400)
		is("WARN")
	})
	f := handlerFixture(t, func(o *api.Options) { o.Level = nil })
	if resp, _ := f.ask(t, "GET", "/logging", ""); resp.StatusCode != 404 {
		t.Errorf("without a level: %d", resp.StatusCode)
	}
}

func TestOtherOrigins(t *testing.T) {
	if _, err := api.New(api.Options{Backend: handlerFixture(t).world, Events: api.NewLog(0), AllowOrigins: []string{"ui.example.com"}}); err == nil {
		t.Error("an origin without scheme is taken")
	}
	f := handlerFixture(t, func(o *api.Options) { o.AllowOrigins = []string{"https://ui.example.com"} })
	for _, c := range []struct {
		origin string
		status int
	}{{"", 200}, {"https://ui.example.com", 200}, {"https://other.example.com", 403}, {"http://example.com", 200}} { // the last is the API's own
		resp, _ := f.ask(t, "GET", "/v2/apps", "", "Origin", c.origin)
		if allowed := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != c.status || (allowed != "") != (c.origin == "https://ui.example.com") {
			t.Errorf("%s: %d, allowed %q", c.origin, resp.StatusCode, allowed)
		}
	}
	r, _ := http.NewRequest(http.MethodOptions, "/v2/apps", nil)
	r.Header.Set("Origin", "https://ui.example.com")
	r.Header.Set("Access-Control-Request-Method", "PUT")
	w := &stream{header: http.Header{}}
	f.server.Handler("secret").ServeHTTP(w, r) // the browser asks without the token
	if w.code != 200 || !strings.Contains(w.header.Get("Access-Control-Allow-Methods"), "PUT") {
		t.Errorf("preflight: %d %v", w.code, w.header)
	}
}

// More requests than the bound are refused, streams do not count.
func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := handlerFixture(t, func(o *api.Options) { o.MaxConcurrent = 1 })
		slow := &slowBackend{World: f.world, begun: make(chan struct{}), finish: make(chan struct{})}
		o := options(f.world)
		o.Backend, o.MaxConcurrent = slow, 1
		var err error
		if f.server, err = api.New(o); err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		out := &stream{}
		streamed := attach(ctx, f.server, out, "/v2/events")
		synctest.Wait()
		posted := make(chan int)
		go func() {
			resp, _ := f.ask(t, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1"}`)
			posted <- resp.StatusCode
		}()
		<-slow.begun
		if resp, answer := f.ask(t, "GET", "/ping", ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("beside a running request: %d %s", resp.StatusCode, answer)
		}
		close(slow.finish)
		if code := <-posted; code != 201 {
			t.Errorf("the running request got %d", code)
		}
		if resp, _ := f.ask(t, "GET", "/ping", ""); resp.StatusCode != 200 {
			t.Errorf("afterwards: %d", resp.StatusCode)
		}
		leave()
		<-streamed
	})
}
