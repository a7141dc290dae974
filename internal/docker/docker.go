// Package docker is the only door to the Docker Engine: the calls that Berth needs in Berth's own types, and an inventory
// of all containers that follows the engine's events. Docker's own types never leave it.
package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"
)

// Client talks to one Docker Engine. It is safe for concurrent use. Deadlines are the caller's, by context.
type Client struct {
	api *client.Client
}

// New returns a client for the engine at host ("unix:///var/run/docker.sock"). An empty host means the environment's
// DOCKER_HOST, then the default socket. Nothing is sent yet: the API version is negotiated by the first call.
func New(host string) (*Client, error) {
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	api, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("set up the docker client: %w", err)
	}
	return &Client{api: api}, nil
}

// Close drops idle connections.
func (c *Client) Close() error { return c.api.Close() }

// Ping says whether the engine answers.
func (c *Client) Ping(ctx context.Context) error {
	if _, err := c.api.Ping(ctx); err != nil {
		return fmt.Errorf("ping docker: %w", err)
	}
	return nil
}

// Info describes the engine and its machine.
func (c *Client) Info(ctx context.Context) (Info, error) {
	i, err := c.api.Info(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("ask docker for its info: %w", err)
	}
	return Info{
		ID: i.ID, Name: i.Name, ServerVersion: i.ServerVersion, APIVersion: c.api.ClientVersion(),
		NCPU: i.NCPU, MemTotal: i.MemTotal, LiveRestore: i.LiveRestoreEnabled, RootDir: i.DockerRootDir,
		Driver: i.Driver, DriverStatus: i.DriverStatus, CgroupDriver: i.CgroupDriver, CgroupVersion: i.CgroupVersion,
		OperatingSystem: i.OperatingSystem, KernelVersion: i.KernelVersion,
	}, nil
}

// IsNotFound says that the container, image or network does not exist.
func IsNotFound(err error) bool { return cerrdefs.IsNotFound(err) }

// IsConflict says that the engine refused because of the object's state or because a name is taken.
func IsConflict(err error) bool { return cerrdefs.IsConflict(err) }

// IsGone says that the engine could not be reached, left in the middle of its answer, or is shutting down. All other
// failures are answers: they are about what was asked for, not about the engine.
func IsGone(err error) bool {
	var broken *net.OpError
	return client.IsErrConnectionFailed(err) || cerrdefs.IsUnavailable(err) || errors.As(err, &broken) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
