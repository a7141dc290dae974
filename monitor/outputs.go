package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/openmetrics"
	"github.com/berth-project/berth/monitor/push"
)

// Outputs are what the figures are told to beside Zabbix; empty addresses are not used.
type Outputs struct {
	Metrics  string // TCP address at which Prometheus scrapes /metrics
	StatsD   string // UDP address of a StatsD server
	Graphite string // TCP address of a Graphite server's plain text port
}

// Validate reports every fault at once.
func (o Outputs) Validate() error {
	var faults []error
	for _, a := range []struct{ name, address string }{{"metrics", o.Metrics}, {"StatsD", o.StatsD}, {"Graphite", o.Graphite}} {
		if a.address == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(a.address); err != nil || port == "" {
			faults = append(faults, fmt.Errorf("%s address %q is not HOST:PORT", a.name, a.address))
		}
	}
	return errors.Join(faults...)
}

// outputs are what runs for them, each until ctx ends.
func (m *Monitor) outputs(ctx context.Context) ([]func() error, error) {
	var all []func() error
	if m.o.Outputs.Metrics != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", m.o.Outputs.Metrics)
		if err != nil {
			return nil, fmt.Errorf("serve Prometheus: %w", err)
		}
		m.log.WithField("address", l.Addr().String()).Info("Serving figures to Prometheus at /metrics")
		all = append(all, func() error {
			return openmetrics.Serve(ctx, l, func() *figures.Snapshot { s, _ := m.snapshot(); return s })
		})
	}
	for _, p := range []push.Options{{Protocol: push.StatsD, Address: m.o.Outputs.StatsD}, {Protocol: push.Graphite, Address: m.o.Outputs.Graphite}} {
		if p.Address == "" {
			continue
		}
		p.Newest, p.Log = m.snapshot, m.log
		all = append(all, func() error { return push.Run(ctx, p) })
	}
	return all, nil
}

func (m *Monitor) snapshot() (*figures.Snapshot, <-chan struct{}) {
	x, changed := m.newest.Get()
	return x.Snapshot, changed
}
