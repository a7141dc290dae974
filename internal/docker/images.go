package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
)

// ImageExists says whether the image is on this machine.
func (c *Client) ImageExists(ctx context.Context, ref string) (bool, error) {
	_, err := c.api.ImageInspect(ctx, ref)
	switch {
	case IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for image %s: %w", ref, err)
	}
	return true, nil
}

// Credentials are what a registry asks for; zero: nothing.
type Credentials struct {
	Username, Password string
	IdentityToken      string // instead of a password
	Server             string
}

// Pull fetches an image from its registry; without a tag or digest, the tag "latest". It returns when the image is whole.
func (c *Client) Pull(ctx context.Context, ref string, as Credentials) error {
	return c.PullWatched(ctx, ref, as, func(int64, int64) {})
}

// PullWatched is Pull that tells, often, how many bytes it has of those layers that it knows of.
func (c *Client) PullWatched(ctx context.Context, ref string, as Credentials, progress func(got, of int64)) error {
	var opts image.PullOptions
	if as != (Credentials{}) {
		auth, err := registry.EncodeAuthConfig(registry.AuthConfig{
			Username: as.Username, Password: as.Password, IdentityToken: as.IdentityToken, ServerAddress: as.Server,
		})
		if err != nil {
			return fmt.Errorf("pull image %s: %w", ref, err)
		}
		opts.RegistryAuth = auth
	}
	body, err := c.api.ImagePull(ctx, ref, opts)
	if err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	defer body.Close()
	if err := pullResult(body, progress); err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	return nil
}

// pullResult reads the progress stream to its end: the engine answers 200 first, and tells of failures inside the stream.
func pullResult(body io.Reader, progress func(got, of int64)) error {
	decoder := json.NewDecoder(body)
	layers := map[string][2]int64{}
	for {
		var line struct {
			ID     string `json:"id"`
			Status string `json:"status"`
			Detail struct {
				Current, Total int64
			} `json:"progressDetail"`
			Error string `json:"error"`
		}
		err := decoder.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the progress: %w", err)
		case line.Error != "":
			return errors.New(line.Error)
		case line.Status == "Downloading" && line.Detail.Total > 0:
			layers[line.ID] = [2]int64{line.Detail.Current, line.Detail.Total}
		case line.Status == "Download complete":
			layers[line.ID] = [2]int64{layers[line.ID][1], layers[line.ID][1]}
		default:
			continue
		}
		var got, of int64
		for _, l := range layers {
			got, of = got+l[0], of+l[1]
		}
		progress(got, of)
	}
}
