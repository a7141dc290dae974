package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"
)

// inspectors bounds the inspections that one List has under way.
const inspectors = 8

// Summaries lists all containers, running or not, that carry the labels (an empty value means: any), by name. The engine
// answers from its memory, however busy it is with any of them; what it does not tell is left out (see Partial).
func (c *Client) Summaries(ctx context.Context, labels map[string]string) ([]Container, error) {
	listed, err := c.api.ContainerList(ctx, container.ListOptions{All: true, Filters: labelFilter(labels)})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	out := make([]Container, 0, len(listed))
	for _, l := range listed {
		out = append(out, fromSummary(l))
	}
	slices.SortFunc(out, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func fromSummary(l container.Summary) Container {
	s := Container{
		ID: l.ID, Image: l.Image, Labels: l.Labels, State: l.State, NetworkMode: l.HostConfig.NetworkMode,
		// The words for a container that has a process: the engine calls a paused one running, too, when it describes it.
		Running: l.State == container.StateRunning || l.State == container.StatePaused || l.State == container.StateRestarting,
		Partial: true,
	}
	if l.Created > 0 {
		s.CreatedAt = time.Unix(l.Created, 0)
	}
	for _, n := range l.Names {
		// Links show up as /other/alias; the container's own name has one slash.
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			s.Name = n
		}
	}
	if l.NetworkSettings != nil {
		s.Addresses, s.MACs = addresses(l.NetworkSettings.Networks)
	}
	return s
}

// List inspects all containers, running or not, that carry the labels (an empty value means: any), sorted by name. Of
// those that the engine cannot describe it tells in the error, beside all others.
func (c *Client) List(ctx context.Context, labels map[string]string) ([]Container, error) {
	found, err := c.Summaries(ctx, labels)
	if err != nil {
		return nil, err
	}
	out := make([]Container, len(found))
	errs := make([]error, len(found))
	var wg sync.WaitGroup
	slots := make(chan struct{}, inspectors)
	for i, f := range found {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			out[i], errs[i] = c.Inspect(ctx, f.ID)
			if IsNotFound(errs[i]) {
				errs[i] = nil // removed since the list was made
			}
		}()
	}
	wg.Wait()
	out = slices.DeleteFunc(out, func(c Container) bool { return c.ID == "" })
	slices.SortFunc(out, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	return out, errors.Join(errs...)
}

func labelFilter(labels map[string]string) filters.Args {
	f := filters.NewArgs()
	for k, v := range labels {
		if v == "" {
			f.Add("label", k)
		} else {
			f.Add("label", k+"="+v)
		}
	}
	return f
}

// Inspect describes one container, by id or name.
func (c *Client) Inspect(ctx context.Context, id string) (Container, error) {
	r, err := c.api.ContainerInspect(ctx, id)
	if err != nil {
		return Container{}, fmt.Errorf("inspect container %s: %w", id, err)
	}
	return fromInspect(r), nil
}

func fromInspect(r container.InspectResponse) Container {
	var out Container
	if b := r.ContainerJSONBase; b != nil {
		out.ID, out.Name, out.CreatedAt = b.ID, strings.TrimPrefix(b.Name, "/"), parseTime(b.Created)
		if s := b.State; s != nil {
			out.State, out.Running, out.Pid, out.ExitCode = s.Status, s.Running, s.Pid, s.ExitCode
			out.OOMKilled, out.Error = s.OOMKilled, s.Error
			out.StartedAt, out.FinishedAt = parseTime(s.StartedAt), parseTime(s.FinishedAt)
		}
		if h := b.HostConfig; h != nil {
			out.CgroupParent, out.MemoryLimit = h.CgroupParent, h.Memory
			out.CPUQuota, out.CPUPeriod = max(h.CPUQuota, 0), h.CPUPeriod
			out.NetworkMode = string(h.NetworkMode)
			out.CPUShares, out.NanoCPUs = h.CPUShares, h.NanoCPUs
			if h.PidsLimit != nil {
				out.PidsLimit = max(*h.PidsLimit, 0)
			}
		}
		out.RestartCount = b.RestartCount
	}
	if k := r.Config; k != nil {
		out.Image, out.Labels, out.Env, out.Hostname, out.TTY = k.Image, k.Labels, k.Env, k.Hostname, k.Tty
		out.StopSignal = k.StopSignal
		if k.StopTimeout != nil {
			out.StopTimeout = time.Duration(*k.StopTimeout) * time.Second
		}
	}
	if n := r.NetworkSettings; n != nil {
		out.Addresses, out.MACs = addresses(n.Networks)
		out.Ports = ports(r.Config, n.Ports)
	}
	return out
}

// ports joins what is exposed with what is published; only running containers have the second.
func ports(k *container.Config, published nat.PortMap) []Port {
	var out []Port
	add := func(p nat.Port, ip netip.Addr, host string) {
		n, err := strconv.Atoi(host)
		if err != nil {
			n = 0
		}
		if p.Int() > 0 {
			out = append(out, Port{Port: p.Int(), Protocol: p.Proto(), HostIP: ip, HostPort: n})
		}
	}
	for p, bindings := range published {
		for _, b := range bindings {
			ip, err := netip.ParseAddr(b.HostIP)
			if err != nil {
				ip = netip.Addr{}
			}
			add(p, ip, b.HostPort)
		}
	}
	if k != nil {
		for p := range k.ExposedPorts {
			if len(published[p]) == 0 {
				add(p, netip.Addr{}, "")
			}
		}
	}
	slices.SortFunc(out, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.Protocol, b.Protocol), a.HostIP.Compare(b.HostIP), cmp.Compare(a.HostPort, b.HostPort))
	})
	return out
}

