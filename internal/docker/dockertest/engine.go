// Package dockertest is a small working Docker Engine in memory: containers with states, images, networks with addresses,
// events, and failures to order. It has the methods of docker.Client and of docker.Inventory, so that a component that
// declares an interface of what it needs can be tested without Docker. Containers end only when a test (or a stop) says so.
package dockertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
)

// ErrGone is what every call gets while the engine is away.
var ErrGone = fmt.Errorf("cannot connect to the docker daemon: %w", cerrdefs.ErrUnavailable)

// Engine is the double. Its methods are safe for concurrent use.
type Engine struct {
	mu         sync.Mutex // guards all below
	containers map[string]*box
	images     map[string]bool
	remote     map[string]bool               // what Pull can fetch
	private    map[string]docker.Credentials // whose images of those are
	networks   map[string]docker.Network
	fail       map[string]error
	held       map[string]chan struct{}
	calls      map[string]int
	gone       bool
	followers  map[chan docker.Event]chan error
	made       int

	state watch.Value[docker.Snapshot]
}

// box is one container.
type box struct {
	docker.Container
	spec       docker.CreateSpec
	stdout     string
	ignoreTerm bool
	stopExit   int
	ended      chan struct{} // closes when the present run ends
	exec       func(cmd []string) (int, []byte, error)
}

// New returns an engine with Docker's three networks (bridge is 172.17.0.0/16), the given images and no container.
func New(images ...string) *Engine {
	e := &Engine{
		containers: map[string]*box{}, images: map[string]bool{}, remote: map[string]bool{}, private: map[string]docker.Credentials{}, networks: map[string]docker.Network{},
		fail: map[string]error{}, held: map[string]chan struct{}{}, calls: map[string]int{}, followers: map[chan docker.Event]chan error{},
	}
	for _, i := range images {
		e.images[i] = true
	}
	for _, s := range []docker.NetworkSpec{
		{Name: "bridge", Driver: "bridge", Subnet: netip.MustParsePrefix("172.17.0.0/16"), Gateway: netip.MustParseAddr("172.17.0.1")},
		{Name: "host", Driver: "host"}, {Name: "none", Driver: "null"},
	} {
		e.networks[s.Name] = docker.Network{ID: id("network " + s.Name), NetworkSpec: s}
	}
	e.publishLocked()
	return e
}

func id(of string) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:])
}

// Get is the inventory: the newest snapshot and a channel that closes at the next change.
func (e *Engine) Get() (docker.Snapshot, <-chan struct{}) { return e.state.Get() }

func (e *Engine) publishLocked() {
	if e.gone {
		last, _ := e.state.Get()
		e.state.Set(docker.Snapshot{Containers: last.Containers})
		return
	}
	e.state.Set(docker.Snapshot{Connected: true, Containers: e.allLocked(nil)})
}

