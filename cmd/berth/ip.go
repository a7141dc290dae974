package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

const ipLong = `An address is leased to a seat, not to a container: the lease outlives restarts, scaling down and the app itself, until its
pool has no unused address left. These verbs show which address is whose and what is really on it, and find where the
scheduler's store, the hosts' Docker Engines and their kernels do not say the same.`

func newIPCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "ip", Short: "Look at addresses: whose they are, what is on them, what is wrong", Long: ipLong, GroupID: groupLook, Args: cobra.NoArgs,
		Example: `  berth ip ls
  berth ip show 10.88.0.7
  berth ip check --repair
  berth ip release 10.88.0.7`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newIPListCommand(c), newIPShowCommand(c), newIPCheckCommand(c), newIPReleaseCommand(c))
	return cmd
}

func newIPListCommand(c *cli) *cobra.Command {
	var pool, app, host string
	var idle bool
	cmd := &cobra.Command{
		Use: "ls", Short: "List addresses that are leased, or that something is on", Args: cobra.NoArgs,
		Long: `List the addresses that are leased, and those that something else is on, such as a container started by hand.

STATE is active (the seat is wanted or has a task), idle (nobody wants the seat just now; it gets the address back when it
returns) or other (leased to nobody). ON is what the hosts told last: a container, with "!" when its link or route is not
as it should be.`,
		Example: `  berth ip ls
  berth ip ls --pool office --idle
  berth ip ls --app web
  berth ip ls --host node7 -o json | jq -r '.[].address'`,
		RunE: c.verb(func(_ context.Context, a *apiClient, _ []string) error {
			q := url.Values{}
			for name, value := range map[string]string{"pool": pool, "host": host} {
				if value != "" {
					q.Set(name, value)
				}
			}
			if app != "" {
				q.Set("app", string(absolute(app)))
			}
			if idle {
				q.Set("idle", "true")
			}
			rows, now, err := a.addresses(q)
			if err != nil {
				return doing(err, "list addresses")
			}
			return c.printAddresses(rows, now)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&pool, "pool", "", "only those of this `pool`")
	f.StringVar(&app, "app", "", "only those leased to seats of this `app`")
	f.StringVar(&host, "host", "", "only those of tasks and containers on this `host`")
	f.BoolVar(&idle, "idle", false, "only those whose seats nobody wants just now")
	_ = cmd.RegisterFlagCompletionFunc("app", c.completeApps(false, 0))
	return cmd
}

// addresses are those that the query selects, on all pages.
func (a *apiClient) addresses(q url.Values) (rows []api.Address, now string, err error) {
	rows = []api.Address{}
	q.Set("limit", "10000")
	for {
		var page api.AddressList
		if _, err := a.call("GET", "/berth/v1/addresses?"+q.Encode(), nil, &page); err != nil {
			return nil, "", err
		}
		rows = append(rows, page.Addresses...)
		if page.Next == "" {
			return rows, page.Now, nil
		}
		q.Set("after", page.Next)
	}
}

func (c *cli) printAddresses(rows []api.Address, now string) error {
	if c.output == "json" {
		return c.printJSON(rows)
	}
	if len(rows) == 0 {
		c.say("No addresses.")
		return nil
	}
	table := make([][]string, 0, len(rows))
	for _, r := range rows {
		state := r.State
		if d, ok := since(r.IdleSince, now); ok && r.IdleSince != "" {
			state += " " + shortDuration(d)
		}
		if r.Pinned {
			state += " (pinned)"
		}
		table = append(table, []string{r.Address, r.Pool, state, seatText(r), r.TaskState, r.Host, onText(r)})
	}
	return c.printTable([]string{"ADDRESS", "POOL", "STATE", "SEAT", "TASK", "HOST", "ON"}, table)
}

// seatText is the seat that has the address; "" for none.
func seatText(r api.Address) string {
	if r.Seat == nil {
		return ""
	}
	return spec.SeatID{App: r.App, Index: *r.Seat}.String()
}

// onText is what is on the address, in a word for each.
func onText(r api.Address) string {
	var out []string
	for _, on := range r.On {
		text := on.Name
		if on.TaskID != "" {
			text = fmt.Sprintf("container %.12s", on.Container)
		}
		if on.Container == "" {
			text = "only a route to " + or(on.Route, on.Link)
		}
		if on.Host != r.Host {
			text += " on " + on.Host
		}
		if on.Container != "" && on.Fault != "" {
			text += " !"
		}
		out = append(out, text)
	}
	if r.HeldBy != "" {
		out = append(out, r.HeldBy)
	}
	return strings.Join(out, ", ")
}

func newIPShowCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "show ADDRESS | APP.N", Short: "Tell the whole story of an address", Args: cobra.ExactArgs(1),
		Long: `Tell everything that is known of an address, or of those leased to a seat: whose lease it is, its task, and what each host
has for it in Docker and in the kernel.`,
		Example: `  berth ip show 10.88.0.7
  berth ip show /prod/web.0`,
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			rows, err := storyOf(a, args[0])
			if err != nil {
				return doing(err, "show %s", args[0])
			}
			if c.output == "json" {
				return c.printJSON(rows)
			}
			for i, r := range rows {
				if i > 0 {
					fmt.Fprintln(c.out)
				}
				c.printAddress(r)
			}
			return nil
		}),
	}
}

