package scheduler_test

import (
	"strings"
	"testing"
	"time"

	marathon "github.com/gambol99/go-marathon"
)

func taskCalls() map[string]func(t *testing.T, d *desk) {
	return map[string]func(t *testing.T, d *desk){
		"Tasks": func(t *testing.T, d *desk) {
			d.run(t, "/tasks/a", 2)
			got := must[*marathon.Tasks](t)(d.client.Tasks("/tasks/a"))
			if len(got.Tasks) != 2 || got.Tasks[0].AppID != "/tasks/a" || got.Tasks[0].State != "TASK_RUNNING" || len(got.Tasks[0].HealthCheckResults) != 1 {
				t.Errorf("got %+v", got.Tasks)
			}
		},
		"AllTasks": func(t *testing.T, d *desk) {
			d.run(t, "/all/a", 2)
			n := 0
			for _, task := range must[*marathon.Tasks](t)(d.client.AllTasks(&marathon.AllTasksOpts{Status: "running"})).Tasks {
				if task.AppID == "/all/a" && len(task.ServicePorts) == 1 {
					n++
				}
			}
			if n != 2 {
				t.Errorf("%d tasks", n)
			}
		},
		"TaskEndpoints": func(t *testing.T, d *desk) {
			d.run(t, "/endpoints/a", 2)
			got := must[[]string](t)(d.client.TaskEndpoints("/endpoints/a", 80, true))
			if len(got) != 2 || !strings.Contains(got[0], ":") {
				t.Errorf("got %v", got)
			}
		},
		"KillTask": func(t *testing.T, d *desk) {
			before := d.run(t, "/kill/a", 1)
			if got := must[*marathon.Task](t)(d.client.KillTask(before.Tasks[0].ID, nil)); got.ID != before.Tasks[0].ID {
				t.Errorf("killed %+v", got)
			}
			d.replaced(t, "/kill/a", before)
			_, err := d.client.KillTask("kill_a.instance-00000000-0000-4000-8000-000000000000._app.1", nil)
			refused(t, err, marathon.ErrCodeNotFound)
		},
		"KillTasks": func(t *testing.T, d *desk) {
			before := d.run(t, "/kills/a", 2)
			check(t, d.client.KillTasks([]string{before.Tasks[0].ID, before.Tasks[1].ID}, nil))
			d.replaced(t, "/kills/a", before)
		},
		"KillApplicationTasks": func(t *testing.T, d *desk) {
			before := d.run(t, "/killed/a", 2)
			if got := must[*marathon.Tasks](t)(d.client.KillApplicationTasks("/killed/a", nil)); len(got.Tasks) != 2 {
				t.Errorf("killed %+v", got)
			}
			d.replaced(t, "/killed/a", before)
			_, err := d.client.KillApplicationTasks("/killed/missing", nil)
			refused(t, err, marathon.ErrCodeNotFound)
		},
	}
}

// replaced waits until the app runs as before with none of its old tasks.
func (d *desk) replaced(t *testing.T, id string, before *marathon.Application) {
	t.Helper()
	old := map[string]bool{}
	for _, task := range before.Tasks {
		old[task.ID] = true
	}
	d.until(t, func() bool {
		got := must[*marathon.Application](t)(d.client.Application(id))
		for _, task := range got.Tasks {
			if old[task.ID] {
				return false
			}
		}
		return got.TasksRunning == before.TasksRunning
	})
}

