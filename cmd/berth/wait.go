package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// waitFlags are the flags of all verbs that start a deployment.
type waitFlags struct {
	wait    bool
	set     bool
	timeout time.Duration
}

func (f *waitFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until the deployment is done (default on a terminal)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "give the wait up after this time, exit code 4 (0: never)")
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		f.set = cmd.Flags().Changed("wait") || cmd.Flags().Changed("timeout")
		if cmd.Flags().Changed("timeout") && !cmd.Flags().Changed("wait") {
			f.wait = true
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// pollEvery is how often a wait looks. A look costs the scheduler two small answers.
const pollEvery = 300 * time.Millisecond

// await follows a deployment of some apps until it has ended, with progress on c.err. It fails when the deployment ended
// without reaching what it was for (it was cancelled, or a newer one took over).
func (c *cli) await(ctx context.Context, a *apiClient, f waitFlags, id string, apps []spec.AppID) error {
	if !f.wait && (f.set || !c.tty) {
		return nil
	}
	line := &statusLine{c: c}
	defer line.end()
	var expired <-chan time.Time
	if f.timeout > 0 {
		timer := time.NewTimer(f.timeout)
		defer timer.Stop()
		expired = timer.C
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		running, step, err := findDeployment(a, id)
		if err != nil {
			return waitError(ctx, line, id, err)
		}
		list, err := a.instances(apps...)
		if err != nil {
			return waitError(ctx, line, id, err)
		}
		text, reached := progress(list, apps)
		if !running {
			line.end()
			if !reached {
				return fmt.Errorf("deployment %s ended early (cancelled, or replaced by a newer one): %s", id, text)
			}
			c.say("done: %s", text)
			return nil
		}
		line.show("deployment " + id[:min(8, len(id))] + step + ": " + text)
		select {
		case <-ctx.Done():
			return waitError(ctx, line, id, ctx.Err())
		case <-expired:
			line.end()
			return fmt.Errorf("%w after %s; deployment %s goes on: %s", errTimeout, f.timeout, id, text)
		case <-tick.C:
		}
	}
}

// waitError says that an interrupted wait ended nothing.
func waitError(ctx context.Context, line *statusLine, id string, err error) error {
	line.end()
	if ctx.Err() != nil {
		return fmt.Errorf("%w; deployment %s goes on (`berth deployments` shows it, `berth ps` the instances)", errInterrupted, id)
	}
	return doing(err, "wait for deployment %s", id)
}

func findDeployment(a *apiClient, id string) (running bool, step string, err error) {
	list, err := a.Deployments()
	if err != nil {
		return false, "", err
	}
	for _, d := range list {
		if d.ID == id {
			return true, fmt.Sprintf(" step %d/%d", d.CurrentStep, d.TotalSteps), nil
		}
	}
	return false, "", nil
}

// progress sums up how far the apps are: "web 1/2 ready, waits: 4096 MiB asked, host-1 has 1000". reached says that every
// wanted instance is ready in its newest form and nothing is left over.
func progress(list *api.InstanceList, apps []spec.AppID) (text string, reached bool) {
	parts := make([]string, 0, len(apps))
	reached = true
	for _, id := range apps {
		wanted, ready, left := 0, 0, 0
		var why []string
		for _, r := range list.Instances {
			switch {
			case r.App != id:
			case r.Surplus || r.Temporary:
				left++
			default:
				if r.State != "stopping" {
					wanted++
				}
				if r.Ready && !r.Outdated {
					ready++
				} else if len(why) == 0 {
					why = r.Why
				}
			}
		}
		part := fmt.Sprintf("%s %d/%d ready", id, ready, wanted)
		if wanted == 0 && left == 0 {
			part = fmt.Sprintf("%s has no instances", id)
		}
		if left > 0 {
			part += fmt.Sprintf(", %d to go", left)
		}
		if len(why) > 0 {
			part += ", waits: " + strings.Join(why, "; ")
		}
		parts = append(parts, part)
		reached = reached && ready == wanted && left == 0
	}
	return strings.Join(parts, " | "), reached
}

// statusLine is one line that a terminal redraws in place; elsewhere each new text is a line.
type statusLine struct {
	c     *cli
	last  string
	drawn bool
}

func (l *statusLine) show(text string) {
	if text == l.last {
		return
	}
	news := gist(text) != gist(l.last)
	l.last = text
	if !l.c.tty {
		if news { // in a log, a reason in which only the times moved on says nothing new
			l.c.say("%s", text)
		}
		return
	}
	if r := []rune(text); len(r) > l.width() {
		text = string(r[:l.width()-1]) + "…"
	}
	fmt.Fprintf(l.c.err, "\r\x1b[K%s", text)
	l.drawn = true
}

// gist is a line without the figures of its reason.
func gist(text string) string {
	progress, why, _ := strings.Cut(text, ", waits: ")
	return progress + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' {
			return -1
		}
		return r
	}, why)
}

// width is how long a line may be: a text that wraps could not be redrawn.
func (l *statusLine) width() int {
	if l.c.width > 1 {
		return l.c.width - 1
	}
	return 79
}

func (l *statusLine) end() {
	if l.drawn {
		fmt.Fprint(l.c.err, "\r\x1b[K")
	}
	l.drawn = false
}
