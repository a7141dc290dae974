package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
)

func newHostDrainCommand(c *cli) *cobra.Command {
	var reason string
	var w waitFlags
	cmd := &cobra.Command{
		Use: "drain HOST", Short: "Empty a host: its instances go elsewhere, and it gets no new ones", Args: cobra.ExactArgs(1),
		Long: `Empty a host before work on it. It gets nothing new, and each of its instances is replaced on another host as in a rolling
update: within the app's minimumHealthCapacity and maximumOverCapacity, its seat and address kept, out of Consul and drained before it
is stopped. Nothing is stopped as long as no other host has room for it: the drain waits, and says for what.

An instance whose persistent volume is on the host stays, and is named. Until berth host undrain the host stays empty, also when
the scheduler is started again. With --wait the exit code is 0 only when nothing is left on the host.`,
		Example: `  berth host drain host-3 --wait --reason "new disks"
  berth host drain host-3 --timeout 30m && ssh host-3 reboot
  berth host undrain host-3`,
		ValidArgsFunction: c.completeHosts,
		RunE: c.verb(func(ctx context.Context, a *apiClient, args []string) error {
			return c.drainHost(ctx, a, args[0], reason, w)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever looks at the host or at what waits for it")
	w.register(cmd)
	cmd.Flags().Lookup("wait").Usage = "wait until nothing is left that can go elsewhere (default on a terminal)"
	return cmd
}

func newHostUndrainCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "undrain HOST", Short: "Let a host that was drained have instances again", Args: cobra.ExactArgs(1),
		Long: `Let a host that was drained have instances again. What is still there stays; what has gone elsewhere does not come back by itself,
only as later deployments and restarts find room.`,
		Example:           `  berth host undrain host-3`,
		ValidArgsFunction: c.completeHosts,
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			resp, err := a.do(http.MethodDelete, drainPath(args[0]), nil, nil)
			if err != nil {
				return doing(err, "undrain host %s", args[0])
			}
			_ = resp.Body.Close()
			if c.output == "json" {
				return c.printJSON(map[string]string{"host": args[0]})
			}
			c.say("Host %s is no longer drained.", args[0])
			return nil
		}),
	}
}

func drainPath(host string) string { return "/berth/v1/hosts/" + url.PathEscape(host) + "/drain" }

func (c *cli) drainHost(ctx context.Context, a *apiClient, host, reason string, w waitFlags) error {
	body, err := json.Marshal(map[string]string{"reason": reason})
	if err != nil {
		return err
	}
	var d api.HostDrainRow
	if _, err := a.call(http.MethodPost, drainPath(host), body, &d); err != nil {
		return doing(err, "drain host %s", host)
	}
	waits := w.wait || !w.set && c.tty
	if c.output == "json" && !waits {
		return c.printJSON(d)
	}
	text := fmt.Sprintf("Host %s gets nothing new; %s", host, drainText(&d))
	if d.DeploymentID != "" {
		text += " (deployment " + d.DeploymentID + ")"
	}
	c.say("%s", text)
	if !waits {
		return nil
	}
	if err := c.awaitDrain(ctx, a, host, w.timeout, &d); err != nil {
		return err
	}
	if c.output == "json" {
		return c.printJSON(d)
	}
	return nil
}

// drainText says how many instances are to go, and how many stay.
func drainText(d *api.HostDrainRow) string {
	moving := d.Moving()
	text := fmt.Sprintf("%s to go", instancesText(moving))
	if stays := len(d.Tasks) - moving; stays > 0 {
		text += fmt.Sprintf(", %d cannot go elsewhere", stays)
	}
	return text
}

func instancesText(n int) string {
	if n == 1 {
		return "1 instance"
	}
	return fmt.Sprintf("%d instances", n)
}

// awaitDrain follows a drain until nothing is left that can go elsewhere.
func (c *cli) awaitDrain(ctx context.Context, a *apiClient, host string, timeout time.Duration, d *api.HostDrainRow) error {
	line := &statusLine{c: c}
	defer line.end()
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		text := drainText(d)
		if d.Moving() == 0 {
			line.end()
			return c.drained(host, d)
		}
		for _, t := range d.Tasks {
			if !t.Stays && t.Why != "" {
				text += fmt.Sprintf(", waits: %s.%d: %s", t.App, t.Seat, t.Why)
				break
			}
		}
		line.show("drain " + host + ": " + text)
		select {
		case <-ctx.Done():
			line.end()
			return fmt.Errorf("%w; the drain of %s goes on (`berth host ls` shows it, `berth host undrain %s` ends it)", errInterrupted, host, host)
		case <-expired:
			line.end()
			return fmt.Errorf("%w after %s; the drain of %s goes on: %s", errTimeout, timeout, host, text)
		case <-tick.C:
		}
		var next api.HostDrainRow
		if _, err := a.call(http.MethodGet, drainPath(host), nil, &next); err != nil {
			var answer *apiError
			if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
				return fmt.Errorf("the drain of %s was ended (berth host undrain) with %s", host, text)
			}
			return doing(err, "wait for the drain of host %s", host)
		}
		*d = next
	}
}

// drained says that nothing more happens, and fails when the host is not empty.
func (c *cli) drained(host string, d *api.HostDrainRow) error {
	if len(d.Tasks) == 0 {
		c.say("Host %s is empty.", host)
		return nil
	}
	var stay []string
	for _, t := range d.Tasks {
		stay = append(stay, fmt.Sprintf("%s.%d: %s", t.App, t.Seat, t.Why))
	}
	return fmt.Errorf("host %s is not empty: %s stays there:\n  %s", host, instancesText(len(stay)), strings.Join(stay, "\n  "))
}
