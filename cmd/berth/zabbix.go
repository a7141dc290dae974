package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/monitor/zabbix"
)

// newZabbixCommand prints the UserParameter file that gives a host's own zabbix_agentd Berth's items.
func newZabbixCommand(c *cli) *cobra.Command {
	var binary, runDir string
	cmd := &cobra.Command{
		Use:   "zabbix-parameters",
		Short: "Print the UserParameter file for this host's zabbix_agentd",
		Long: `zabbix-parameters prints the UserParameter file with which the host's own zabbix_agentd answers Berth's items: the
discovery of instances, and CPU, throttling, memory, network and processes of each. The items are asked of the running
agent over a unix socket by the small program berth-zabbix. The template is monitor/template/berth-containers.yaml.`,
		Example: `  berth zabbix-parameters >/etc/zabbix/zabbix_agentd.conf.d/berth.conf
  berth zabbix-parameters --binary /usr/local/lib/berth/berth-zabbix`,
		Args: cobra.NoArgs, GroupID: groupDaemons,
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
	cmd.Flags().StringVar(&binary, "binary", "", "path of berth-zabbix (default: beside this program)")
	cmd.Flags().StringVar(&runDir, "run-dir", "/run/berth", "run folder of the running agent")
	return cmd
}
