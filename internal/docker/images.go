package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/docker/docker/api/types/image"
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

// Pull fetches an image from its registry; without a tag or digest, the tag "latest". It returns when the image is whole.
func (c *Client) Pull(ctx context.Context, ref string) error {
	body, err := c.api.ImagePull(ctx, ref, image.PullOptions{})
	if err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	defer body.Close()
	if err := pullResult(body); err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	return nil
}

// pullResult reads the progress stream to its end: the engine answers 200 first, and tells of failures inside the stream.
func pullResult(progress io.Reader) error {
	decoder := json.NewDecoder(progress)
	for {
		var line struct {
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
		}
	}
}
