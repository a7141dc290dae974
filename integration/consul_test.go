//go:build integration

package integration

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/berth-project/berth/integration/rig"
)

// catalog follows one service name by blocking queries and notes when each task appeared and went away.
type catalog struct {
	seen chan change
}

type change struct {
	at    time.Time
	tasks map[string]bool // tasks registered now
}

func follow(t *testing.T, consul *rig.Consul, name string) *catalog {
	c := &catalog{seen: make(chan change, 1000)}
	go func() {
		for index := uint64(1); t.Context().Err() == nil; {
			services, next, err := consul.Services(name, index)
			if err != nil {
				return // the test is over and Consul gone
			}
			index = next
			now := change{time.Now(), map[string]bool{}}
			for _, s := range services {
				now.tasks[s.ServiceMeta["berth-task"]] = true
			}
			c.seen <- now
		}
	}()
	return c
}

// gone waits until the task is not registered and says when that was seen.
func (c *catalog) gone(t *testing.T, task string, limit time.Duration) time.Time {
	t.Helper()
	deadline := time.After(limit)
	for {
		select {
		case now := <-c.seen:
			if !now.tasks[task] {
				return now.at
			}
		case <-deadline:
			t.Fatalf("task %s is still in Consul after %v", task, limit)
		}
	}
}

// TestConsulTellsTheTruth: in it when it works, out before it ends, at once when it dies, and never anyone else's entries.
func TestConsulTellsTheTruth(t *testing.T) {
	requireReal(t, "docker", "consul", webImage)
	consul := rig.StartConsul(t)
	foreign := &api.AgentServiceRegistration{ID: "foreign", Name: "web", Address: "192.0.2.1", Port: 80, Tags: []string{"hand-made"}}
	if err := consul.API.Agent().ServiceRegister(foreign); err != nil {
		t.Fatal(err)
	}
	index := foreignIndex(t, consul)
	b := rig.New(t, rig.Options{Binary: binary, Consul: consul})
	app := b.AppID("web")
	// The check fails until the test puts the page there.
	b.Create(b.App("web", webImage, 2, rig.HTTPCheck("/ready"), rig.With("labels", map[string]string{"BERTH_SERVICE": "web", "BERTH_TAGS": "blue,legacy"})))
	var running map[int]rig.Container
	rig.Eventually(t, 30*time.Second, "both containers run", func() (err error) {
		running, err = b.Containers(app)
		if err == nil && len(running) != 2 {
			err = errNotYet
		}
		return err
	})

	ready(b, running[0])
	rig.Eventually(t, 15*time.Second, "the ready instance is in Consul", func() error { return registered(consul, running[0]) })
	if err := registered(consul, running[0], running[1]); err == nil {
		t.Error("an instance whose probe has never passed is in Consul")
	}
	ready(b, running[1])
	rig.Eventually(t, 15*time.Second, "both are in Consul", func() error { return registered(consul, running[0], running[1]) })
	b.Settle(30 * time.Second)

	t.Run("out before TERM", func(t *testing.T) {
		b := b.In(t)
		events, seen := b.Engine.Events(), follow(t, consul, "web")
		b.CLI("scale", app, "1")
		out := seen.gone(t, running[1].Task, 20*time.Second)
		if term := engineEvent(t, events, running[1].ID, "kill"); !out.Before(term) {
			t.Errorf("TERM came %v before Consul was told", out.Sub(term))
		}
		b.Settle(20 * time.Second)
	})
	t.Run("out after its death", func(t *testing.T) {
		b := b.In(t)
		events, seen := b.Engine.Events(), follow(t, consul, "web")
		b.Engine.Docker("kill", running[0].ID)
		out := seen.gone(t, running[0].Task, 20*time.Second)
		t.Logf("it was in Consul for %v after its death", out.Sub(engineEvent(t, events, running[0].ID, "die")))
	})
	var next rig.Container
	rig.Eventually(t, 30*time.Second, "it is replaced", func() (err error) {
		next, err = replaced(b, app, running, 0)
		return err
	})
	ready(b, next)
	rig.Eventually(t, 15*time.Second, "the new one is in Consul", func() error { return registered(consul, next) })
	t.Run("a killed Berth's leftovers", func(t *testing.T) {
		b := b.In(t)
		seen := follow(t, consul, "web")
		b.Kill9()
		// Not by the engine, which would ask for Berth's IPAM driver before it answers.
		if err := syscall.Kill(next.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := registered(consul, next); err != nil {
			t.Fatalf("nobody could have removed it: %v", err)
		}
		b.Start()
		seen.gone(t, next.Task, 15*time.Second)
	})
	if now := foreignIndex(t, consul); now != index {
		t.Errorf("the foreign service was touched: index %d, then %d", index, now)
	}
}

// ready puts the page there that the check asks for.
func ready(b *rig.Berth, c rig.Container) {
	b.Engine.Docker("exec", c.ID, "sh", "-c", "echo ok > /var/www/legacy-web/ready")
}

// registered is an error unless exactly these instances are in Consul, beside the foreign service.
func registered(consul *rig.Consul, want ...rig.Container) error {
	services, _, err := consul.Services("web", 0)
	if err != nil {
		return err
	}
	delete(services, "foreign")
	if len(services) != len(want) {
		return fmt.Errorf("%d services, want %d", len(services), len(want))
	}
	byTask := map[string]*api.CatalogService{}
	for _, s := range services {
		byTask[s.ServiceMeta["berth-task"]] = s
	}
	for _, c := range want {
		s := byTask[c.Task]
		switch {
		case s == nil:
			return fmt.Errorf("task %s is not registered", c.Task)
		case s.ServiceAddress != c.Address || s.ServicePort != 80:
			return fmt.Errorf("task %s is registered with %s:%d, want %s:80", c.Task, s.ServiceAddress, s.ServicePort, c.Address)
		case fmt.Sprint(s.ServiceTags) != "[blue legacy]":
			return fmt.Errorf("task %s has tags %v", c.Task, s.ServiceTags)
		}
	}
	return nil
}

func foreignIndex(t *testing.T, consul *rig.Consul) uint64 {
	t.Helper()
	services, _, err := consul.Services("web", 0)
	if err != nil || services["foreign"] == nil {
		t.Fatalf("the foreign service is gone: %v", err)
	}
	return services["foreign"].ModifyIndex
}

// engineEvent waits for the first such event of a container and says when the engine saw it.
func engineEvent(t *testing.T, events <-chan rig.Event, id, action string) time.Time {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case e := <-events:
			if e.Actor.ID == id && e.Action == action {
				return e.At()
			}
		case <-deadline:
			t.Fatalf("the engine never said %s of %s", action, id)
		}
	}
}