// until asks again and again; every question waits for the server.
func (d *desk) until(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

func groupCalls() map[string]func(t *testing.T, d *desk) {
	group := func(id string) *marathon.Group {
		return marathon.NewApplicationGroup(id).App(app(id+"/db", 1)).App(app(id+"/web", 2).DependsOn(id + "/db"))
	}
	create := func(t *testing.T, d *desk, id string) {
		t.Helper()
		check(t, d.client.CreateGroup(group(id)))
		check(t, d.client.WaitOnGroup(id, patience))
	}
	read := func(t *testing.T, d *desk) {
		id := "/g" + strings.ToLower(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
		create(t, d, id)
		if got := must[*marathon.Group](t)(d.client.Group(id)); got.ID != id || len(got.Apps) != 2 || got.Apps[1].Dependencies[0] != id+"/db" {
			t.Errorf("got %+v", got)
		}
		embed := &marathon.GetGroupOpts{Embed: []string{"group.groups", "group.apps", "group.apps.counts"}}
		if got := must[*marathon.Group](t)(d.client.GroupBy(id, embed)); len(got.Apps) != 2 || got.Apps[1].TasksRunning != 2 {
			t.Errorf("with counts: %+v", got)
		}
		has := func(all *marathon.Groups) bool {
			for _, g := range all.Groups {
				if g.ID == id {
					return true
				}
			}
			return false
		}
		if !has(must[*marathon.Groups](t)(d.client.Groups())) || !has(must[*marathon.Groups](t)(d.client.GroupsBy(embed))) {
			t.Error("not among all groups")
		}
		if !must[bool](t)(d.client.HasGroup(id)) || must[bool](t)(d.client.HasGroup(id+"/none")) {
			t.Error("which groups there are is wrong")
		}
	}
	return map[string]func(t *testing.T, d *desk){
		"Group": read, "GroupBy": read, "Groups": read, "GroupsBy": read, "HasGroup": read,
		"CreateGroup": func(t *testing.T, d *desk) {
			create(t, d, "/gcreate")
			if err := d.client.CreateGroup(group("/gcreate")); err == nil {
				t.Error("created twice")
			}
		},
		"WaitOnGroup": func(t *testing.T, d *desk) {
			create(t, d, "/gwait")
			if got := must[*marathon.Application](t)(d.client.Application("/gwait/web")); got.TasksRunning != 2 {
				t.Errorf("%d run", got.TasksRunning)
			}
		},
		"UpdateGroup": func(t *testing.T, d *desk) {
			create(t, d, "/gupdate")
			next := group("/gupdate")
			next.Apps = next.Apps[:1]
			d.settled(t, must[*marathon.DeploymentID](t)(d.client.UpdateGroup("/gupdate", next, false)))
			if got := must[*marathon.Group](t)(d.client.Group("/gupdate")); len(got.Apps) != 1 {
				t.Errorf("got %+v", got)
			}
		},
		"DeleteGroup": func(t *testing.T, d *desk) {
			create(t, d, "/gdelete")
			d.settled(t, must[*marathon.DeploymentID](t)(d.client.DeleteGroup("/gdelete", false)))
			_, err := d.client.Group("/gdelete")
			refused(t, err, marathon.ErrCodeNotFound)
		},
	}
}

func otherCalls() map[string]func(t *testing.T, d *desk) {
	deployments := func(t *testing.T, d *desk) {
		name := strings.ToLower(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
		id := d.waiting(t, "/"+name+"/a").DeploymentIDs()[0].DeploymentID
		var found *marathon.Deployment
		for _, plan := range must[[]*marathon.Deployment](t)(d.client.Deployments()) {
			if plan.ID == id {
				found = plan
			}
		}
		if found == nil || found.CurrentStep != 2 || found.TotalSteps != 2 || len(found.Steps) != 2 || found.CurrentActions[0].Action != "ScaleApplication" {
			t.Fatalf("got %+v", found)
		}
		if !must[bool](t)(d.client.HasDeployment(id)) || must[bool](t)(d.client.HasDeployment("other")) {
			t.Error("which deployments there are is wrong")
		}
		if err := d.client.WaitOnDeployment(id, 50*time.Millisecond); err == nil {
			t.Error("a deployment that cannot end has ended")
		}
		back := must[*marathon.DeploymentID](t)(d.client.DeleteDeployment(id, false))
		if back.DeploymentID == id {
			t.Error("going back has no id of its own")
		}
		d.settled(t, back)
		_, err := d.client.Application("/" + name + "/a")
		refused(t, err, marathon.ErrCodeNotFound)
		id = d.waiting(t, "/"+name+"/b").DeploymentIDs()[0].DeploymentID
		_, err = d.client.DeleteDeployment(id, true)
		check(t, err)
		if must[bool](t)(d.client.HasDeployment(id)) {
			t.Error("cancelled, but there")
		}
		must[*marathon.Application](t)(d.client.Application("/" + name + "/b"))
		_, err = d.client.DeleteDeployment(id, false)
		refused(t, err, marathon.ErrCodeNotFound)
	}
	gone := func(call func(d *desk) error) func(t *testing.T, d *desk) { // callbacks, until Marathon 1.4
		return func(t *testing.T, d *desk) {
			refused(t, call(d), marathon.ErrCodeNotFound)
			if !must[bool](t)(d.client.Ping()) {
				t.Error("the client gave the host up")
			}
		}
	}
	return map[string]func(t *testing.T, d *desk){
		"Deployments": deployments, "DeleteDeployment": deployments, "HasDeployment": deployments, "WaitOnDeployment": deployments,
		"Queue": func(t *testing.T, d *desk) {
			d.waiting(t, "/queue/a")
			d.until(t, func() bool {
				for _, item := range must[*marathon.Queue](t)(d.client.Queue()).Items {
					if item.Application.ID == "/queue/a" && item.Count == 1 && item.Delay.Overdue {
						return true
					}
				}
				return false
			})
		},
		"DeleteQueueDelay": func(t *testing.T, d *desk) {
			d.waiting(t, "/delay/a")
			d.until(t, func() bool { return d.client.DeleteQueueDelay("/delay/a") == nil })
			refused(t, d.client.DeleteQueueDelay("/delay/missing"), marathon.ErrCodeNotFound)
		},
		"Subscriptions":     gone(func(d *desk) error { _, err := d.client.Subscriptions(); return err }),
		"Subscribe":         gone(func(d *desk) error { return d.client.Subscribe("http://127.0.0.1:1/") }),
		"Unsubscribe":       gone(func(d *desk) error { return d.client.Unsubscribe("http://127.0.0.1:1/") }),
		"AddEventsListener": events, "RemoveEventsListener": events,
		"GetMarathonURL": func(t *testing.T, d *desk) {
			if got := d.client.GetMarathonURL(); got != "http://"+d.door.Addr().String() {
				t.Errorf("got %s", got)
			}
		},
		"Ping": func(t *testing.T, d *desk) {
			if !must[bool](t)(d.client.Ping()) {
				t.Error("no answer")
			}
		},
		"Info": func(t *testing.T, d *desk) {
			got := must[*marathon.Info](t)(d.client.Info())
			if got.Name != "marathon" || !strings.HasPrefix(got.Version, "1.") || got.FrameworkID == "" || got.Leader != d.door.Addr().String() {
				t.Errorf("got %+v", got)
			}
		},
		"Leader": func(t *testing.T, d *desk) {
			if got := must[string](t)(d.client.Leader()); got != d.door.Addr().String() {
				t.Errorf("got %s", got)
			}
		},
		"AbdicateLeader": func(t *testing.T, d *desk) {
			if _, err := d.client.AbdicateLeader(); err == nil || !strings.Contains(err.Error(), "the only one") {
				t.Errorf("got %v", err)
			}
		},
	}
}

// events listens, also across a restart of the scheduler: go-marathon connects again by itself.
func events(t *testing.T, d *desk) {
	name := "/events/" + strings.ToLower(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
	client := d.connect()
	listener := must[marathon.EventsChannel](t)(client.AddEventsListener(
		marathon.EventIDApplications | marathon.EventIDDeploymentSuccess | marathon.EventIDAPIRequest | marathon.EventIDStreamAttached))
	expect := func(what string, is func(e *marathon.Event) bool) {
		t.Helper()
		end := time.After(patience)
		for {
			select {
			case e := <-listener:
				if is(e) {
					return
				}
			case <-end:
				t.Fatalf("no event: %s", what)
			}
		}
	}
	created := func(id string) {
		t.Helper()
		d.run(t, id, 1)
		expect("status of "+id, func(e *marathon.Event) bool {
			status, ok := e.Event.(*marathon.EventStatusUpdate)
			return ok && status.AppID == id && status.TaskStatus == "TASK_RUNNING" && len(status.IPAddresses) == 1
		})
	}
	attached := func(e *marathon.Event) bool { return e.Name == "event_stream_attached" }
	expect("attached", attached)
	created(name + "/before")
	d.stop()
	d.start()
	expect("attached again", attached)
	created(name + "/after")
	client.RemoveEventsListener(listener)
	for range listener { // closed when all is delivered or dropped
	}
}
