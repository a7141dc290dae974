package api_test

import (
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	marathon "github.com/gambol99/go-marathon"
)

func goMarathon(t *testing.T, f *fixture) marathon.Marathon {
	t.Helper()
	config := marathon.NewDefaultConfig()
	config.URL = f.url
	config.PollingWaitTime = time.Millisecond
	config.EventsTransport = marathon.EventsTransportSSE
	client, err := marathon.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func errCode(err error) int {
	var e *marathon.APIError
	if errors.As(err, &e) {
		return e.ErrCode
	}
	return -1
}

// The client that users have goes through the life of an app.
func TestGoMarathon(t *testing.T) {
	f := newFixture(t)
	f.world.StepOnRead()
	client := goMarathon(t, f)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	events, err := client.AddEventsListener(marathon.EventIDAPIRequest | marathon.EventIDDeploymentSuccess | marathon.EventIDStatusUpdate |
		marathon.EventIDStreamAttached)
	must("listen", err)
	next := func() *marathon.Event {
		t.Helper()
		select {
		case e := <-events:
			return e
		case <-time.After(20 * time.Second):
			t.Fatal("no event comes")
			return nil
		}
	}
	if e := next(); e.Name != "event_stream_attached" {
		t.Fatalf("first event is %s", e.Name)
	}

	app := marathon.NewDockerApplication().Name("/shop/web").CPU(0.5).Memory(64).Count(2)
	app.Container.Docker.Container("web:1").Bridged().Expose(80)
	app.AddHealthCheck(*marathon.NewDefaultHealthCheck().SetPath("/").SetPortIndex(0))
	created, err := client.CreateApplication(app)
	must("create", err)
	if created.Version == "" || created.ID != "/shop/web" {
		t.Errorf("created %q in version %q", created.ID, created.Version)
	}
	must("wait", client.WaitOnApplication("/shop/web", 10*time.Second))
	for _, id := range created.DeploymentIDs() {
		must("wait for deployment", client.WaitOnDeployment(id.DeploymentID, 10*time.Second))
	}
	got, err := client.ApplicationBy("/shop/web", &marathon.GetAppOpts{Embed: []string{"app.taskStats"}})
	must("get", err)
	if got.TasksRunning != 2 || got.TasksHealthy != 2 || len(got.Tasks) != 2 || !got.AllTaskRunning() {
		t.Errorf("running %d, healthy %d, tasks %d", got.TasksRunning, got.TasksHealthy, len(got.Tasks))
	}
	if s := got.TaskStats["totalSummary"].Stats.Counts["running"]; s != 2 {
		t.Errorf("task statistics count %d running", s)
	}
	ok, err := client.ApplicationOK("/shop/web")
	must("ok", err)
	if !ok {
		t.Error("the application is not OK")
	}
	_, err = client.CreateApplication(app)
	if errCode(err) != marathon.ErrCodeDuplicateID {
		t.Errorf("second create: %v", err)
	}

	d, err := client.ScaleApplicationInstances("/shop/web", 3, false)
	must("scale", err)
	must("wait for scale", client.WaitOnDeployment(d.DeploymentID, 10*time.Second))
	list, err := client.Applications(url.Values{"label": {"missing"}})
	must("list", err)
	if len(list.Apps) != 0 {
		t.Errorf("label filter let %d through", len(list.Apps))
	}
	tasks, err := client.AllTasks(&marathon.AllTasksOpts{Status: "running"})
	must("tasks", err)
	if len(tasks.Tasks) != 3 || len(tasks.Tasks[0].ServicePorts) != 1 {
		t.Fatalf("tasks: %v", tasks)
	}
	killed, err := client.KillTask(tasks.Tasks[0].ID, nil)
	must("kill", err)
	if killed.ID != tasks.Tasks[0].ID {
		t.Errorf("killed %q", killed.ID)
	}
	must("kill many", client.KillTasks([]string{tasks.Tasks[1].ID}, nil))
	_, err = client.KillApplicationTasks("/shop/web", nil)
	must("kill all", err)
	must("wait again", client.WaitOnApplication("/shop/web", 10*time.Second))

	versions, err := client.ApplicationVersions("/shop/web")
	must("versions", err)
	oldest := versions.Versions[len(versions.Versions)-1]
	_, err = client.SetApplicationVersion("/shop/web", &marathon.ApplicationVersion{Version: oldest})
	must("roll back", err)
	has, err := client.HasApplicationVersion("/shop/web", oldest)
	if !has || err != nil {
		t.Errorf("has version: %v, %v", has, err)
	}
	_, err = client.RestartApplication("shop/web", true)
	must("restart", err)
	queue, err := client.Queue()
	must("queue", err)
	if len(queue.Items) != 0 {
		t.Errorf("queue: %v", queue.Items)
	}
	info, err := client.Info()
	must("info", err)
	leader, err := client.Leader()
	must("leader", err)
	if info.FrameworkID != "framework-1" || leader != "127.0.0.1:8080" {
		t.Errorf("framework %q, leader %q", info.FrameworkID, leader)
	}
	if up, err := client.Ping(); !up || err != nil {
		t.Errorf("ping: %v, %v", up, err)
	}
	_, err = client.UpdateApplication(&marathon.Application{ID: "/shop/web", Instances: new(int), CPUs: -1}, false)
	if errCode(err) == -1 {
		t.Errorf("bad update: %v", err)
	}
	d, err = client.DeleteApplication("/shop/web", true)
	must("delete", err)
	must("wait for delete", client.WaitOnDeployment(d.DeploymentID, 10*time.Second))
	if _, err = client.Application("/shop/web"); errCode(err) != marathon.ErrCodeNotFound {
		t.Errorf("after delete: %v", err)
	}

	var seen []string
	for !slices.Contains(seen, "deployment_success") || !slices.Contains(seen, "status_update_event") || !slices.Contains(seen, "api_post_event") {
		e := next()
		seen = append(seen, e.Name)
		if post, ok := e.Event.(*marathon.EventAPIRequest); ok && post.AppDefinition.ID != "/shop/web" {
			t.Errorf("api_post_event is about %q", post.AppDefinition.ID)
		}
	}
	client.RemoveEventsListener(events)
}
