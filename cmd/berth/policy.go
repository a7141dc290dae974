package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

const policyLong = `Network policies say what instances may say to whom. They are Calico v3 NetworkPolicy and GlobalNetworkPolicy resources in the
file of the scheduler's --pools, and are enforced by "berth net --network routed" on each host. These verbs show them in the order in
which they are applied, with what their rules have decided: packets that opened a connection, or tried to. Hosts tell their
counts every half minute. A count begins anew when its rule changes, or the last instance that it is for leaves the host.`

func newPolicyCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", Short: "Look at network policies: their rules, and what they allowed and denied", Long: policyLong, GroupID: groupLook, Args: cobra.NoArgs,
		Example: `  berth policy ls
  berth policy show shop/db`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "ls", Short: "List network policies in their order", Long: "List network policies in their order.\n\n" + policyLong, Args: cobra.NoArgs,
		Example: `  berth policy ls
  berth policy ls -o json | jq '.hosts[] | select(.fault)'`,
		RunE: c.verb(func(_ context.Context, a *apiClient, _ []string) error {
			p, err := policies(a)
			if err != nil {
				return err
			}
			return c.printPolicies(p)
		}),
	}, &cobra.Command{
		Use: "show NAME", Short: "Show the rules of a network policy, with their counts", Long: "Show the rules of a network policy, with their counts.\n\n" + policyLong, Args: cobra.ExactArgs(1),
		Example: `  berth policy show lockdown    # a GlobalNetworkPolicy
  berth policy show shop/db     # a NetworkPolicy in namespace shop`,
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			p, err := policies(a)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(p.Policies, func(p api.Policy) bool { return p.Name == args[0] })
			if i < 0 {
				return fmt.Errorf("there is no network policy %q; berth policy ls lists them", args[0])
			}
			return c.printPolicy(p, p.Policies[i])
		}),
	})
	return cmd
}

func policies(a *apiClient) (api.Policies, error) {
	var p api.Policies
	if _, err := a.call("GET", "/berth/v1/policies", nil, &p); err != nil {
		return p, doing(err, "list network policies")
	}
	return p, nil
}

func (c *cli) printPolicies(p api.Policies) error {
	if c.output == "json" {
		return c.printJSON(p)
	}
	if len(p.Policies) == 0 {
		c.say("No network policies: everything may talk to everything.")
		return nil
	}
	var rows [][]string
	for _, policy := range p.Policies {
		var allowed, denied uint64
		for _, r := range policy.Rules {
			if r.Action == spec.PolicyAllow {
				allowed += r.Packets
			} else {
				denied += r.Packets
			}
		}
		rows = append(rows, []string{policy.Name, directions(policy), policy.Selects, fmt.Sprint(len(policy.Rules)), fmt.Sprint(allowed), fmt.Sprint(denied)})
	}
	if err := c.printTable([]string{"NAME", "OF", "SELECTS", "RULES", "ALLOWED", "DENIED"}, rows); err != nil {
		return err
	}
	c.printUndecided(p.Undecided)
	for _, h := range p.Hosts {
		if h.Fault != "" {
			c.say("%s: not in force: %s", h.Host, h.Fault)
		}
	}
	return nil
}

func directions(p api.Policy) string {
	var out []string
	if p.Ingress {
		out = append(out, "ingress")
	}
	if p.Egress {
		out = append(out, "egress")
	}
	return strings.Join(out, ",")
}

// printUndecided says what was dropped because no rule allowed it.
func (c *cli) printUndecided(all []api.PolicyDefault) {
	for _, d := range all {
		if d.Packets > 0 {
			c.say("Denied as no rule of %s allows it: %s, %d packets", strings.Join(d.Policies, ", "), d.Direction, d.Packets)
		}
	}
}

func (c *cli) printPolicy(all api.Policies, p api.Policy) error {
	undecided := slices.DeleteFunc(slices.Clone(all.Undecided), func(d api.PolicyDefault) bool { return !slices.Contains(d.Policies, p.Name) })
	if c.output == "json" {
		return c.printJSON(struct {
			api.Policy
			Undecided []api.PolicyDefault `json:"undecided"`
		}{p, undecided})
	}
	c.say("%s for %s: %s", p.Name, p.Selects, directions(p))
	var rows [][]string
	for _, r := range p.Rules {
		rows = append(rows, []string{r.Direction, fmt.Sprint(r.Rule), r.Action, r.Text, fmt.Sprint(r.Packets), fmt.Sprint(r.Bytes)})
	}
	if len(rows) == 0 {
		c.say("It has no rules: it allows nothing.")
	} else if err := c.printTable([]string{"DIRECTION", "RULE", "ACTION", "WHAT", "PACKETS", "BYTES"}, rows); err != nil {
		return err
	}
	c.printUndecided(undecided)
	return nil
}
