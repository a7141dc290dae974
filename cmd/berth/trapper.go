package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/monitor"
	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/trapper"
)

// trapperOptions are the flags of what tells Zabbix of each instance as a host of its own.
type trapperOptions struct {
	ZabbixTrapper string
	ZabbixEvery   time.Duration
	trappers      []trapper.Server
}

func (o *trapperOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.ZabbixTrapper, "zabbix-trapper", "", "Zabbix servers and proxies that get the figures of each instance, as a host of its own: HOST[:PORT],HOST[:PORT] (\";\" between the nodes of one cluster)")
	f.DurationVar(&o.ZabbixEvery, "zabbix-every", 30*time.Second, "how often --zabbix-trapper gets them")
}

// settle reads who is told, and how often.
func (o *trapperOptions) settle() error {
	if o.ZabbixTrapper == "" {
		return nil
	}
	var errs []error
	var err error
	if o.trappers, err = trapper.ParseServers(o.ZabbixTrapper); err != nil {
		errs = append(errs, fmt.Errorf("--zabbix-trapper: %w", err))
	}
	if o.ZabbixEvery < time.Second {
		errs = append(errs, fmt.Errorf("--zabbix-every %s is shorter than a second", o.ZabbixEvery))
	}
	return errors.Join(errs...)
}

// addTrapper tells Zabbix of each instance, where the operators say so.
func (c *composition) addTrapper(mon *monitor.Monitor) error {
	if c.trappers == nil {
		return nil
	}
	feed, err := trapper.New(trapper.Options{
		Servers: c.trappers, Every: c.ZabbixEvery, Host: c.Hostname, State: c.state, Version: buildVersion(), Log: c.log,
		Newest: func() (*figures.Snapshot, <-chan struct{}) {
			index, changed := mon.Newest()
			return index.Snapshot, changed
		},
	})
	if err != nil {
		return err
	}
	c.group.Add("trapper", feed.Run)
	return nil
}
