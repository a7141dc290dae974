package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/berth-project/berth/images/drift"
	"github.com/berth-project/berth/images/instance"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

func TestMain(m *testing.M) {
	if fleet := os.Getenv(engineFleet); fleet != "" {
		os.Exit(rehearsalEngine(fleet))
	}
	testscript.Main(m, map[string]func(){"berth": func() { os.Exit(berth()) }})
}

type worldKey struct{}

// TestScripts runs the command line against a small world behind a real API on a unix socket. Beside testscript's own
// commands there are "settle" and "step" (the world moves), "hold APP REASON", "release APP", "starve APP" (its quota is too small), "stranger NAME ADDRESS" (a container of nobody's), "leftover NAME ADDRESS" (one whose task is over), "police" (there are network policies) and "code N CMD..." (the exit
// code must be N). After "moving" the world moves one step whenever it is looked at.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			events := api.NewLog(0)
			world := apitest.New(events)
			socket := filepath.Join(env.WorkDir, "api.sock")
			env.Setenv("BERTH_API", "unix://"+socket)
			env.Setenv("BERTH_STATE_DIR", env.WorkDir) // no key of this machine's operator
			env.Setenv("HOME", env.WorkDir)
			env.Values[worldKey{}] = world
			return serve(env, world, events, socket)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"settle":  func(ts *testscript.TestScript, _ bool, _ []string) { worldOf(ts).Settle() },
			"step":    func(ts *testscript.TestScript, _ bool, _ []string) { worldOf(ts).Step() },
			"moving":  func(ts *testscript.TestScript, _ bool, _ []string) { worldOf(ts).StepOnRead() },
			"release": func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).Release(spec.AppID(args[0])) },
			"hold": func(ts *testscript.TestScript, _ bool, args []string) {
				worldOf(ts).Hold(spec.AppID(args[0]), api.QueueItem{
					Since: apitest.Start, BackoffUntil: apitest.Start.AddDate(1, 0, 0), Why: []api.Reason{{Kind: api.ReasonHosts, Text: strings.Join(args[1:], " ")}},
				})
			},
			"starve": func(ts *testscript.TestScript, _ bool, args []string) {
				worldOf(ts).Starve(spec.AppID(args[0]), 0.31, 1.4)
			},
			"police": func(ts *testscript.TestScript, _ bool, _ []string) { police(worldOf(ts)) },
			"stranger": func(ts *testscript.TestScript, _ bool, args []string) {
				worldOf(ts).Stranger(args[0], netip.MustParseAddr(args[1]), spec.SeatID{}, "")
			},
			"leftover": func(ts *testscript.TestScript, _ bool, args []string) {
				worldOf(ts).Stranger(args[0], netip.MustParseAddr(args[1]), spec.SeatID{App: "/old"}, "old.1")
			},
			"code": runForCode,
		},
	})
}

func worldOf(ts *testscript.TestScript) *apitest.World { return ts.Value(worldKey{}).(*apitest.World) }

func serve(env *testscript.Env, world *apitest.World, events *api.Log, socket string) error {
	server, err := api.New(api.Options{
		Backend: world, Events: events, Marathon: marathon.Options{DefaultNetworkName: "default"},
		Info: api.Info{Version: "1.2.3", Leader: "127.0.0.1:8080"}, CheckPause: time.Millisecond,
		Logs: func(_ context.Context, task string, o api.LogOptions, w io.Writer) error {
			_, err := fmt.Fprintf(w, "output of %s, tail %d, follow %v\n", task, o.Tail, o.Follow)
			if len(o.Units) > 0 {
				_, err = fmt.Fprintf(w, "of the services %v\n", o.Units)
			}
			return err
		},
		Instances: pets{},
	})
	if err != nil {
		return err
	}
	unix, err := api.ListenUnix(socket)
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, unix.Close())
	}
	env.Setenv("TCP", "http://"+tcp.Addr().String())
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, []api.Listener{{Listener: unix}, {Listener: tcp, Token: "s3cret"}})
	}()
	env.Defer(func() {
		stop()
		if err := <-served; err != nil {
			panic(err)
		}
	})
	return nil
}

// pets are instances in each of which the same was done.
type pets struct{}

func (pets) Drift(context.Context, string) (any, error) {
	return instance.Look{Image: "web:1", ImageID: "registry.example.com/web@sha256:0123456789abcdef", Drift: drift.Drift{
		Packages: []drift.PackageChange{
			{Name: "nginx", Format: drift.Deb, Kind: drift.Installed, To: "1.22"}, {Name: "nginx-common", Format: drift.Deb, Kind: drift.Installed, To: "1.22", Auto: true},
		},
		Services: []drift.ServiceChange{{Name: "nginx", Kind: drift.Enabled}},
		Files:    []drift.File{{Path: "/etc/nginx/nginx.conf", Kind: drift.Added, Class: drift.Conffile, Packages: []string{"deb:nginx"}}},
		Other:    []drift.File{{Path: "/run/x", Kind: drift.Added, Class: drift.Noise, Why: "of running processes"}},
		Unsure:   []string{"which RPMs changed"},
	}}, nil
}

func (pets) Commit(_ context.Context, _ string, c api.CommitRequest) (any, error) {
	switch c.Tag {
	case "taken:1":
		return nil, &api.ConflictError{Message: (&instance.TagError{Tag: c.Tag, Exists: true}).Error()}
	case "web":
		return nil, &api.RefusedError{Message: (&instance.TagError{Tag: c.Tag}).Error()}
	}
	return instance.Committed{Tag: c.Tag, ID: "sha256:fedcba9876543210", Recipe: fmt.Sprintf("# %s of %s: %s %v\n", c.Tag, c.Seat, c.Message, c.With)}, nil
}

// runForCode runs a command that must end with the given exit code, and keeps its output for the next stdout and stderr.
func runForCode(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		got = fmt.Sprint(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}
