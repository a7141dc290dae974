package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

type eventFlags struct {
	types []string
	count int
}

func newEventsCommand(c *cli) *cobra.Command {
	f := &eventFlags{}
	cmd := &cobra.Command{
		Use:     "events",
		Short:   "Follow what happens",
		GroupID: groupLook,
		Args:    cobra.NoArgs,
		Long: `Print events as they happen, one a line, until interrupted. When the connection breaks it is made again, and what was
missed comes first; what the scheduler does not remember any more shows as an event_stream_gap. With -o json each line is
the event as the API sends it.`,
		Example: `  berth events
  berth events --type deployment_success --type deployment_failed
  berth events --type deployment_success --count 1 -o json`,
		RunE: c.verb(func(ctx context.Context, a *apiClient, _ []string) error { return c.events(ctx, a, f) }),
	}
	cmd.Flags().StringArrayVar(&f.types, "type", nil, "only events of this type; repeatable")
	cmd.Flags().IntVar(&f.count, "count", 0, "end after this many events (0: never)")
	return cmd
}

// reconnectAfter is how long a broken event stream rests.
const reconnectAfter = time.Second

func (c *cli) events(ctx context.Context, a *apiClient, f *eventFlags) error {
	q := url.Values{"event_type": f.types}
	header := http.Header{"Accept": {"text/event-stream"}, "Accept-Encoding": {"identity"}}
	seen, connected := 0, false
	for {
		resp, err := a.do(http.MethodGet, "/v2/events?"+q.Encode(), header, nil)
		var refused *apiError
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!connected || errors.As(err, &refused)):
			return doing(err, "follow events")
		case err == nil:
			connected = true
			err = readEvents(resp.Body, func(id, kind, data string) error {
				if id != "" {
					header["Last-Event-Id"] = []string{id}
				}
				if err := c.printEvent(data); err != nil {
					return err
				}
				if kind == "event_stream_gap" {
					return nil // comes whatever was asked for, and is no event that somebody waits for
				}
				if seen++; seen == f.count {
					return errEnough
				}
				return nil
			})
			_ = resp.Body.Close()
			if errors.Is(err, errEnough) || ctx.Err() != nil {
				return nil
			}
		}
		c.say("The event stream broke off; connecting again.")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectAfter):
		}
	}
}

var errEnough = errors.New("enough events")

// readEvents calls each with id, type and data for every server-sent event, until the stream ends or each fails.
func readEvents(r io.Reader, each func(id, kind, data string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	var id, kind string
	var data []string
	for lines.Scan() {
		field, value, _ := strings.Cut(strings.TrimRight(lines.Text(), "\r"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "id":
			id = value
		case field == "event":
			kind = value
		case field == "data":
			data = append(data, value)
		case field == "" && value == "" && len(data) > 0:
			if err := each(id, kind, strings.Join(data, "\n")); err != nil {
				return err
			}
			kind, data = "", nil
		}
	}
	return lines.Err()
}

func (c *cli) printEvent(data string) error {
	if c.output == "json" {
		_, err := fmt.Fprintln(c.out, data)
		return err
	}
	var event map[string]any
	if err := json.Unmarshal([]byte(data), &event); err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	when, _ := event["timestamp"].(string)
	kind, _ := event["eventType"].(string)
	if t, err := time.Parse(time.RFC3339Nano, when); err == nil {
		when = t.Local().Format(time.TimeOnly)
	}
	_, err := fmt.Fprintf(c.out, "%s  %-28s %s\n", when, kind, eventDetails(event))
	return err
}

// eventDetails are the plain fields; nested ones (plans, definitions) would fill the screen, and of the plan the apps count.
func eventDetails(event map[string]any) string {
	var parts []string
	for key, v := range event {
		if key == "timestamp" || key == "eventType" {
			continue
		}
		switch v := v.(type) {
		case string, bool, float64:
			if v != "" {
				parts = append(parts, fmt.Sprintf("%s=%v", key, v))
			}
		case map[string]any:
			if actions := actionNames(v); actions != "" && key == "currentStep" {
				parts = append(parts, "step="+actions)
			} else if id, ok := v["id"].(string); ok {
				parts = append(parts, key+"="+id)
			}
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func actionNames(step map[string]any) string {
	actions, _ := step["actions"].([]any)
	var names []string
	for _, a := range actions {
		if action, ok := a.(map[string]any); ok {
			names = append(names, fmt.Sprintf("%v(%v)", action["action"], action["app"]))
		}
	}
	return strings.Join(names, ",")
}
