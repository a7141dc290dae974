package standalone

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// sandboxRest is how old a sandbox without a container must be to be removed: a launch makes the folder first.
const sandboxRest = 10 * time.Minute

// markEnded gives an ended and acknowledged container the name by which the next run knows that nothing is owed.
func (h *host) markEnded(id, cid string) {
	h.work(func(ctx context.Context) {
		for try := 0; ; try++ {
			c, cancel := context.WithTimeout(ctx, callTimeout)
			err := h.opts.Docker.Rename(c, id, containerName(cid)+endedSuffix)
			cancel()
			if err == nil || docker.IsNotFound(err) || docker.IsConflict(err) {
				break
			}
			if !pause(ctx, try) {
				return
			}
		}
		h.post(func() {
			if next := time.Now().Add(time.Second); h.collectAt.IsZero() || next.Before(h.collectAt) {
				h.collectAt = next
			}
		})
	})
}

// collect removes ended containers: of a seat all but the newest, and whatever is older than KeepEnded.
func (h *host) collect(now time.Time) {
	h.collectAt = now.Add(10 * time.Minute)
	if !h.connected || h.collector {
		return
	}
	live := map[string]bool{}
	for cid := range h.containers {
		live[cid] = true
	}
	for cid := range h.groups {
		live[cid] = true
	}
	newest := map[string]docker.Container{}
	var old []docker.Container
	for _, c := range h.snapshot.Containers {
		cid := c.Labels[labelContainer]
		if c.Labels[labelAgent] != h.agentID {
			continue
		}
		marked := strings.HasSuffix(c.Name, endedSuffix)
		switch {
		case live[cid] || c.Running:
		case c.Labels[labelMembers] != "":
			old = append(old, c) // the sandbox of a group that is over
			continue
		case h.groups[c.Labels[labelGroup]] != nil:
			// Of a group that lives: how it ended tells the next run how the group is.
		case c.State == "created":
			old = append(old, c) // left by a launch that was given up
			continue
		case marked && now.Sub(c.FinishedAt) > h.opts.KeepEnded:
			old = append(old, c)
			continue
		case marked && c.Labels[spec.LabelApp] != "":
			seat := c.Labels[spec.LabelApp] + "." + c.Labels[spec.LabelSeat] + "." + c.Labels[spec.LabelContainer]
			if kept, ok := newest[seat]; !ok {
				newest[seat] = c
			} else if kept.FinishedAt.Before(c.FinishedAt) {
				newest[seat] = c
				old = append(old, kept)
			} else {
				old = append(old, c)
			}
		}
		live[cid] = true
	}
	for _, c := range old {
		delete(live, c.Labels[labelContainer])
	}
	h.collector = true
	h.work(func(ctx context.Context) {
		h.removeOld(ctx, old)
		h.removeSandboxes(live, now)
		h.post(func() { h.collector = false })
	})
}

func (h *host) removeOld(ctx context.Context, old []docker.Container) {
	for _, c := range old {
		if ctx.Err() != nil {
			return
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := h.opts.Docker.Remove(call, c.ID, false)
		cancel()
		if err != nil && !docker.IsNotFound(err) && ctx.Err() == nil {
			h.log.WithError(err).WithField("container", c.Name).Warn("cannot remove an ended container")
			continue
		}
		cid := c.Labels[labelContainer]
		if _, err := uuid.Parse(cid); err == nil { // labels are no file names until they are known to be ours
			h.removeSandbox(cid)
		}
	}
}

func (h *host) removeSandbox(cid string) {
	if err := os.RemoveAll(filepath.Join(h.opts.StateDir, sandboxDir, cid)); err != nil {
		h.log.WithError(err).Warn("cannot remove a sandbox")
	}
}

// removeSandboxes removes those without a container.
func (h *host) removeSandboxes(live map[string]bool, now time.Time) {
	entries, err := os.ReadDir(filepath.Join(h.opts.StateDir, sandboxDir))
	if err != nil {
		h.log.WithError(err).Warn("cannot list the sandboxes")
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || live[e.Name()] || now.Sub(info.ModTime()) < sandboxRest {
			continue
		}
		h.removeSandbox(e.Name())
	}
}
