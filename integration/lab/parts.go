package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Program is the berth that it runs.
func (l *Lab) Program() string { return l.o.Berth }

// Host finds one by its name.
func (l *Lab) Host(name string) (*Host, error) {
	for _, h := range l.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("%q is no host of the lab: h1, h2 or h3", name)
}

// daemon finds one by the name of a part: "scheduler", "tor", "h1/net".
func (l *Lab) daemon(part string) (Daemon, error) {
	switch host, process, _ := strings.Cut(part, "/"); part {
	case "scheduler":
		return l.Scheduler(), nil
	case "tor":
		return l.Router.Daemon(), nil
	default:
		h, err := l.Host(host)
		if err != nil {
			return Daemon{}, fmt.Errorf("%q is no part of the lab: scheduler, tor, h1, h1/agent, h1/net, h1/dockerd ... h3/dockerd", part)
		}
		switch process {
		case "agent":
			return h.Agent(), nil
		case "net":
			return h.Net(), nil
		case "dockerd":
			return h.Dockerd(), nil
		}
		return Daemon{}, fmt.Errorf("%q is no process of a host: agent, net or dockerd", process)
	}
}

// Kill ends a part without a warning: a process, or a whole host.
func (l *Lab) Kill(ctx context.Context, part string) error {
	if h, err := l.Host(part); err == nil {
		return h.Crash(ctx)
	}
	d, err := l.daemon(part)
	if err != nil {
		return err
	}
	return d.Kill(ctx)
}

// Start starts a part again.
func (l *Lab) Start(ctx context.Context, part string) error {
	if h, err := l.Host(part); err == nil {
		return h.Boot(ctx)
	}
	d, err := l.daemon(part)
	if err != nil {
		return err
	}
	return d.Start(ctx)
}

// Status is what runs, for people.
func (l *Lab) Status(ctx context.Context) string {
	var out strings.Builder
	line := func(place, what string, err error, daemons ...Daemon) {
		fmt.Fprintf(&out, "%-8s %-13s", place, what)
		for _, d := range daemons {
			name, state := d.Name[strings.IndexByte(d.Name, '/')+1:], "runs"
			if !d.Runs() {
				state = "DOES NOT RUN"
			}
			fmt.Fprintf(&out, "  %s %s", name, state)
		}
		if err != nil {
			fmt.Fprintf(&out, "  %v", err)
		}
		out.WriteByte('\n')
	}
	line("fabric", schedulerAddress, nil, l.Scheduler())
	for _, h := range l.Hosts {
		err := l.Router.Established(ctx, h.Name)
		if err != nil {
			err = errors.New("NO SESSION with the router")
		}
		line(h.Name, h.Address(), err, h.Net(), h.Agent(), h.Dockerd())
	}
	line("tor", routerAddress, nil, l.Router.Daemon())
	line("office", officeAddress, nil)
	return out.String()
}