// storyOf finds an address, or all of a seat.
func storyOf(a *apiClient, what string) ([]api.Address, error) {
	if ip, err := netip.ParseAddr(what); err == nil {
		var r api.Address
		if _, err := a.call("GET", "/berth/v1/addresses/"+ip.String(), nil, &r); err != nil {
			return nil, err
		}
		return []api.Address{r}, nil
	}
	seat, err := spec.ParseSeatID(what)
	if err != nil {
		return nil, fmt.Errorf("it is no address, and %w", err)
	}
	rows, _, err := a.addresses(url.Values{"app": {string(seat.App)}})
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r api.Address) bool { return r.Seat == nil || *r.Seat != seat.Index })
	if len(rows) == 0 {
		return nil, fmt.Errorf("no address is leased to %s (berth ip ls --app %s lists those of its app)", seat, seat.App)
	}
	return rows, nil
}

func (c *cli) printAddress(r api.Address) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(c.out, "%-10s "+format+"\n", append([]any{name}, args...)...)
	}
	line("address", "%s", r.Address)
	line("pool", "%s", or(r.Pool, "none"))
	switch lease := "leased to " + seatText(r); {
	case r.State == "other":
		line("lease", "none")
	case r.State == "idle":
		line("lease", "%s, idle since %s: it gets it back when it returns, unless the pool runs out of addresses", lease, r.IdleSince)
	case r.Pinned:
		line("lease", "%s, pinned by its app", lease)
	default:
		line("lease", "%s", lease)
	}
	if r.Hostname != "" {
		line("hostname", "%s", r.Hostname)
	}
	switch {
	case r.TaskID != "":
		line("task", "%s, %s on %s since %s", r.TaskID, r.TaskState, r.Host, or(r.Since, "just now"))
	case r.Host != "":
		line("task", "none; the last was on %s", r.Host)
	default:
		line("task", "none")
	}
	for _, on := range r.On {
		what := "no container, only the kernel has something for it"
		if on.Container != "" {
			what = fmt.Sprintf("container %s (%.12s), started %s", on.Name, on.Container, or(on.Since, "at an unknown time"))
		}
		line("on "+on.Host, "%s", what)
		line("", "link %s, route to %s%s; told at %s", or(on.Link, "none"), or(on.Route, "nowhere"), choose(on.Announced, ", announced", ""), on.ToldAt)
		if on.Fault != "" {
			line("", "wrong: %s", on.Fault)
		}
	}
	if r.HeldBy != "" {
		line("held by", "%s", r.HeldBy)
	}
	if len(r.On) == 0 && r.HeldBy == "" {
		line("on", "nothing, as far as the hosts told")
	}
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func choose(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// errFindings is why a check fails that worked.
var errFindings = errors.New("something differs")

const checkLong = `Ask all hosts what they have, wait for their answers, and compare: the scheduler's store, the Docker Engines, the kernels'
links and routes, and what is announced. What differs is compared once more three seconds later, so that what is just
starting or ending is not reported. Of a host that does not answer nothing is said but that.

Exit code 0: nothing differs, or nothing any more after --repair. 1: something does.

--repair does what is safe, and says what it did: gives up leases that nobody wants, has hosts set their networks anew,
stops containers whose tasks are over, asks the engine about tasks that their host does not have. It never ends a task
that counts; the rest is for people to judge, and each finding says how.`

func newIPCheckCommand(c *cli) *cobra.Command {
	var repair bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "check", Short: "Compare store, Docker and kernel on all hosts, and say what differs and why", Long: checkLong, Args: cobra.NoArgs,
		Example: `  berth ip check
  berth ip check --repair
  berth ip check --wait 30s -o json | jq -r '.findings[].text'`,
		RunE: c.verb(func(_ context.Context, a *apiClient, _ []string) error {
			q := url.Values{"wait": {wait.String()}}
			if repair {
				q.Set("repair", "true")
			}
			var r api.AddressCheck
			if _, err := a.call("POST", "/berth/v1/addresses/check?"+q.Encode(), nil, &r); err != nil {
				return doing(err, "check addresses")
			}
			if err := c.printCheck(r, repair); err != nil {
				return err
			}
			if r.Left > 0 {
				return fmt.Errorf("check addresses: %d of %d findings are left: %w", r.Left, len(r.Findings), errFindings)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "do what is safe about it")
	cmd.Flags().DurationVar(&wait, "wait", 10*time.Second, "how long to wait for the hosts, at most 30s")
	return cmd
}

func (c *cli) printCheck(r api.AddressCheck, repair bool) error {
	if c.output == "json" {
		return c.printJSON(r)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(c.out, "%s: %s\n", f.Kind, f.Text)
		switch {
		case f.Done != "" && f.Gone:
			fmt.Fprintf(c.out, "  repaired: %s\n", f.Done)
		case f.Done != "":
			fmt.Fprintf(c.out, "  not repaired yet: %s\n", f.Done)
		case f.Gone:
			fmt.Fprintf(c.out, "  gone meanwhile\n")
		case f.Action != "" && !repair:
			fmt.Fprintf(c.out, "  --repair: %s\n", f.Repair)
		default:
			fmt.Fprintf(c.out, "  to do: %s\n", f.Repair)
		}
	}
	if len(r.Findings) == 0 {
		fmt.Fprintf(c.out, "Nothing differs: %s, %s.\n", plural(r.Addresses, "address", "addresses"), plural(r.Hosts, "host", "hosts"))
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func newIPReleaseCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "release ADDRESS", Short: "Give up the lease of an address that nobody wants", Args: cobra.ExactArgs(1),
		Long: `Give up an idle lease, so that any seat can have the address at once. The seat that had it gets another one when it
returns. Refused while the seat is wanted or has a task.`,
		Example: `  berth ip release 10.88.0.7`,
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			ip, err := netip.ParseAddr(args[0])
			if err != nil {
				return fmt.Errorf("release %s: it is no address", args[0])
			}
			var r api.Released
			if _, err := a.call("DELETE", "/berth/v1/addresses/"+ip.String(), nil, &r); err != nil {
				return doing(err, "release %s", ip)
			}
			if c.output == "json" {
				return c.printJSON(r)
			}
			fmt.Fprintf(c.out, "%s released; it was leased to %s\n", r.Address, spec.SeatID{App: r.App, Index: r.Seat})
			return nil
		}),
	}
}
