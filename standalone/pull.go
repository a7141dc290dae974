package standalone

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/docker"
)

const (
	// pullTimeout bounds one pull, from the moment it has its place.
	pullTimeout = 15 * time.Minute
	// pullPlaces bounds the pulls under way. Docker itself fetches three layers at a time, so more would not be faster.
	pullPlaces = 4
)

// launchError is a failure before there is a container (of a pull, of a fetch), which Mesos reports otherwise than that of a
// start.
type launchError struct{ error }

func (e launchError) Unwrap() error { return e.error }

// pull is one image being fetched, for all tasks that wait for it. The loop alone touches waiting.
type pull struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{} // closes when err is there
	err     error
}

// pullKey is what pulls are shared by: an image, and as whom it is asked for.
type pullKey struct {
	image string
	as    docker.Credentials
}

// fetch waits until an image is pulled, by a pull of its own or one that is under way. A task that is killed stops waiting;
// the pull ends with the last that waits for it.
func (h *host) fetch(ctx context.Context, t *task, image pullKey) error {
	var p *pull
	if err := h.do(ctx, func() { p = h.join(image) }); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-t.abort:
		h.post(func() { h.leave(image, p) })
		return errAborted
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join adds a task to those that wait for an image.
func (h *host) join(image pullKey) *pull {
	p := h.pulling[image]
	if p == nil {
		ctx, cancel := context.WithCancel(h.ctx)
		p = &pull{cancel: cancel, done: make(chan struct{})}
		h.pulling[image] = p
		h.work(func(context.Context) {
			defer cancel()
			err := h.pull(ctx, image)
			h.post(func() {
				h.droppedPull(image, p)
				p.err = err
				close(p.done)
			})
		})
	}
	p.waiting++
	return p
}

func (h *host) leave(image pullKey, p *pull) {
	if p.waiting--; p.waiting == 0 {
		p.cancel()
		h.droppedPull(image, p)
	}
}

// droppedPull lets the next task that needs the image pull anew.
func (h *host) droppedPull(image pullKey, p *pull) {
	if h.pulling[image] == p {
		delete(h.pulling, image)
	}
}

func (h *host) pull(ctx context.Context, key pullKey) error {
	select {
	case h.pulls <- struct{}{}:
		defer func() { <-h.pulls }()
	case <-ctx.Done():
		return ctx.Err()
	}
	image := key.image
	h.log.WithField("image", image).Info("pulling image")
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	err := h.opts.Docker.Pull(ctx, image, key.as)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return launchError{fmt.Errorf("failed to pull image '%s': not done after %v", image, pullTimeout)}
	}
	return launchError{fmt.Errorf("failed to pull image '%s': %s", image, reasonText(err))}
}