func (e *Engine) allLocked(labels map[string]string) []docker.Container {
	var out []docker.Container
	for _, b := range e.containers {
		match := true
		for k, v := range labels {
			got, ok := b.Labels[k]
			match = match && ok && (v == "" || v == got)
		}
		if match {
			out = append(out, b.view())
		}
	}
	slices.SortFunc(out, func(a, b docker.Container) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// view copies what the caller could otherwise see changing.
func (b *box) view() docker.Container {
	c := b.Container
	c.Addresses = maps.Clone(c.Addresses)
	return c
}

// enter is the beginning of every call: it waits while the operation is held, then fails if that was ordered.
func (e *Engine) enter(ctx context.Context, op string) error {
	e.mu.Lock()
	e.calls[op]++
	hold := e.held[op]
	e.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return ErrGone
	}
	if err := e.fail[op]; err != nil {
		return err
	}
	return ctx.Err()
}

func (e *Engine) findLocked(ref string) (*box, error) {
	if b := e.containers[ref]; b != nil {
		return b, nil
	}
	for _, b := range e.containers {
		if b.Name == ref {
			return b, nil
		}
	}
	return nil, fmt.Errorf("no such container: %s: %w", ref, cerrdefs.ErrNotFound)
}

func (e *Engine) emitLocked(b *box, action string) {
	e.sendLocked(docker.Event{
		Type: "container", Action: action, ID: b.ID, Container: b.ID, Name: b.Name, Labels: b.Labels, ExitCode: b.ExitCode, Time: time.Now(),
	})
}

// signalLocked tells followers of a signal, as the real one does after it has sent it.
func (e *Engine) signalLocked(b *box, signal int) {
	e.sendLocked(docker.Event{
		Type: "container", Action: "kill", ID: b.ID, Container: b.ID, Name: b.Name, Labels: map[string]string{"signal": strconv.Itoa(signal)}, Time: time.Now(),
	})
}

func (e *Engine) sendLocked(ev docker.Event) {
	for c := range e.followers {
		select {
		case c <- ev:
		default: // as the real one, drop the events of a follower that does not read
		}
	}
	e.publishLocked()
}

// Ping fails while the engine is away.
func (e *Engine) Ping(ctx context.Context) error { return e.enter(ctx, "ping") }

// Info describes a machine of 4 cores and 8 GiB.
func (e *Engine) Info(ctx context.Context) (docker.Info, error) {
	if err := e.enter(ctx, "info"); err != nil {
		return docker.Info{}, err
	}
	return docker.Info{Name: "testhost", ServerVersion: "20.10.24", APIVersion: "1.41", NCPU: 4, MemTotal: 8 << 30, LiveRestore: true, RootDir: "/var/lib/docker"}, nil
}

// Summaries lists containers by name, with what the real engine tells in a list.
func (e *Engine) Summaries(ctx context.Context, labels map[string]string) ([]docker.Container, error) {
	if err := e.enter(ctx, "summaries"); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []docker.Container
	for _, c := range e.allLocked(labels) {
		out = append(out, docker.Container{
			ID: c.ID, Name: c.Name, Image: c.Image, Labels: c.Labels, State: c.State, Running: c.Running,
			CreatedAt: c.CreatedAt.Truncate(time.Second), NetworkMode: c.NetworkMode, Addresses: c.Addresses, Partial: true,
		})
	}
	return out, nil
}

// List lists containers by name.
func (e *Engine) List(ctx context.Context, labels map[string]string) ([]docker.Container, error) {
	if err := e.enter(ctx, "list"); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.allLocked(labels), nil
}

// Inspect describes one container.
func (e *Engine) Inspect(ctx context.Context, ref string) (docker.Container, error) {
	if err := e.enter(ctx, "inspect"); err != nil {
		return docker.Container{}, err
	}
	if err := e.enter(ctx, "inspect "+ref); err != nil {
		return docker.Container{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.findLocked(ref)
	if err != nil {
		return docker.Container{}, err
	}
	return b.view(), nil
}

// Create creates a container; its image must be there and its name free.
func (e *Engine) Create(ctx context.Context, s docker.CreateSpec) (string, error) {
	if err := e.enter(ctx, "create"); err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.images[s.Image] {
		return "", fmt.Errorf("no such image: %s: %w", s.Image, cerrdefs.ErrNotFound)
	}
	if _, err := e.findLocked(s.Name); err == nil {
		return "", fmt.Errorf("the container name %q is already in use: %w", "/"+s.Name, cerrdefs.ErrConflict)
	}
	e.made++
	b := &box{spec: s, stopExit: 143, Container: docker.Container{
		ID: id("container " + strconv.Itoa(e.made)), Name: s.Name, Image: s.Image, Labels: maps.Clone(s.Labels), Env: slices.Clone(s.Env),
		State: "created", CreatedAt: time.Now(), Hostname: s.Hostname, TTY: s.TTY, NetworkMode: s.Network,
		CgroupParent: s.CgroupParent, CPUQuota: max(s.CPUQuota, 0), CPUPeriod: s.CPUPeriod, MemoryLimit: s.Memory,
	}}
	e.containers[b.ID] = b
	e.emitLocked(b, "create")
	return b.ID, nil
}

// Start runs a container and gives it its address: the wanted one, or the lowest free one of its network.
func (e *Engine) Start(ctx context.Context, ref string) error {
	if err := e.enter(ctx, "start"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.findLocked(ref)
	if err != nil || b.Running {
		return err
	}
	if err := e.connectLocked(b); err != nil {
		b.Error = err.Error()
		b.ExitCode = 128
		return err
	}
	b.State, b.Running, b.ExitCode, b.Error, b.OOMKilled = "running", true, 0, "", false
	b.StartedAt, b.FinishedAt, b.Pid = time.Now(), time.Time{}, 1000+e.made
	b.ended = make(chan struct{})
	e.emitLocked(b, "start")
	return nil
}

func (e *Engine) connectLocked(b *box) error {
	name := b.spec.Network
	if name == "" {
		name = "bridge"
	}
	if other, joins := strings.CutPrefix(name, "container:"); joins {
		o, err := e.findLocked(other)
		if err == nil && !o.Running {
			err = fmt.Errorf("cannot join network of a non running container: %s: %w", o.ID, cerrdefs.ErrConflict)
		}
		return err
	}
	n, ok := e.networks[name]
	if !ok {
		return fmt.Errorf("network %s not found: %w", name, cerrdefs.ErrNotFound)
	}
	used := map[netip.Addr]bool{n.Gateway: true}
	for _, o := range e.containers {
		if o.Running {
			used[o.Addresses[name]] = true
			for _, p := range o.spec.PortBindings {
				if slices.ContainsFunc(b.spec.PortBindings, func(q docker.PortBinding) bool {
					return q.HostPort != 0 && q.HostPort == p.HostPort && q.Protocol == p.Protocol
				}) {
					return fmt.Errorf("bind for 0.0.0.0:%d failed: port is already allocated", p.HostPort)
				}
			}
		}
	}
	if !n.Subnet.IsValid() {
		return nil
	}
	want := b.spec.IP
	if want.IsValid() && used[want] {
		return errors.New("Address already in use") //nolint:staticcheck // the engine's own words
	}
	for a := n.Subnet.Masked().Addr().Next(); !want.IsValid() && n.Subnet.Contains(a); a = a.Next() {
		if !used[a] {
			want = a
		}
	}
	if !want.IsValid() {
		return errors.New("no available IPv4 addresses on this network's address pools: " + name)
	}
	b.Addresses = map[string]netip.Addr{name: want}
	return nil
}

func (e *Engine) endLocked(b *box, code int) {
	if !b.Running {
		return
	}
	b.State, b.Running, b.ExitCode, b.Pid, b.FinishedAt, b.Addresses = "exited", false, code, 0, time.Now(), nil
	close(b.ended)
	e.emitLocked(b, "die")
}

// Stop ends a container with the exit code that Obey set (143), or after grace with 137 if it ignores TERM.
func (e *Engine) Stop(ctx context.Context, ref string, grace time.Duration) error {
	if err := e.enter(ctx, "stop"); err != nil {
		return err
	}
	e.mu.Lock()
	b, err := e.findLocked(ref)
	if err != nil || !b.Running {
		e.mu.Unlock()
		return err
	}
	ended := b.ended
	e.signalLocked(b, 15)
	if !b.ignoreTerm {
		e.endLocked(b, b.stopExit)
	}
	e.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		e.mu.Lock()
		e.endLocked(b, 137)
		e.mu.Unlock()
	}
	return nil
}

// Kill ends a running container: KILL always with 137, another signal as Stop does.
func (e *Engine) Kill(ctx context.Context, ref, signal string) error {
	if err := e.enter(ctx, "kill"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.findLocked(ref)
	if err != nil {
		return err
	}
	if !b.Running {
		return fmt.Errorf("container %s is not running: %w", ref, cerrdefs.ErrConflict)
	}
	switch {
	case strings.TrimPrefix(signal, "SIG") == "KILL":
		e.signalLocked(b, 9)
		e.endLocked(b, 137)
	case !b.ignoreTerm:
		e.endLocked(b, b.stopExit)
	}
	return nil
}

// Remove removes a container; a running one only with force.
func (e *Engine) Remove(ctx context.Context, ref string, force bool) error {
	if err := e.enter(ctx, "remove"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.findLocked(ref)
	if err != nil {
		return err
	}
	if b.Running && !force {
		return fmt.Errorf("container %s is running: %w", ref, cerrdefs.ErrConflict)
	}
	e.endLocked(b, 137)
	delete(e.containers, b.ID)
	e.emitLocked(b, "destroy")
	return nil
}

// Rename gives a container another name, which must be free.
func (e *Engine) Rename(ctx context.Context, ref, name string) error {
	if err := e.enter(ctx, "rename"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := e.findLocked(ref)
	if err != nil {
		return err
	}
	if other, err := e.findLocked(name); err == nil && other != b {
		return fmt.Errorf("the container name %q is already in use: %w", "/"+name, cerrdefs.ErrConflict)
	}
	b.Name = name
	e.emitLocked(b, "rename")
	return nil
}
