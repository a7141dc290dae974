package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/images/instance"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// container finds a task's container, running or ended, on any of the hosts.
func (c *composition) container(taskID string) (*docker.Client, docker.Container, error) {
	for _, e := range c.engines {
		snapshot, _ := e.inventory.Get()
		for _, ctr := range snapshot.Containers {
			if ctr.Labels[spec.LabelTask] == taskID {
				return e.client, ctr, nil
			}
		}
	}
	return nil, docker.Container{}, fmt.Errorf("task %s has no container on any host", taskID)
}

// logs copies a task's output from its container, or what services in it have logged.
func (c *composition) logs(ctx context.Context, taskID string, o api.LogOptions, w io.Writer) error {
	client, ctr, err := c.container(taskID)
	if err != nil {
		return err
	}
	if len(o.Units) > 0 {
		return unitLogs(ctx, client, ctr.ID, o, w)
	}
	return client.Logs(ctx, ctr.ID, docker.LogOptions{Follow: o.Follow, Tail: max(0, o.Tail)}, w, w)
}

// execer runs commands in containers.
type execer interface {
	ExecTo(ctx context.Context, id string, cmd []string, stdout, stderr io.Writer) (int, error)
}

// journalArgs is the command that reads services' logs inside an instance. There is no shell in between, and no name can be
// taken for an option.
func journalArgs(o api.LogOptions) []string {
	args := []string{"journalctl", "--no-pager"}
	for _, u := range o.Units {
		args = append(args, "--unit="+u)
	}
	switch {
	case o.Tail >= 0:
		args = append(args, "--lines="+strconv.Itoa(o.Tail))
	case o.Follow:
		args = append(args, "--lines=all") // its own default is ten
	}
	if o.Follow {
		args = append(args, "--follow")
	}
	return args
}

// unitLogs asks the instance's journalctl, which every image with berth-svc has, and one with systemd's, too.
func unitLogs(ctx context.Context, e execer, id string, o api.LogOptions, w io.Writer) error {
	var trouble bytes.Buffer
	code, err := e.ExecTo(ctx, id, journalArgs(o), w, &limited{to: &trouble, left: 4 << 10})
	said := strings.TrimSpace(trouble.String())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && strings.Contains(err.Error(), "executable file not found"), err == nil && (code == 126 || code == 127):
		return &api.RefusedError{Message: "The instance has no journalctl: its image does not keep its services' logs apart (images made from berth/base do)."}
	case err != nil:
		return err
	case code != 0 && said == "":
		return fmt.Errorf("journalctl ends with %d", code)
	case code != 0:
		return &api.RefusedError{Message: said}
	}
	return nil
}

// limited passes the first bytes on.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if _, err := l.to.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// instances implements api.Instances on the hosts whose Docker Engines this process has.
type instances struct{ *composition }

// Drift implements api.Instances.
func (i instances) Drift(ctx context.Context, taskID string) (any, error) {
	client, ctr, err := i.container(taskID)
	if err != nil {
		return nil, err
	}
	return instance.Compare(ctx, client, ctr.ID)
}

// Commit implements api.Instances.
func (i instances) Commit(ctx context.Context, taskID string, r api.CommitRequest) (any, error) {
	client, ctr, err := i.container(taskID)
	if err != nil {
		return nil, err
	}
	i.committing.Lock() // two that want the same name
	defer i.committing.Unlock()
	return commit(ctx, client, ctr.ID, r)
}

func commit(ctx context.Context, client *docker.Client, id string, r api.CommitRequest) (*instance.Committed, error) {
	made, err := instance.Commit(ctx, client, id, instance.CommitOptions{
		Tag: r.Tag, Instance: r.Seat.String(), By: r.By, Message: r.Message, With: r.With, Now: time.Now(),
	})
	var name *instance.TagError
	switch {
	case errors.As(err, &name) && name.Exists:
		return nil, &api.ConflictError{Message: name.Error()}
	case errors.As(err, &name):
		return nil, &api.RefusedError{Message: name.Error()}
	}
	return made, err
}

// localInstance is the container of an instance on the Docker Engine of this host, without the scheduler.
func localInstance(ctx context.Context, client *docker.Client, arg, container string) (docker.Container, spec.SeatID, error) {
	seat, err := spec.ParseSeatID(strings.Trim(arg, "/"))
	if err != nil {
		return docker.Container{}, seat, fmt.Errorf("%s is no instance: with --here it must be named in full, APP.N", arg)
	}
	found, err := client.List(ctx, map[string]string{spec.LabelApp: string(seat.App), spec.LabelSeat: strconv.Itoa(seat.Index)})
	if err != nil {
		return docker.Container{}, seat, err
	}
	found = slices.DeleteFunc(found, func(c docker.Container) bool {
		return !c.Running || c.Labels[spec.LabelTask] == "" || container != "" && c.Labels[spec.LabelContainer] != container
	})
	// Of a pod it is its first container, not the one that only holds the network.
	slices.SortStableFunc(found, func(a, b docker.Container) int {
		return -strings.Compare(a.Labels[spec.LabelContainer], b.Labels[spec.LabelContainer])
	})
	if len(found) > 0 {
		return found[0], seat, nil
	}
	return docker.Container{}, seat, fmt.Errorf("instance %s has no running container on this host's Docker Engine", seat)
}
