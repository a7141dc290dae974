package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
)

func newHostCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "host", Short: "List the hosts, empty one, or declare one dead", GroupID: groupLook,
		Example: `  berth host ls
  berth host drain host-3 --wait --reason "new disks"
  berth host undrain host-3
  berth host dead host-3   # it is off: its instances' addresses may move at once`,
	}
	ls := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the hosts: tasks, last contact, blocks, addresses", Args: cobra.NoArgs,
		RunE: c.verb(func(_ context.Context, a *apiClient, _ []string) error { return c.listHosts(a) }),
	}
	var yes bool
	dead := &cobra.Command{
		Use: "dead HOST", Short: "Declare that a host is off, so that its instances start elsewhere at once", Args: cobra.ExactArgs(1),
		Long: `Declare that a host is off for good or for a while. Its instances are given up and start on other hosts at once, with the same
addresses, instead of when --fence-after is over.

Say it only of a host that is certainly off, or has no way to the network: one that runs on, cut off from the scheduler alone,
answers on the same addresses as the new instances until it notices. When it comes back it finds that it has no instances: what
still runs of them is withdrawn from the network and stopped, and new ones may start on it.`,
		Example: `  berth host dead host-3
  berth host dead host-3 --yes`,
		ValidArgsFunction: c.completeHosts,
		RunE:              c.verb(func(_ context.Context, a *apiClient, args []string) error { return c.declareDead(a, args[0], yes) }),
	}
	dead.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask (needed when nobody can be asked)")
	cmd.AddCommand(ls, newHostDrainCommand(c), newHostUndrainCommand(c), dead)
	return cmd
}

func (a *apiClient) hosts() (*api.HostList, error) {
	var list api.HostList
	if _, err := a.call(http.MethodGet, "/berth/v1/hosts", nil, &list); err != nil {
		return nil, doing(err, "list hosts")
	}
	return &list, nil
}

func (c *cli) listHosts(a *apiClient) error {
	list, err := a.hosts()
	if err != nil {
		return err
	}
	if c.output == "json" {
		return c.printJSON(list)
	}
	if len(list.Hosts) == 0 {
		c.say("No host is known: none has made an offer, and no agent has spoken.")
		return nil
	}
	rows := make([][]string, 0, len(list.Hosts))
	for _, h := range list.Hosts {
		unreachable, notReady := "", ""
		if h.Unreachable > 0 {
			unreachable = fmt.Sprint(h.Unreachable)
		}
		for _, pool := range slices.Sorted(func(yield func(string) bool) {
			for p, why := range h.Networks {
				if why != "" && !yield(p+": "+why) {
					return
				}
			}
		}) {
			notReady = strings.TrimPrefix(notReady+"; "+pool, "; ")
		}
		drain := ""
		if h.Drain != nil {
			drain = drainText(h.Drain)
			if h.Drain.Reason != "" {
				drain += ": " + h.Drain.Reason
			}
		}
		rows = append(rows, []string{h.Name, h.State, fmt.Sprint(len(h.Tasks)), drain, unreachable, lastContact(h, list.Now), shortList(h.Blocks, 4), shortList(h.Addresses, 4), notReady})
	}
	return c.printTable([]string{"HOST", "STATE", "TASKS", "DRAIN", "UNREACHABLE", "CONTACT", "BLOCKS", "ADDRESSES", "WHY"}, rows, "DRAIN", "UNREACHABLE", "CONTACT", "BLOCKS", "WHY")
}

// lastContact is how long ago a host's network process was answered; "" when it never was.
func lastContact(h api.HostRow, now string) string {
	if ago, ok := since(h.Contact, now); ok {
		return shortDuration(ago) + " ago"
	}
	return ""
}

// shortList names the first few.
func shortList[T fmt.Stringer](list []T, most int) string {
	var out []string
	for i, a := range list {
		if i == most {
			return fmt.Sprintf("%s and %d more", strings.Join(out, " "), len(list)-most)
		}
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func (c *cli) declareDead(a *apiClient, name string, yes bool) error {
	list, err := a.hosts()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list.Hosts, func(h api.HostRow) bool { return h.Name == name })
	if i < 0 {
		return fmt.Errorf("declare host %s dead: there is no such host (berth host ls lists them)", name)
	}
	if err := c.confirmDead(list.Hosts[i], list.Now, yes); err != nil {
		return err
	}
	var done struct{ Tasks, Addresses []string }
	if _, err := a.call(http.MethodPost, "/berth/v1/hosts/"+url.PathEscape(name)+"/dead", nil, &done); err != nil {
		return doing(err, "declare host %s dead", name)
	}
	if c.output == "json" {
		return c.printJSON(map[string]any{"host": name, "tasks": done.Tasks, "addresses": done.Addresses})
	}
	c.say("Host %s is declared dead: %d tasks are given up, %d addresses move.", name, len(done.Tasks), len(done.Addresses))
	return nil
}

// confirmDead says what is going to happen, and asks.
func (c *cli) confirmDead(h api.HostRow, now string, yes bool) error {
	heard := "no berth net there has asked since the scheduler began"
	if ago := lastContact(h, now); ago != "" {
		heard = "its berth net was last answered " + ago
	}
	c.say("Host %s: %s. Its %d tasks are given up, %d of them unreachable, and start on other hosts at once with their addresses: %s",
		h.Name, heard, len(h.Tasks), h.Unreachable, shortList(h.Addresses, 10))
	if yes {
		return nil
	}
	if !c.tty {
		return fmt.Errorf("host dead %s gives up %d tasks; --yes confirms that the host is off", h.Name, len(h.Tasks))
	}
	fmt.Fprintf(c.err, "Is the host certainly off, or without any network? [y/N] ")
	answer, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return errors.New("nothing was declared")
	}
	return nil
}

// completeHosts offers the hosts' names.
func (c *cli) completeHosts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	a, err := newAPIClient(cmd.Context(), c.address, tokenFromEnv())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := a.hosts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, h := range list.Hosts {
		names = append(names, h.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
