package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/internal/docker"
)

// Cleanup removes what an agent leaves on a host when it ends: the pools' networks, the packet filter's rules and the
// plugin's socket. Instances must be gone before, and the agent must not run: while a live process holds the plugin's socket
// nothing is touched. Engine, IPAMName, Log and, for routed mode, StateDir of the options are used. What is gone already is
// no error.
//
// Docker gives each network's gateway back to the driver and waits 15 s for one that does not answer, so the driver answers
// meanwhile; that also keeps an agent from starting in between.
func Cleanup(ctx context.Context, o Options) error {
	if err := o.network(); err != nil {
		return err
	}
	po := netplugin.Options{Name: o.IPAMName, Dir: o.PluginDir, Inventory: nobody{}, Log: o.Log}
	journal := filepath.Join(o.StateDir, endpointsFile)
	if _, err := os.Stat(journal); o.StateDir != "" && err == nil { // Docker asks the network driver, too
		po.Journal, po.Found = journal, func() ([]hostnet.Endpoint, error) { return nil, nil }
	}
	plugin, err := netplugin.New(po)
	if err != nil {
		return err
	}
	l, err := plugin.Listen() // this replaces the socket of a killed agent; Serve removes it at its end
	if err != nil {
		return fmt.Errorf("clean up networks: %w", err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- plugin.Serve(serving, l) }()
	errs := []error{removeAll(ctx, o), o.Router.Cleanup(ctx)}
	stop()
	errs = append(errs, <-served)
	if err := errors.Join(errs...); err != nil || po.Journal == "" {
		return err
	}
	if err := os.Remove(journal); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func removeAll(ctx context.Context, o Options) error {
	have, err := o.Engine.Networks(ctx)
	if err != nil {
		return fmt.Errorf("clean up networks: %w", err)
	}
	var errs []error
	for _, n := range have {
		if !ours(n, o.IPAMName) {
			continue
		}
		if err := o.Engine.RemoveNetwork(ctx, n.Name); err != nil && !docker.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("clean up: %w", err))
		}
	}
	return errors.Join(errs...)
}

// nobody is an inventory without containers.
type nobody struct{}

// Get says that nothing is known, and never changes.
func (nobody) Get() (docker.Snapshot, <-chan struct{}) { return docker.Snapshot{}, nil }
