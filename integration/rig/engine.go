package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Engine is a Docker Engine, asked through the docker command as an operator would: the machine's own, or one of StartEngine.
type Engine struct {
	t TB
	*daemon
}

// daemon is the part that all views of one engine share.
type daemon struct {
	host       string // "" for the machine's own
	cmd        *exec.Cmd
	containerd *exec.Cmd // apart from dockerd, as on every real host, so that dockerd can be killed alone
	dir        string
	bridge     string // its default network; "" until made
	space      string // its network namespace; "" for the machine's own
	holds      bool   // without live-restore: its containers end with it
}

func (e *Engine) in(t TB) *Engine { return &Engine{t: t, daemon: e.daemon} }

// MachineEngine is the engine that everyone on this machine uses; it is never restarted.
func MachineEngine(t TB) *Engine { return &Engine{t: t, daemon: new(daemon)} }

// Host is the engine's address, "" for the machine's own.
func (e *Engine) Host() string { return e.host }

func (e *Engine) command(ctx context.Context, args ...string) *exec.Cmd {
	if e.host != "" {
		args = append([]string{"--host", e.host}, args...)
	}
	return exec.CommandContext(ctx, "docker", args...)
}

func (e *Engine) try(ctx context.Context, args ...string) (string, error) {
	out, err := e.command(ctx, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// Docker runs a docker command and returns its output.
func (e *Engine) Docker(args ...string) string {
	e.t.Helper()
	return must(e.try(e.t.Context(), args...))(e.t, "the engine refused")
}

// TryDocker runs a docker command that may fail.
func (e *Engine) TryDocker(args ...string) (string, error) { return e.try(e.t.Context(), args...) }

func (e *Engine) ids(ctx context.Context, t TB, args ...string) []string {
	out, err := e.try(ctx, args...)
	if err != nil {
		t.Errorf("%v", err)
	}
	return strings.Fields(out)
}

// Container is what the tests look at in an inspected container.
type Container struct {
	ID       string
	Name     string
	Hostname string
	PID      int
	Seat     int
	Task     string
	Address  string
	Started  string
}

// inspected is the part of docker inspect that is read.
type inspected struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Pid       int
		StartedAt string
	}
	Config struct {
		Hostname string
		Labels   map[string]string
	}
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

// Containers are the app's running containers, by seat: what is true on the machine, whoever says what about it.
func (b *Berth) Containers(app string) (map[int]Container, error) {
	ctx := b.t.Context()
	out, err := b.Engine.try(ctx, "ps", "-q", "--no-trunc", "--filter", "label=berth.app="+app)
	if err != nil || out == "" {
		return nil, err
	}
	out, err = b.Engine.try(ctx, append([]string{"inspect"}, strings.Fields(out)...)...)
	if err != nil {
		return nil, err
	}
	var list []inspected
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	found := map[int]Container{}
	for _, i := range list {
		seat, err := strconv.Atoi(i.Config.Labels["berth.seat"])
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", i.Name, err)
		}
		c := Container{
			ID: i.ID, Name: strings.TrimPrefix(i.Name, "/"), Hostname: i.Config.Hostname, PID: i.State.Pid, Seat: seat,
			Task: i.Config.Labels["berth.task"], Address: i.NetworkSettings.Networks[b.Pool].IPAddress, Started: i.State.StartedAt,
		}
		if twin, twice := found[seat]; twice {
			return nil, fmt.Errorf("seat %d of %s runs twice: %s and %s", seat, app, twin.Name, c.Name)
		}
		found[seat] = c
	}
	return found, nil
}

// Running waits until exactly the seats 0..n-1 run, by the machine and by the API, healthy where the app has checks.
func (b *Berth) Running(app string, n int, limit time.Duration) map[int]Container {
	b.t.Helper()
	var found map[int]Container
	Eventually(b.t, limit, fmt.Sprintf("%d instances of %s run", n, app), func() (err error) {
		found, err = b.running(app, n)
		if err != nil {
			err = fmt.Errorf("%w; queue: %s", err, b.Queue())
		}
		return err
	})
	return found
}

func (b *Berth) running(app string, n int) (map[int]Container, error) {
	found, err := b.Containers(app)
	if err != nil {
		return nil, err
	}
	tasks, err := b.Tasks(app)
	if err != nil {
		return nil, err
	}
	if len(found) != n || len(tasks) != n {
		return nil, fmt.Errorf("there are %d containers and %d tasks", len(found), len(tasks))
	}
	byID := map[string]Task{}
	for _, t := range tasks {
		byID[t.ID] = t
	}
	for seat := range n {
		c, ok := found[seat]
		t, known := byID[c.Task]
		switch {
		case !ok:
			return nil, fmt.Errorf("seat %d has no container", seat)
		case !known || t.State != "TASK_RUNNING":
			return nil, fmt.Errorf("task %s of seat %d is %q", c.Task, seat, t.State)
		case t.Address() != c.Address || c.Address == "":
			return nil, fmt.Errorf("seat %d has address %q by Docker, %q by the API", seat, c.Address, t.Address())
		}
		for _, h := range t.HealthCheckResults {
			if !h.Alive {
				return nil, fmt.Errorf("task %s is not healthy", t.ID)
			}
		}
	}
	return found, nil
}

// Event is one event of the engine about a container.
type Event struct {
	Action string
	Actor  struct {
		ID         string
		Attributes map[string]string
	}
	TimeNano int64 `json:"timeNano"`
}

// At is when the engine saw it.
func (e Event) At() time.Time { return time.Unix(0, e.TimeNano) }

// Events follows what happens to containers until the test ends.
func (e *Engine) Events() <-chan Event {
	e.t.Helper()
	ctx, cancel := context.WithCancel(e.t.Context())
	cmd := e.command(ctx, "events", "--filter", "type=container", "--format", "{{json .}}")
	out := must(cmd.StdoutPipe())(e.t, "read docker events")
	if err := cmd.Start(); err != nil {
		e.t.Fatalf("docker events: %v", err)
	}
	events := make(chan Event, 1000)
	go func() {
		defer close(events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var ev Event
			if json.Unmarshal(lines.Bytes(), &ev) == nil {
				events <- ev
			}
		}
	}()
	e.t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	return events
}
