package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"
)

// ChangeKind says what became of a path of the image.
type ChangeKind string

// What can become of a path.
const (
	Changed ChangeKind = "changed"
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
)

// Change is one path in which a container differs from its image.
type Change struct {
	Kind ChangeKind
	Path string
}

// Diff lists in what a container's files differ from its image's, by path. Folders in which something changed are among
// them; what is in mounts is not.
func (c *Client) Diff(ctx context.Context, id string) ([]Change, error) {
	found, err := c.api.ContainerDiff(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("compare container %s with its image: %w", id, err)
	}
	out := make([]Change, 0, len(found))
	for _, f := range found {
		kind := Changed
		switch f.Kind {
		case container.ChangeAdd:
			kind = Added
		case container.ChangeDelete:
			kind = Removed
		}
		out = append(out, Change{kind, f.Path})
	}
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// Image is what the engine tells about an image.
type Image struct {
	ID      string
	Tags    []string
	Digests []string // NAME@sha256:..., of the registries that it came from or went to
	Labels  map[string]string
	Created time.Time
	// User and Entrypoint are as whom and with what its program is started; empty: root, and what a container says.
	User       string
	Entrypoint []string
	config     *container.Config
}

// InspectImage describes the image of a name or an id.
func (c *Client) InspectImage(ctx context.Context, ref string) (Image, error) {
	found, err := c.api.ImageInspect(ctx, ref)
	if err != nil {
		return Image{}, fmt.Errorf("look for image %s: %w", ref, err)
	}
	out := Image{ID: found.ID, Tags: found.RepoTags, Digests: found.RepoDigests, Created: parseTime(found.Created), config: &container.Config{}}
	if k := found.Config; k != nil {
		out.Labels, out.User, out.Entrypoint = k.Labels, k.User, k.Entrypoint
		out.config = &container.Config{
			User: k.User, ExposedPorts: nat.PortSet{}, Env: k.Env, Entrypoint: k.Entrypoint, Cmd: k.Cmd, Volumes: k.Volumes,
			WorkingDir: k.WorkingDir, Labels: k.Labels, StopSignal: k.StopSignal, OnBuild: k.OnBuild, Shell: k.Shell, Healthcheck: k.Healthcheck,
		}
		for port := range k.ExposedPorts {
			out.config.ExposedPorts[nat.Port(port)] = struct{}{}
		}
	}
	return out, nil
}

// RunsFrom is the id of the image that a container was made from, and where things are mounted in it.
func (c *Client) RunsFrom(ctx context.Context, id string) (imageID string, mounts []string, err error) {
	r, err := c.api.ContainerInspect(ctx, id)
	if err != nil {
		return "", nil, fmt.Errorf("inspect container %s: %w", id, err)
	}
	for _, m := range r.Mounts {
		mounts = append(mounts, m.Destination)
	}
	if r.HostConfig != nil {
		for at := range r.HostConfig.Tmpfs {
			mounts = append(mounts, at)
		}
	}
	slices.Sort(mounts)
	return r.Image, slices.Compact(mounts), nil
}

// Snapshot makes an image without a name of a container's files as they are at one moment; the engine holds the container's
// processes while it does. All that is in the container's own layer is in it.
func (c *Client) Snapshot(ctx context.Context, id string, labels map[string]string) (string, error) {
	made, err := c.api.ContainerCommit(ctx, id, container.CommitOptions{Pause: true, Config: &container.Config{Labels: labels}})
	if err != nil {
		return "", fmt.Errorf("keep the files of container %s: %w", id, err)
	}
	return made.ID, nil
}

// Commit makes an image of a container's files that is started as the image like is, with these labels beside that one's. It
// has no name: see Tag.
func (c *Client) Commit(ctx context.Context, id string, like Image, labels map[string]string, comment, author string) (string, error) {
	config := *like.config
	config.Labels = map[string]string{}
	for _, of := range []map[string]string{like.config.Labels, labels} {
		for k, v := range of {
			config.Labels[k] = v
		}
	}
	if config.Entrypoint == nil {
		config.Entrypoint = []string{} // nil would be replaced by the container's
	}
	made, err := c.api.ContainerCommit(ctx, id, container.CommitOptions{Comment: comment, Author: author, Config: &config})
	if err != nil {
		return "", fmt.Errorf("make an image of container %s: %w", id, err)
	}
	return made.ID, nil
}

// Tag gives an image a name. One that another image has is taken from it.
func (c *Client) Tag(ctx context.Context, id, ref string) error {
	if err := c.api.ImageTag(ctx, id, ref); err != nil {
		return fmt.Errorf("name image %s: %w", ref, err)
	}
	return nil
}

// RemoveImage removes an image by its id, if nothing uses it; one that is gone is no error.
func (c *Client) RemoveImage(ctx context.Context, id string) error {
	if _, err := c.api.ImageRemove(ctx, id, image.RemoveOptions{}); err != nil && !IsNotFound(err) {
		return fmt.Errorf("remove image %s: %w", id, err)
	}
	return nil
}

// ImagesWith lists the ids of the images that have the labels (an empty value means: any).
func (c *Client) ImagesWith(ctx context.Context, labels map[string]string) ([]string, error) {
	found, err := c.api.ImageList(ctx, image.ListOptions{Filters: labelFilter(labels)})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	out := make([]string, 0, len(found))
	for _, f := range found {
		out = append(out, f.ID)
	}
	return out, nil
}

// Export writes all of a container's own files as a tar archive, without what is mounted.
func (c *Client) Export(ctx context.Context, id string, w io.Writer) error {
	body, err := c.api.ContainerExport(ctx, id)
	if err != nil {
		return fmt.Errorf("read the files of container %s: %w", id, err)
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("read the files of container %s: %w", id, err)
	}
	return nil
}

// CopyOut hands each file at or below a path of a container to each, running or not, with its full path as its name. Links in
// the path itself are followed. A path that is not there is IsNotFound.
func (c *Client) CopyOut(ctx context.Context, id, from string, each func(h *tar.Header, body io.Reader) error) error {
	body, _, err := c.api.CopyFromContainer(ctx, id, from)
	if err != nil {
		return fmt.Errorf("read %s of container %s: %w", from, id, err)
	}
	defer body.Close()
	archive := tar.NewReader(body)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			h.Name = path.Join(path.Dir(from), h.Name)
			err = each(h, archive)
		}
		if err != nil {
			return fmt.Errorf("read %s of container %s: %w", from, id, err)
		}
	}
}

