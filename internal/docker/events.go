package docker

import (
	"context"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// replay is how far back an event stream begins: the engine answers a moment before it has subscribed the client.
const replay = 2 * time.Second

// Events follows the changes of containers and networks until ctx ends. The stream begins a little in the past, so an
// event may be about something that the caller knows already. After an error (one at most) nothing more comes.
func (c *Client) Events(ctx context.Context) (<-chan Event, <-chan error) {
	f := filters.NewArgs(filters.Arg("type", "container"), filters.Arg("type", "network"))
	// Not exec_* and health_status: every health probe makes three of them.
	for _, a := range []string{"create", "start", "die", "kill", "oom", "destroy", "rename", "pause", "unpause", "update", "connect", "disconnect", "remove"} {
		f.Add("event", a)
	}
	since := time.Now().Add(-replay)
	in, failed := c.api.Events(ctx, events.ListOptions{
		Filters: f, Since: strconv.FormatInt(since.Unix(), 10),
	})
	out := make(chan Event)
	errs := make(chan error, 1)
	go func() {
		for {
			select {
			case m := <-in:
				select {
				case out <- fromMessage(m):
				case <-ctx.Done():
					errs <- ctx.Err()
					return
				}
			case err := <-failed:
				errs <- err
				return
			}
		}
	}()
	return out, errs
}

func fromMessage(m events.Message) Event {
	e := Event{
		Type: string(m.Type), Action: string(m.Action), ID: m.Actor.ID, Name: m.Actor.Attributes["name"],
		Labels: m.Actor.Attributes, Time: time.Unix(0, m.TimeNano),
	}
	switch m.Type {
	case events.ContainerEventType:
		e.Container = m.Actor.ID
	case events.NetworkEventType:
		e.Container = m.Actor.Attributes["container"]
	}
	if code, err := strconv.Atoi(m.Actor.Attributes["exitCode"]); err == nil {
		e.ExitCode = code
	}
	return e
}
