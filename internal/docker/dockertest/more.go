package dockertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/berth-project/berth/internal/docker"
)

// Logs writes what Print gave the container; Follow waits for its end.
func (e *Engine) Logs(ctx context.Context, ref string, o docker.LogOptions, stdout, _ io.Writer) error {
	if err := e.enter(ctx, "logs"); err != nil {
		return err
	}
	e.mu.Lock()
	b, err := e.findLocked(ref)
	if err != nil {
		e.mu.Unlock()
		return err
	}
	text, ended, running := b.stdout, b.ended, b.Running
	e.mu.Unlock()
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if o.Tail > 0 && len(lines) > o.Tail {
		lines = lines[len(lines)-o.Tail:]
	}
	if _, err := io.WriteString(stdout, strings.Join(lines, "")); err != nil {
		return err
	}
	if o.Follow && running {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	return nil
}

// Exec runs what OnExec set; without that every command succeeds without output.
func (e *Engine) Exec(ctx context.Context, ref string, cmd []string) (int, []byte, error) {
	if err := e.enter(ctx, "exec"); err != nil {
		return 0, nil, err
	}
	e.mu.Lock()
	b, err := e.findLocked(ref)
	if err == nil && !b.Running {
		err = fmt.Errorf("container %s is not running: %w", ref, cerrdefs.ErrConflict)
	}
	if err != nil {
		e.mu.Unlock()
		return 0, nil, err
	}
	run := b.exec
	e.mu.Unlock()
	if run == nil {
		return 0, nil, nil
	}
	return run(cmd)
}

// ImageExists says whether the image is there.
func (e *Engine) ImageExists(ctx context.Context, ref string) (bool, error) {
	if err := e.enter(ctx, "image"); err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.images[ref], nil
}

// Pull fetches an image that the registry has, if as may have it.
func (e *Engine) Pull(ctx context.Context, ref string, as docker.Credentials) error {
	if err := e.enter(ctx, "pull"); err != nil {
		return err
	}
	if err := e.enter(ctx, "pull "+ref); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if owner, private := e.private[ref]; !e.remote[ref] || private && owner != as {
		return fmt.Errorf("pull access denied for %s, repository does not exist: %w", ref, cerrdefs.ErrNotFound)
	}
	e.images[ref] = true
	return nil
}

// PullWatched is Pull that tells once that it has half.
func (e *Engine) PullWatched(ctx context.Context, ref string, as docker.Credentials, progress func(got, of int64)) error {
	progress(1e6, 2e6)
	return e.Pull(ctx, ref, as)
}

// Networks lists the networks by name.
func (e *Engine) Networks(ctx context.Context) ([]docker.Network, error) {
	if err := e.enter(ctx, "networks"); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Values(e.networks), func(a, b docker.Network) int { return strings.Compare(a.Name, b.Name) }), nil
}

// CreateNetwork adds a network; unlike the real engine it refuses a second one of the same name.
func (e *Engine) CreateNetwork(ctx context.Context, s docker.NetworkSpec) error {
	if err := e.enter(ctx, "createnetwork"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.networks[s.Name]; ok {
		return fmt.Errorf("network with name %s already exists: %w", s.Name, cerrdefs.ErrConflict)
	}
	for _, n := range e.networks {
		if n.Subnet.IsValid() && s.Subnet.IsValid() && n.Subnet.Overlaps(s.Subnet) {
			return errors.New("pool overlaps with other one on this address space")
		}
	}
	e.networks[s.Name] = docker.Network{ID: id("network " + s.Name), NetworkSpec: s}
	e.sendLocked(docker.Event{Type: "network", Action: "create", ID: e.networks[s.Name].ID, Name: s.Name})
	return nil
}

// RemoveNetwork removes a network without endpoints.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	if err := e.enter(ctx, "removenetwork"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n, ok := e.networks[name]
	if !ok {
		return fmt.Errorf("network %s not found: %w", name, cerrdefs.ErrNotFound)
	}
	for _, b := range e.containers {
		if _, on := b.Addresses[name]; on {
			return fmt.Errorf("network %s has active endpoints: %w", name, cerrdefs.ErrPermissionDenied)
		}
	}
	delete(e.networks, name)
	e.sendLocked(docker.Event{Type: "network", Action: "destroy", ID: n.ID, Name: name})
	return nil
}

