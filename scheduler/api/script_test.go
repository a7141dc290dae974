package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

var updateScripts = flag.Bool("update", false, "rewrite the answers in testdata/*.txt")

// fixture is a server over a small world.
type fixture struct {
	world  *apitest.World
	events *api.Log
	server *api.Server
	url    string
}

func options(world *apitest.World) api.Options {
	return api.Options{
		Backend: world, Events: world.Events,
		Marathon: marathon.Options{DefaultNetworkName: "default"},
		Info: api.Info{
			Version: "1.2.3", Leader: "127.0.0.1:8080", FrameworkName: "berth", Role: "*", DefaultNetwork: "default",
			LocalPortMin: 10000, LocalPortMax: 20000, HTTPPort: 8080, FailoverTimeout: 168 * time.Hour,
			Hostname: apitest.Host, TaskLaunchWindow: 5 * time.Minute,
		},
		Now: func() time.Time { return apitest.Start }, CheckPause: time.Millisecond,
		Admit: func(app *spec.App) error {
			if app.Container != nil && app.Container.Docker != nil && app.Container.Docker.Privileged {
				f := &marathon.Faults{Message: "Object is not valid"}
				f.Add("/container/docker/privileged", "privileged containers are not allowed here")
				return f.Err()
			}
			return nil
		},
		Logs: func(ctx context.Context, task string, o api.LogOptions, w io.Writer) error {
			if strings.HasPrefix(task, "silent.") {
				return &api.NotFoundError{Message: "no output is kept"}
			}
			_, err := fmt.Fprintf(w, "output of %s, tail %d, follow %v\n", task, o.Tail, o.Follow)
			if o.Follow {
				<-ctx.Done()
			}
			return err
		},
	}
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{events: api.NewLog(0)}
	f.world = apitest.New(f.events)
	var err error
	if f.server, err = api.New(options(f.world)); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background()) // t.Context ends before the cleanups, which may still ask
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(ctx, []api.Listener{{Listener: listener}}) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return f
}

// TestScripts replays testdata/*.txt. A block is a command, in lines that begin with "> ", and what it answers. Commands are
// requests ("GET /path", then header lines, then a body) and moves of the world ("step", "settle", "hold ID REASON",
// "release ID", "fail ID MESSAGE", "unhealthy APP.N CAUSE", "warming APP.N ANSWER", "stranger NAME ADDRESS": a container of nobody's, "leftover NAME ADDRESS": one whose task is over, "warn TEXT": from now on changes come back with this warning).
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, newFixture(t), string(want))
			if *updateScripts {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("answers differ (-want +got; go test -run TestScripts -update rewrites them):\n%s", diff)
			}
		})
	}
}

func replay(t *testing.T, f *fixture, script string) string {
	t.Helper()
	var out strings.Builder
	var command []string
	flush := func() {
		if len(command) > 0 {
			out.WriteString(strings.TrimRight(f.run(t, command), "\n") + "\n")
		}
		command = nil
	}
	inAnswer := false
	for _, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "> "):
			inAnswer = false
			command = append(command, line[2:])
			out.WriteString(line + "\n")
		case strings.HasPrefix(line, "#"):
			flush()
			out.WriteString(line + "\n")
		case line == "":
			flush()
			out.WriteString("\n")
			inAnswer = false
		default:
			if !inAnswer {
				flush()
			}
			inAnswer = true // an old answer, written anew by flush
		}
	}
	flush()
	return strings.TrimRight(out.String(), "\n") + "\n"
}

func (f *fixture) run(t *testing.T, command []string) string {
	t.Helper()
	words := strings.SplitN(command[0], " ", 3)
	words = append(words, "", "", "")
	id := spec.AppID(words[1])
	switch words[0] {
	case "step":
		f.world.Step()
		return "ok"
	case "settle":
		f.world.Settle()
		return "ok"
	case "hold":
		f.world.Hold(id, api.QueueItem{
			Since: apitest.Start, BackoffUntil: apitest.Start.Add(time.Minute), Processed: 3, Unused: 3, LastUnused: apitest.Start,
			Refusals: []api.Refusal{{Reason: "InsufficientCpus", Processed: 1}, {Reason: "InsufficientMemory", Declined: 1, Processed: 1}},
			Why:      []api.Reason{{Kind: api.ReasonHosts, Text: words[2]}},
		})
		return "ok"
	case "release":
		f.world.Release(id)
		return "ok"
	case "fail":
		f.world.Fail(spec.TaskFailure{
			App: id, TaskID: id.Safe() + ".instance-x._app.1", Host: apitest.Host, AgentID: "agent-1", State: "TASK_FAILED",
			Message: words[2], Timestamp: apitest.Start, AppVersion: apitest.Start,
		})
		return "ok"
	case "stranger":
		f.world.Stranger(words[1], netip.MustParseAddr(words[2]), spec.SeatID{}, "")
		return "ok"
	case "leftover": // of seat 0 of /old
		f.world.Stranger(words[1], netip.MustParseAddr(words[2]), spec.SeatID{App: "/old"}, "old.1")
		return "ok"
	case "warn":
		f.world.Warnings = []string{strings.TrimSpace(words[1] + " " + words[2])}
		return "ok"
	case "warming":
		seat, err := spec.ParseSeatID(words[1])
		if err != nil {
			t.Fatal(err)
		}
		f.world.Edit(seat, func(task *spec.Task) {
			task.Ready, task.Readiness = false, spec.ProbeResponse{Status: 503, ContentType: "text/plain", Body: words[2]}
		})
		return "ok"
	case "unhealthy":
		seat, err := spec.ParseSeatID(words[1])
		if err != nil {
			t.Fatal(err)
		}
		f.world.Edit(seat, func(task *spec.Task) {
			task.Health = []spec.CheckHealth{{Known: true, ConsecutiveFailures: 2, LastFailure: apitest.Start, LastFailureCause: words[2]}}
		})
		return "ok"
	}
	return f.request(t, words[0], words[1], command[1:])
}

// request sends a request and writes the answer down: status, the headers that matter, and the body.
func (f *fixture) request(t *testing.T, method, path string, lines []string) string {
	t.Helper()
	header := http.Header{}
	for len(lines) > 0 && !strings.HasPrefix(lines[0], "{") && !strings.HasPrefix(lines[0], "[") && lines[0] != "<body>" {
		name, value, ok := strings.Cut(lines[0], ": ")
		if !ok {
			t.Fatalf("%s %s: header line %q", method, path, lines[0])
		}
		header.Set(name, value)
		lines = lines[1:]
	}
	if len(lines) > 0 && lines[0] == "<body>" {
		lines = lines[1:]
	}
	body := strings.Join(lines, "\n")
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	if body != "" && header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d\n", resp.StatusCode)
	for _, name := range []string{"Location", "Marathon-Deployment-Id", "Allow", "Warning"} {
		if v := resp.Header.Get(name); v != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, v)
		}
	}
	kind := resp.Header.Get("Content-Type")
	if kind != "" && kind != "application/json" {
		fmt.Fprintf(&out, "Content-Type: %s\n", kind)
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, answer, "", " ") == nil {
		answer = pretty.Bytes()
	}
	text := strings.ReplaceAll(string(answer), strings.TrimPrefix(f.url, "http://"), "HOST")
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if line != "" {
			out.WriteString("|" + line + "\n")
		}
	}
	return strings.ReplaceAll(out.String(), strings.TrimPrefix(f.url, "http://"), "HOST")
}
