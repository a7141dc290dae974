package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/monitor/template"
	"github.com/berth-project/berth/monitor/zabbix"
)

func newZabbixCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "zabbix", Short: "What Zabbix needs of this host: a template, the items, a test", GroupID: groupDaemons,
		Long: `zabbix has what an operator of Zabbix needs: the template to import, the UserParameter file for the zabbix_agentd that is
there already, a look at single items as zabbix_get has it, and a test of the whole way on this host.`,
		Example: `  berth zabbix template >berth.yaml                  # import it in Zabbix, 6.0 or later
  berth zabbix test                                  # on a host: does all work? every item with its value
  berth zabbix get berth.cpu.usage[/web,0]
  berth zabbix get berth.instances --address 10.0.0.7:10060`,
	}
	cmd.AddCommand(newZabbixTemplateCommand(c), newZabbixTestCommand(c), newZabbixGetCommand(c), newZabbixParametersCommand(c, "parameters"))
	return cmd
}

// newZabbixTemplateCommand prints a template to import.
func newZabbixTemplateCommand(c *cli) *cobra.Command {
	var pages int
	var kind string
	cmd := &cobra.Command{
		Use: "template", Short: "Print the template to import into Zabbix 6.0 or later", Args: cobra.NoArgs,
		Long: `template prints the YAML of the template for hosts: link it to the Zabbix host of each machine that runs Berth's agent.

Zabbix lets at most 29,999 items depend on one master item: 1,000 instances a host have room. With more, or with more than
about 500 asked for through zabbix_agentd (512 KB an answer), --pages parts the instances by app: an app's page depends on
its name and the number of pages alone. The item berth.pages tells how many a host needs, and a trigger when they are too
few.`,
		Example: `  berth zabbix template >berth.yaml
  berth zabbix template --pages 4 >berth.yaml
  berth zabbix template --kind instances >berth-instances.yaml`,
		RunE: func(*cobra.Command, []string) error {
			if pages < 1 || pages > zabbix.MaxPages {
				return fmt.Errorf("--pages %d: between 1 and %d are possible", pages, zabbix.MaxPages)
			}
			var b []byte
			var err error
			switch kind {
			case "host":
				b, err = template.Host(pages).Encode(template.HostComment)
			case "instances":
				if pages != 1 {
					return errors.New("--pages is for --kind host; instances have the macros {$BERTH.PAGES} and {$BERTH.PAGE} on the cluster's hosts")
				}
				b, err = template.Instances().Encode(template.InstancesComment)
			default:
				return fmt.Errorf("--kind %q is unknown: host or instances", kind)
			}
			if err != nil {
				return err
			}
			_, err = c.out.Write(b)
			return err
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "host", "what is a host in Zabbix: host, the machine with all its instances, or instances, each of the cluster's by itself (docs/monitoring.md)")
	cmd.Flags().IntVar(&pages, "pages", 1, "into how many pages the instances of a host are parted")
	return cmd
}

// newZabbixParametersCommand prints the UserParameter file that gives a host's own zabbix_agentd Berth's items.
func newZabbixParametersCommand(c *cli, name string) *cobra.Command {
	var binary, runDir string
	cmd := &cobra.Command{
		Use:   name,
		Short: "Print the UserParameter file for this host's zabbix_agentd",
		Long: name + ` prints the UserParameter file with which the host's own zabbix_agentd answers Berth's items: the
discovery of instances, their networks and services, and the figures of each and of the host. The items are asked of the running
agent over a unix socket by the small program berth-zabbix. The template is printed by berth zabbix template.`,
		Example: `  berth zabbix parameters >/etc/zabbix/zabbix_agentd.conf.d/berth.conf
  berth zabbix parameters --binary /usr/local/lib/berth/berth-zabbix`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if binary == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				binary = filepath.Join(filepath.Dir(self), "berth-zabbix")
			}
			_, err := c.out.Write(zabbix.UserParameters(binary, filepath.Join(runDir, "zabbix.sock")))
			return err
		},
	}
	cmd.Hidden = name != "parameters" // its name before there was berth zabbix
	cmd.Flags().StringVar(&binary, "binary", "", "path of berth-zabbix (default: beside this program)")
	cmd.Flags().StringVar(&runDir, "run-dir", "/run/berth", "run folder of the running agent")
	return cmd
}

func newZabbixGetCommand(c *cli) *cobra.Command {
	var o zabbixSource
	cmd := &cobra.Command{
		Use: "get KEY", Short: "Ask for one item, as zabbix_get does", Args: cobra.ExactArgs(1),
		Example: `  berth zabbix get berth.discovery
  berth zabbix get berth.mem.used[/prod/web,0]
  berth zabbix get agent.ping --address 10.0.0.7:10060`,
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := o.ask(cmd.Context(), args[0])
			var none notSupported
			if errors.As(err, &none) {
				return &failure{fmt.Errorf("%s has no value: %w", args[0], err)}
			}
			if err != nil {
				return &failure{err}
			}
			_, err = fmt.Fprintln(c.out, value)
			return err
		},
	}
	o.register(cmd)
	return cmd
}

func (o *zabbixSource) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.address, "address", "", "HOST:PORT of --zabbix-listen (default: the socket in --run-dir)")
	cmd.Flags().StringVar(&o.runDir, "run-dir", "/run/berth", "run folder of the running agent")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Second, "how long an answer may take")
}
