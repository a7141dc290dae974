package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-project/berth/monitor"
	"github.com/berth-project/berth/monitor/assets"
)

// monitorOptions are the flags of the monitor.
type monitorOptions struct {
	MonitorInterval time.Duration
	MetricsListen   string
	StatsD          string
	Graphite        string
}

func (o *monitorOptions) register(f *pflag.FlagSet) {
	f.DurationVar(&o.MonitorInterval, "monitor-interval", 10*time.Second, "time between two measurements of all containers, 1s to 10m")
	f.StringVar(&o.MetricsListen, "metrics-listen", "", "TCP address at which Prometheus scrapes /metrics, such as :9109; whoever reaches it can read (default: off)")
	f.StringVar(&o.StatsD, "statsd", "", "StatsD server to send every measurement to, HOST:PORT (UDP)")
	f.StringVar(&o.Graphite, "graphite", "", "Graphite server to send every measurement to, HOST:PORT (TCP, plain text)")
}

// settle finds every fault. An interval of 0 is the default one.
func (o *monitorOptions) settle() error {
	if o.MonitorInterval != 0 && o.MonitorInterval < time.Second || o.MonitorInterval > 10*time.Minute {
		return fmt.Errorf("--monitor-interval %v: between 1s and 10m", o.MonitorInterval)
	}
	if err := o.outputs().Validate(); err != nil {
		return fmt.Errorf("--metrics-listen, --statsd, --graphite: %w", err)
	}
	return nil
}

func (o *monitorOptions) outputs() monitor.Outputs {
	return monitor.Outputs{Metrics: o.MetricsListen, StatsD: o.StatsD, Graphite: o.Graphite}
}

func newMonitorCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "monitor", Short: "Dashboards and alerts for what the hosts measure", GroupID: groupDaemons, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "assets DIR", Short: "Write the Grafana dashboards and the Prometheus alert rules into a folder", Args: cobra.ExactArgs(1),
		Long: `assets writes the Grafana dashboards (hosts, apps, instances), Prometheus's alert and recording rules and an example of a scrape
configuration into DIR, which is made. They are for figures that agents serve with --metrics-listen (docs/monitoring.md).`,
		Example: `  berth monitor assets /etc/berth/monitoring
  promtool check rules /etc/berth/monitoring/berth-alerts.yaml`,
		RunE: func(_ *cobra.Command, args []string) error {
			names, err := assets.Write(args[0])
			for _, name := range names {
				fmt.Fprintln(c.out, name)
			}
			return err
		},
	})
	return cmd
}