// CopyIn puts the files of a tar archive into a container, running or not, with the owners that the archive says.
func (c *Client) CopyIn(ctx context.Context, id string, archive io.Reader) error {
	err := c.api.CopyToContainer(ctx, id, "/", archive, container.CopyToContainerOptions{AllowOverwriteDirWithFile: true})
	if err != nil {
		return fmt.Errorf("put files into container %s: %w", id, err)
	}
	return nil
}

// Finish starts a container, and returns its exit code when it has ended.
func (c *Client) Finish(ctx context.Context, id string) (int, error) {
	ctx, cancel := context.WithCancel(ctx) // nobody waits for one that did not start
	defer cancel()
	ended, failed := c.api.ContainerWait(ctx, id, container.WaitConditionNextExit)
	if err := c.Start(ctx, id); err != nil {
		return 0, err
	}
	select {
	case err := <-failed:
		return 0, fmt.Errorf("wait for container %s: %w", id, err)
	case e := <-ended:
		if e.Error != nil {
			return 0, fmt.Errorf("wait for container %s: %s", id, e.Error.Message)
		}
		return int(e.StatusCode), nil
	}
}

// ExecTo runs a command as root in a running container, copies what it writes, and returns its exit code. When ctx ends first, the
// command is killed as Exec does it.
func (c *Client) ExecTo(ctx context.Context, id string, cmd []string, stdout, stderr io.Writer) (int, error) {
	made, err := c.api.ContainerExecCreate(ctx, id, container.ExecOptions{User: "0", Cmd: cmd, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, fmt.Errorf("prepare a command in container %s: %w", id, err)
	}
	conn, err := c.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(err, c.abandon(ctx, made.ID))
		}
		return 0, fmt.Errorf("run a command in container %s: %w", id, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close) // reads on the hijacked connection do not watch ctx
	defer stop()
	if _, err := stdcopy.StdCopy(stdout, stderr, conn.Reader); err != nil || ctx.Err() != nil {
		// Also when it is the reader who does not want more: nobody else would end the command.
		err = errors.Join(err, ctx.Err(), c.abandon(ctx, made.ID))
		return 0, fmt.Errorf("read a command's output in container %s: %w", id, err)
	}
	done, err := c.api.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return 0, fmt.Errorf("read a command's exit code in container %s: %w", id, err)
	}
	return done.ExitCode, nil
}
