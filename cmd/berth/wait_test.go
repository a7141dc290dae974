package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
	"github.com/berth-project/berth/spec"
)

// cancelling ends the command's context at the first line of progress, as Ctrl-C would.
type cancelling struct {
	strings.Builder
	cancel context.CancelFunc
}

func (c *cancelling) Write(b []byte) (int, error) {
	c.cancel()
	return c.Builder.Write(b)
}

// waiting is a command line before a world in which /web is held, and its deployment.
func waiting(t *testing.T) (world *apitest.World, a *apiClient, ctx context.Context, cancel context.CancelFunc, deployment string) {
	t.Helper()
	events := api.NewLog(0)
	world = apitest.New(events)
	world.Hold("/web", api.QueueItem{Why: []api.Reason{{Kind: api.ReasonHosts, Text: "no memory"}}})
	server, err := api.New(api.Options{Backend: world, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "api.sock")
	listener, err := api.ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(serving, []api.Listener{{Listener: listener}}) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	ctx, cancel = context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if a, err = newAPIClient(ctx, "unix://"+socket, ""); err != nil {
		t.Fatal(err)
	}
	var result struct{ DeploymentID string }
	if _, err := a.call("PUT", "/v2/apps/web", []byte(`{"cmd":"sleep 1"}`), &result); err != nil {
		t.Fatal(err)
	}
	world.Step() // past the step that only registers the app
	return world, a, ctx, cancel, result.DeploymentID
}

func TestInterruptedWaitEndsNothing(t *testing.T) {
	world, a, ctx, cancel, id := waiting(t)
	err := &cancelling{cancel: cancel}
	c := &cli{out: new(strings.Builder), err: err}
	failed := c.await(ctx, a, waitFlags{wait: true, set: true}, id, []spec.AppID{"/web"})
	if !errors.Is(failed, errInterrupted) || !strings.Contains(failed.Error(), "deployment "+id+" goes on") {
		t.Errorf("got %v", failed)
	}
	if !strings.Contains(err.String(), "/web 0/1 ready, waits: no memory") {
		t.Errorf("progress: %q", err.String())
	}
	snap, _ := world.Snapshot(t.Context())
	if len(snap.Deployments) != 1 {
		t.Errorf("%d deployments are left", len(snap.Deployments))
	}
}

func TestWaitSaysThatADeploymentWasCancelled(t *testing.T) {
	world, a, ctx, _, id := waiting(t)
	drop := func() { _, _ = world.CancelDeployment(ctx, id, true) }
	c := &cli{out: new(strings.Builder), err: &cancelling{cancel: drop}}
	err := c.await(ctx, a, waitFlags{wait: true, set: true}, id, []spec.AppID{"/web"})
	if err == nil || !strings.Contains(err.Error(), "ended early") || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("got %v", err)
	}
}

func TestStatusLineIsRedrawnOnATerminal(t *testing.T) {
	var out strings.Builder
	line := &statusLine{c: &cli{err: &out, tty: true}}
	line.show("one")
	line.show("one")
	line.show(strings.Repeat("x", 300))
	line.end()
	if got := out.String(); strings.Contains(got, "\n") || strings.Count(got, "\x1b[K") != 3 || !strings.Contains(got, "…") {
		t.Errorf("drawn: %q", got)
	}
}