// addresses are a container's, by the name of their network, and the hardware addresses that go with them.
func addresses(networks map[string]*network.EndpointSettings) (out map[string]netip.Addr, macs map[string]string) {
	for name, e := range networks {
		if e == nil {
			continue
		}
		if a, err := netip.ParseAddr(e.IPAddress); err == nil {
			if out == nil {
				out, macs = map[string]netip.Addr{}, map[string]string{}
			}
			out[name], macs[name] = a, e.MacAddress
		}
	}
	return out, macs
}

// parseTime reads the engine's times; its zero time becomes Go's.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// Start starts a created or stopped container. Starting a running one is no error.
func (c *Client) Start(ctx context.Context, id string) error {
	if err := c.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	return nil
}

// Stop sends the container's stop signal, then SIGKILL after grace (rounded up to seconds; 0 kills at once), and returns
// when the container has stopped. A stopped container is no error.
func (c *Client) Stop(ctx context.Context, id string, grace time.Duration) error {
	timeout := seconds(grace)
	if err := c.api.ContainerStop(ctx, id, container.StopOptions{Timeout: &timeout}); err != nil {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	return nil
}

// Kill sends a signal ("KILL", "TERM") to the container's first process. A container that does not run is a conflict.
func (c *Client) Kill(ctx context.Context, id, signal string) error {
	if err := c.api.ContainerKill(ctx, id, signal); err != nil {
		return fmt.Errorf("send %s to container %s: %w", signal, id, err)
	}
	return nil
}

// Remove removes a container and its anonymous volumes; force kills it first.
func (c *Client) Remove(ctx context.Context, id string, force bool) error {
	if err := c.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: force, RemoveVolumes: true}); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

// Rename gives a container another name.
func (c *Client) Rename(ctx context.Context, id, name string) error {
	if err := c.api.ContainerRename(ctx, id, name); err != nil {
		return fmt.Errorf("rename container %s to %s: %w", id, name, err)
	}
	return nil
}

// Logs copies a container's output. With Follow it returns when the container ends or ctx does.
func (c *Client) Logs(ctx context.Context, id string, o LogOptions, stdout, stderr io.Writer) error {
	found, err := c.Inspect(ctx, id)
	if err != nil {
		return err
	}
	opts := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: o.Follow, Timestamps: o.Timestamps}
	if o.Tail > 0 {
		opts.Tail = strconv.Itoa(o.Tail)
	}
	if !o.Since.IsZero() {
		opts.Since = o.Since.UTC().Format(time.RFC3339Nano)
	}
	body, err := c.api.ContainerLogs(ctx, id, opts)
	if err != nil {
		return fmt.Errorf("read the log of container %s: %w", id, err)
	}
	defer body.Close()
	if found.TTY { // a terminal has one stream, without frames
		_, err = io.Copy(stdout, body)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, body)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the log of container %s: %w", id, err)
	}
	return nil
}
