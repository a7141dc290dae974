package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/scheduler"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/calico"
	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/standalone"
)

// What a rehearsal uses where the flags say nothing: not the folders of a real standalone, and room for a large fleet.
const (
	simulatedStateDir = "/var/lib/berth-rehearsal"
	simulatedRunDir   = "/run/berth-rehearsal"
	simulatedPools    = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: berth}
spec: {cidr: 10.0.0.0/8}
`
)

// markerFile tells the state of a rehearsal from that of a real standalone: one must never be started on the other, whose
// instances it would take for lost.
const markerFile = "rehearsal"

// settleSimulation reads --simulate, and chooses folders that are not those of a real standalone.
func (s *settings) settleSimulation() error {
	if s.Simulate == "" {
		return nil
	}
	fleet, err := standalone.ParseFleet(s.Simulate)
	if err != nil {
		return fmt.Errorf("--simulate: %w", err)
	}
	s.fleet = &fleet
	if s.StateDir == defaultStateDir {
		s.StateDir = simulatedStateDir
	}
	if s.RunDir == defaultRunDir {
		s.RunDir = simulatedRunDir
	}
	if s.PoolsFile == "" {
		if s.pools, err = calico.DecodePools([]byte(simulatedPools)); err != nil {
			return err
		}
	}
	if s.Consul != "" || s.Cleanup {
		return errors.New("--simulate changes nothing outside its folders: it goes neither with --consul nor with --cleanup")
	}
	return nil
}

// checkMarker refuses a state folder of the other kind, and marks one of a rehearsal.
func (s settings) checkMarker() error {
	marker := filepath.Join(s.StateDir, markerFile)
	_, markErr := os.Stat(marker)
	_, stateErr := os.Stat(filepath.Join(s.StateDir, "berth.db"))
	switch marked, used := markErr == nil, stateErr == nil; {
	case marked && s.fleet == nil:
		return fmt.Errorf("--state-dir %s is that of a rehearsal (--simulate): choose another folder", s.StateDir)
	case used && !marked && s.fleet != nil:
		return fmt.Errorf("--state-dir %s is that of a real standalone: choose another folder for --simulate", s.StateDir)
	case s.fleet == nil || marked:
		return nil
	}
	return os.WriteFile(marker, []byte("The state in this folder is of simulated hosts.\n"), 0o600)
}

// composeSimulated wires the scheduler and its API to a fleet that does not exist. Nothing runs and nothing of the machine
// changes beside the state folder.
func composeSimulated(ctx context.Context, s settings) (*run.Group, error) {
	c := &composition{settings: s}
	url, secret, err := c.addSimulation()
	if err != nil {
		return nil, err
	}
	sched, err := c.addScheduler(ctx, simulatedSide(url, secret))
	if err != nil {
		return nil, err
	}
	c.addSimulatedAgents(sched)
	return &c.group, nil
}

// simulatedSide is the embedded engine's, but for the output of tasks.
func simulatedSide(url, secret string) engineSide {
	return engineSide{
		mesos:    mesos.Options{Masters: []string{url}, Principal: enginePrincipal, Secret: secret, Framework: mesos.Framework{Name: "berth"}},
		features: map[string]bool{marathon.FeatureGPU: true}, hostStateDir: defaultStateDir,
		logs: func(_ context.Context, taskID string, _ api.LogOptions, _ io.Writer) error {
			return fmt.Errorf("task %s is simulated and has no output", taskID)
		},
	}
}

// addSimulation adds the engine of the simulated fleet.
func (c *composition) addSimulation() (url, secret string, err error) {
	l, secret, err := c.engineListener()
	if err != nil {
		return "", "", err
	}
	sim, err := standalone.NewSimulation(standalone.SimulationOptions{Fleet: *c.fleet, Principal: enginePrincipal, Secret: secret, Log: c.log})
	if err != nil {
		return "", "", errors.Join(err, l.Close())
	}
	c.group.Add("simulation", func(ctx context.Context) error { return sim.Run(ctx, l) })
	return "http://" + l.Addr().String(), secret, nil
}

// addSimulatedAgents adds what the agents of the simulated hosts would report.
func (c *composition) addSimulatedAgents(sched *scheduler.Scheduler) {
	var pools []string
	for _, p := range c.pools {
		pools = append(pools, p.Name)
	}
	c.group.Add("simulated agents", func(ctx context.Context) error {
		enginetest.Agents(ctx, sched, c.fleet.Names(), pools)
		<-ctx.Done()
		return nil
	})
}

// engineListener is where the engine serves, and the secret that it asks for: its API can start containers, so even on
// loopback it asks for one, which lives as long as the process.
func (c *composition) engineListener() (net.Listener, string, error) {
	l, err := net.Listen("tcp", c.EngineListen)
	if err != nil {
		return nil, "", fmt.Errorf("--engine-listen: %w", err)
	}
	if ip := l.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		return nil, "", errors.Join(fmt.Errorf("--engine-listen %s: only loopback addresses are served", c.EngineListen), l.Close())
	}
	random := make([]byte, 24)
	if _, err := rand.Read(random); err != nil {
		return nil, "", errors.Join(fmt.Errorf("make the engine's secret: %w", err), l.Close())
	}
	return l, hex.EncodeToString(random), nil
}
