package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/agent"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
	"github.com/berth-project/berth/standalone"
	"github.com/berth-project/berth/standalone/fetch"
)

// endpoint is a Docker Engine that is offered as a host of its own.
type endpoint struct {
	name, url  string
	stateDir   string  // --state-dir of the host's agent
	cpus, mem  float64 // 0: what the Docker Engine says
	attributes map[string]string
}

// parseEndpoint reads "h1=unix:///run/h1/docker.sock,rack=r1,cpus=2".
func parseEndpoint(text string) (endpoint, error) {
	parts := strings.Split(text, ",")
	e := endpoint{stateDir: defaultStateDir, attributes: map[string]string{}}
	var ok bool
	if e.name, e.url, ok = strings.Cut(parts[0], "="); !ok || e.name == "" || e.url == "" {
		return e, errors.New("begin with NAME=URL, such as h1=unix:///run/h1/docker.sock")
	}
	var errs []error
	if strings.ContainsFunc(e.name, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) || strings.HasPrefix(e.name, ".") || len(e.name) > 63 {
		errs = append(errs, fmt.Errorf("%q is no name of a host", e.name))
	}
	if !strings.HasPrefix(e.url, "unix:///") && !strings.HasPrefix(e.url, "tcp://") {
		errs = append(errs, fmt.Errorf("%q is no unix:///PATH or tcp://HOST:PORT", e.url))
	}
	for _, part := range parts[1:] {
		name, value, ok := strings.Cut(part, "=")
		if !ok || name == "" || value == "" {
			errs = append(errs, fmt.Errorf("%q is no NAME=VALUE", part))
			continue
		}
		if err := e.set(name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return e, errors.Join(errs...)
}

func (e *endpoint) set(name, value string) error {
	amount := func(of *float64) (err error) {
		if *of, err = strconv.ParseFloat(value, 64); err == nil && !(*of > 0 && *of < 1<<40) {
			err = errors.New("must be positive")
		}
		return err
	}
	switch name {
	case "cpus":
		return amount(&e.cpus)
	case "mem":
		return amount(&e.mem)
	case "state-dir":
		if e.stateDir = filepath.Clean(value); !filepath.IsAbs(value) {
			return errors.New("need an absolute path")
		}
		return nil
	}
	if _, twice := e.attributes[name]; twice {
		return errors.New("named twice")
	}
	e.attributes[name] = value
	return nil
}

// settleEndpoints reads --endpoint, and what does not go with it.
func (s *settings) settleEndpoints() error {
	var errs []error
	names, urls := map[string]bool{}, map[string]bool{}
	for _, text := range s.Endpoints {
		e, err := parseEndpoint(text)
		switch {
		case err != nil:
			err = fmt.Errorf("--endpoint %s: %w", text, err)
		case names[e.name]:
			err = fmt.Errorf("--endpoint: two hosts are named %s", e.name)
		case urls[e.url]:
			err = fmt.Errorf("--endpoint: two hosts have the Docker Engine %s, which would be offered twice", e.url)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		names[e.name], urls[e.url] = true, true
		if e.name == s.Hostname {
			e.stateDir = s.StateDir // its agent is this process
		}
		s.endpoints = append(s.endpoints, e)
	}
	if s.EndpointTimeout < time.Second && len(s.Endpoints) > 0 {
		errs = append(errs, fmt.Errorf("--endpoint-timeout %s is too short: at least 1s", s.EndpointTimeout))
	}
	if len(s.Endpoints) > 0 && s.Simulate != "" {
		errs = append(errs, errors.New("--endpoint and --simulate do not go together"))
	}
	if len(s.Endpoints) > 0 && s.DockerHost != "" {
		errs = append(errs, errors.New("--docker-host does not go with --endpoint: name this machine's Docker Engine as an endpoint, under this host's --hostname"))
	}
	if len(s.Endpoints) > 0 && (s.OfferCPUs != 0 || s.OfferMem != 0) {
		errs = append(errs, errors.New("--offer-cpus and --offer-mem do not go with --endpoint: each endpoint has its own cpus=N and mem=N"))
	}
	return errors.Join(errs...)
}

// localEndpoint is the one that this process is the agent of, too; nil: there is none.
func (s *settings) localEndpoint() *endpoint {
	for i := range s.endpoints {
		if s.endpoints[i].name == s.Hostname {
			return &s.endpoints[i]
		}
	}
	return nil
}

// composeEndpoints wires the scheduler and its API to an engine of several named hosts. Each host's agent is a process of its
// own, but for that of this machine, if it is among them.
func composeEndpoints(ctx context.Context, s settings) (*run.Group, error) {
	c := &composition{settings: s}
	url, secret, err := c.addEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	cluster := engineSide{
		mesos:        mesos.Options{Masters: []string{url}, Principal: enginePrincipal, Secret: secret, Framework: mesos.Framework{Name: "berth"}},
		hostStateDir: defaultStateDir, features: map[string]bool{marathon.FeatureGPU: true}, logs: c.logs, instances: instances{c},
	}
	if _, err := c.addScheduler(ctx, cluster); err != nil {
		return nil, err
	}
	if s.localEndpoint() == nil {
		return &c.group, nil
	}
	if err := c.addHost("unix://"+c.socket(), ""); err != nil {
		return nil, err
	}
	return &c.group, nil
}

// addEndpoints adds the embedded engine of the named hosts.
func (c *composition) addEndpoints(ctx context.Context) (url, secret string, err error) {
	o := standalone.Options{StateDir: c.StateDir, UnreachableAfter: c.EndpointTimeout, Principal: enginePrincipal, Log: c.log}
	o.Hosts = make([]standalone.Host, len(c.endpoints))
	errs := make([]error, len(c.endpoints))
	var sizes sync.WaitGroup
	for i, e := range c.endpoints {
		client, err := c.endpointHost(e, &o.Hosts[i])
		if err != nil {
			errs[i] = fmt.Errorf("--endpoint %s: %w", e.name, err)
			continue
		}
		sizes.Go(func() { // all at once: some hosts may be away, and each of them keeps us waiting
			if err := c.measure(ctx, client, e, &o.Hosts[i]); err != nil {
				errs[i] = fmt.Errorf("--endpoint %s: %w", e.name, err)
			}
		})
	}
	sizes.Wait()
	if err := errors.Join(errs...); err != nil {
		return "", "", err
	}
	l, secret, err := c.engineListener()
	if err != nil {
		return "", "", err
	}
	o.Secret = secret
	engine, err := standalone.New(o)
	if err != nil {
		return "", "", errors.Join(err, l.Close())
	}
	c.agentID = engine.AgentID(c.Hostname)
	c.group.Add("engine", func(ctx context.Context) error { return engine.Run(ctx, l) })
	return "http://" + l.Addr().String(), secret, nil
}

// endpointHost follows an endpoint's containers. Folders of the engine are below --state-dir; those that tasks name below the
// agents' usual state folder are where this host's agent has them.
func (c *composition) endpointHost(e endpoint, h *standalone.Host) (*docker.Client, error) {
	*h = standalone.Host{
		Hostname: e.name, Attributes: e.attributes, StateDir: filepath.Join(c.StateDir, "hosts", e.name), VolumesDir: agent.VolumesDir(e.stateDir),
		Fetch: fetch.Options{Bytes: c.FetchLimit << 20, CacheBytes: c.FetchCache << 20, Roots: c.fetchRoots()},
	}
	local := e.name == c.Hostname
	if local {
		h.Attributes = withLXCFS(e.attributes)
		h.StateDir = c.StateDir // as without endpoints, so that its tasks and its agent's id stay
	}
	if e.stateDir != defaultStateDir {
		h.Elsewhere = map[string]string{defaultStateDir: e.stateDir}
	}
	if err := os.MkdirAll(h.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare folders: %w", err)
	}
	client, err := docker.New(e.url)
	if err != nil {
		return nil, fmt.Errorf("connect to the Docker Engine: %w", err)
	}
	inventory := c.follow(client, e.name)
	if h.Docker, h.Inventory = client, inventory; local {
		c.docker, c.inventory, c.state = client, inventory, &watch.Value[spec.HostState]{}
	}
	return client, nil
}

// measure finds out what the engine is to offer of an endpoint.
func (c *composition) measure(ctx context.Context, client *docker.Client, e endpoint, h *standalone.Host) (err error) {
	if h.CPUs, h.MemMiB, err = c.sizeOf(ctx, client, e, filepath.Join(h.StateDir, "size.json")); err != nil {
		return err
	}
	h.DiskMiB, err = freeDisk(h.StateDir)
	return err
}

// size is what an endpoint has, kept so that one that does not answer does not hold up the others' start.
type size struct {
	CPUs float64 `json:"cpus"`
	Mem  float64 `json:"mem"`
}

// infoTimeout is how long one endpoint may take to say what it has.
const infoTimeout = 10 * time.Second

// sizeOf is what to offer of an endpoint: what the flag says, or what its Docker Engine says now, or said the last time.
func (c *composition) sizeOf(ctx context.Context, client *docker.Client, e endpoint, file string) (cpus, mem float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	log := c.log.WithField("host", e.name)
	var known size
	info, err := client.Info(ctx)
	if err == nil {
		if !info.LiveRestore {
			log.Warn("the Docker Engine runs without live-restore: containers end with it (start dockerd with --live-restore)")
		}
		known = size{float64(info.NCPU), offeredMem(info)}
		text, encodeErr := json.Marshal(known)
		if err := errors.Join(encodeErr, os.WriteFile(file, text, 0o600)); err != nil {
			return 0, 0, fmt.Errorf("keep the size of the host: %w", err)
		}
	} else {
		log.WithError(err).Warn("the Docker Engine does not answer; its host comes when it does")
		text, readErr := os.ReadFile(file)
		if readErr == nil {
			readErr = json.Unmarshal(text, &known)
		}
		if readErr != nil && (e.cpus == 0 || e.mem == 0) {
			return 0, 0, fmt.Errorf("ask the Docker Engine what it has: %w (is dockerd running? With cpus=N and mem=N nobody needs to ask)", err)
		}
	}
	return cmp.Or(e.cpus, known.CPUs), cmp.Or(e.mem, known.Mem), nil
}
