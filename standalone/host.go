package standalone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/wholefile"
	"github.com/berth-project/berth/standalone/fetch"
)

const (
	agentFile  = "agent_id"
	sandboxDir = "sandboxes"
	fetchedDir = "fetched"
)

// preparedHost is what of a host outlives a run.
type preparedHost struct {
	opts    Host
	log     logrus.FieldLogger
	agentID string
	fetcher *fetch.Fetcher
}

// host is one Docker Engine with the tasks on it: what Mesos's agent is. The loop of its owner, which it shares with the other
// hosts, alone touches everything below asked.
type host struct {
	*owner
	*preparedHost

	attributes []mesos.Attribute
	slots      chan struct{} // taken while a container is created and started
	pulls      chan struct{} // taken while an image is pulled
	fetches    chan struct{} // taken while a task's URIs are fetched

	asked      []func() // calls about tasks that came before ready
	ready      bool     // the first whole inventory was taken in
	connected  bool     // Docker answers
	snapshot   docker.Snapshot
	cutAt      time.Time // when a silent Docker makes the host unreachable; zero: it answers, or nobody waits for that
	cut        bool      // the host is unreachable
	offered    bundle    // sum of its offers
	used       bundle    // sum of its tasks that have not ended
	total      bundle
	pulling    map[pullKey]*pull // by image
	containers map[string]*task  // by Mesos container id, while the container may run
	groups     map[string]*group // by the Mesos container id of the sandbox, until it is removed
	fencing    map[string]bool   // Mesos container ids of strays being stopped
	collectAt  time.Time         // next garbage collection; zero: not planned
	collector  bool              // a collection is under way
}

// prepare reads a host's state folder, or makes it with a new agent's id.
func prepare(h Host, log logrus.FieldLogger) (*preparedHost, error) {
	dir, err := filepath.Abs(h.StateDir) // Docker takes mounts by absolute path only
	if err != nil {
		return nil, fmt.Errorf("find the state folder of host %s: %w", h.Hostname, err)
	}
	h.StateDir = dir
	if err := os.MkdirAll(filepath.Join(dir, sandboxDir), 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder of host %s: %w", h.Hostname, err)
	}
	p := &preparedHost{opts: h, log: log.WithField("host", h.Hostname)}
	if p.agentID, err = readAgentID(filepath.Join(dir, agentFile)); err != nil {
		return nil, err
	}
	if h.Fetch.CacheDir == "" {
		h.Fetch.CacheDir = filepath.Join(dir, fetchedDir)
	}
	if h.Fetch.Log == nil {
		h.Fetch.Log = p.log
	}
	p.fetcher, err = fetch.New(h.Fetch)
	return p, err
}

func readAgentID(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(raw))) > 0 {
		return strings.TrimSpace(string(raw)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the agent id: %w", err)
	}
	id := uuid.NewString() + "-S0"
	// Half an id, or none after a power cut, would orphan every container.
	if err := wholefile.ReplaceDurably(file, []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("write the agent id: %w", err)
	}
	return id, nil
}

func (o *owner) newHost(p *preparedHost) *host {
	h := &host{
		owner: o, preparedHost: p,
		slots: make(chan struct{}, p.opts.Launches), pulls: make(chan struct{}, pullPlaces), fetches: make(chan struct{}, fetchPlaces),
		pulling: map[pullKey]*pull{}, containers: map[string]*task{}, groups: map[string]*group{}, fencing: map[string]bool{},
		total: bundle{
			cpus: milli(p.opts.CPUs), mem: milli(p.opts.MemMiB), disk: milli(p.opts.DiskMiB),
			ports: []span{{uint64(p.opts.PortBegin), uint64(p.opts.PortEnd)}},
		},
	}
	for _, name := range slices.Sorted(maps.Keys(p.opts.Attributes)) {
		h.attributes = append(h.attributes, mesos.Attribute{Name: name, Type: mesos.TEXT, Text: &mesos.Value_Text{Value: p.opts.Attributes[name]}})
	}
	return h
}

// hostOf is the host with that agent; nil: there is none.
func (o *owner) hostOf(agent *mesos.AgentID) *host {
	for _, h := range o.hosts {
		if agent != nil && h.agentID == agent.Value {
			return h
		}
	}
	return nil
}

// follow takes in the inventory as it is now, and has every change of it taken in.
func (h *host) follow() {
	look := func() <-chan struct{} {
		s, changed := h.opts.Inventory.Get()
		h.observe(s)
		return changed
	}
	h.planCut(time.Now())
	changed := look()
	h.work(func(ctx context.Context) {
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			if h.do(ctx, func() { changed = look() }) != nil {
				return
			}
		}
	})
}

// tasksHere are the host's tasks, in order.
func (h *host) tasksHere() []*task {
	var out []*task
	for _, t := range h.tasks {
		if t.host == h {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *task) int {
		return cmp.Or(cmp.Compare(a.key.framework, b.key.framework), cmp.Compare(a.key.id, b.key.id))
	})
	return out
}

// place is where this host has what tasks name by a common path. Sandboxes are the engine's, wherever its own folder is.
func (h *host) place(path string) string {
	if own, err := filepath.Rel(h.opts.StateDir, path); err == nil && filepath.IsLocal(own) {
		return path
	}
	for _, common := range slices.Backward(slices.Sorted(maps.Keys(h.opts.Elsewhere))) { // of two that match, the deeper one
		if rest, err := filepath.Rel(common, path); err == nil && filepath.IsLocal(rest) {
			return filepath.Join(h.opts.Elsewhere[common], rest)
		}
	}
	return path
}