// Events follows the engine until ctx ends or Leave is called.
func (e *Engine) Events(ctx context.Context) (<-chan docker.Event, <-chan error) {
	events, errs := make(chan docker.Event, 1024), make(chan error, 1)
	if err := e.enter(ctx, "events"); err != nil {
		errs <- err
		return events, errs
	}
	e.mu.Lock()
	e.followers[events] = errs
	e.mu.Unlock()
	context.AfterFunc(ctx, func() { e.dropFollower(events, ctx.Err()) })
	return events, errs
}

func (e *Engine) dropFollower(c chan docker.Event, cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if errs, ok := e.followers[c]; ok {
		delete(e.followers, c)
		errs <- cause
	}
}

// AddImage puts an image on the machine.
func (e *Engine) AddImage(ref string) { e.mu.Lock(); e.images[ref] = true; e.mu.Unlock() }

// AddPrivateImage is AddRemoteImage for an image that only its owner may pull.
func (e *Engine) AddPrivateImage(ref string, owner docker.Credentials) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.remote[ref], e.private[ref] = true, owner
}

// AddRemoteImage puts an image into the registry.
func (e *Engine) AddRemoteImage(ref string) { e.mu.Lock(); e.remote[ref] = true; e.mu.Unlock() }

// Spec is what a container was created from.
func (e *Engine) Spec(ref string) (docker.CreateSpec, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.findLocked(ref)
	if err != nil {
		return docker.CreateSpec{}, err
	}
	return b.spec, nil
}

// Exit ends a running container by itself, with an exit code.
func (e *Engine) Exit(ref string, code int) error { return e.exit(ref, code, false) }

// OOM ends a running container as the kernel does when its memory is used up.
func (e *Engine) OOM(ref string) error { return e.exit(ref, 137, true) }

func (e *Engine) exit(ref string, code int, oom bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.findLocked(ref)
	if err != nil {
		return err
	}
	b.OOMKilled = oom
	e.endLocked(b, code)
	return nil
}

// Obey sets the exit code of a container that is stopped.
func (e *Engine) Obey(ref string, code int) error {
	return e.set(ref, func(b *box) { b.ignoreTerm, b.stopExit = false, code })
}

// IgnoreTerm lets a container run on when it is stopped, until it is killed.
func (e *Engine) IgnoreTerm(ref string) error {
	return e.set(ref, func(b *box) { b.ignoreTerm = true })
}

// OnExec sets what commands in the container do.
func (e *Engine) OnExec(ref string, run func(cmd []string) (int, []byte, error)) error {
	return e.set(ref, func(b *box) { b.exec = run })
}

// Print adds to the container's output.
func (e *Engine) Print(ref, text string) error {
	return e.set(ref, func(b *box) { b.stdout += text })
}

func (e *Engine) set(ref string, change func(*box)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.findLocked(ref)
	if err == nil {
		change(b)
	}
	return err
}

// Fail lets an operation (create, start, stop, kill, remove, rename, inspect, list, pull, image, exec, logs, events, networks,
// createnetwork, removenetwork, info, ping, summaries) fail from now on; nil mends it. "inspect ID" and "pull REF" fail for one.
func (e *Engine) Fail(op string, err error) { e.mu.Lock(); e.fail[op] = err; e.mu.Unlock() }

// Hold lets an operation wait until release is called. "inspect ID" holds that of one container, "pull REF" that of one image.
func (e *Engine) Hold(op string) (release func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := make(chan struct{})
	e.held[op] = c
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.held[op] == c {
			delete(e.held, op)
			close(c)
		}
	}
}

// Calls says how often an operation was called.
func (e *Engine) Calls(op string) int { e.mu.Lock(); defer e.mu.Unlock(); return e.calls[op] }

// Leave takes the engine away: calls fail, followers are dropped, containers run on.
func (e *Engine) Leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	for c, errs := range e.followers {
		delete(e.followers, c)
		errs <- ErrGone
	}
	e.publishLocked()
}

// Return brings it back.
func (e *Engine) Return() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = false
	e.publishLocked()
}
