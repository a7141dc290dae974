package registrator

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/spec"
)

// lookAtOthers takes in the containers that no document names. Any Berth's own have its labels.
func (l *loop) lookAtOthers(snapshot docker.Snapshot) {
	l.others = l.others[:0]
	clear(l.lingering)
	clear(l.unclear)
	if o := l.r.o.Others.Others; o == "" || o == services.OthersNone {
		return
	}
	for _, c := range snapshot.Containers {
		switch {
		case c.Labels[spec.LabelTask] != "" || c.Labels[spec.LabelSchema] != "":
		case c.Running && !c.Stopping.IsZero():
		case c.Partial && c.Running, l.r.o.KeepFailed && failed(c):
			l.lingering[c.ID], l.unclear[c.Name] = true, true
		case c.Running:
			l.others = append(l.others, other(c))
		}
	}
}

// failed says whether a container ended by itself with a fault. An exit code of 128 and more is a signal's: somebody ended it.
func failed(c docker.Container) bool {
	return !c.Running && (c.State == "exited" || c.State == "dead") && c.ExitCode > 0 && c.ExitCode < 128
}

// other is a container as package services sees it. Of its environment only what may say something of services is kept.
func other(c docker.Container) services.Container {
	out := services.Container{
		ID: c.ID, Name: c.Name, Image: c.Image, Addresses: c.Addresses, Labels: c.Labels, NetworkMode: c.NetworkMode, Env: map[string]string{},
	}
	for _, pair := range c.Env {
		if name, value, ok := strings.Cut(pair, "="); ok && telling(name) {
			out.Env[name] = value
		}
	}
	for _, p := range c.Ports {
		out.Ports = append(out.Ports, services.Port{Port: p.Port, Protocol: p.Protocol, HostIP: p.HostIP, HostPort: p.HostPort})
	}
	return out
}

// telling says whether a variable may say something of services.
func telling(name string) bool {
	for _, prefix := range []string{spec.ServiceVariable, "MARATHON_APP_", "PORT"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "MESOS_TASK_ID" || name == "HOST"
}

// lingers says whether the service of an id is a container's whose services stay as they are.
func (l *loop) lingers(id string) bool {
	return l.lingering[l.actual[id].Meta[services.MetaContainer]]
}

// trouble is what the log says of a service. Several containers may want the same id.
type trouble struct{ id, of, text string }

// complain logs once what people should know: a container that wants to be registered and is not, or a check that cannot be.
func (l *loop) complain() {
	now := map[trouble]bool{}
	say := func(id, of, text string) {
		this := trouble{id, of, text}
		now[this] = true
		if !l.troubles[this] {
			l.log.WithFields(logrus.Fields{"service": id, "of": of, "reason": text}).Warn("Not registered in Consul as it was asked for")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.wanted)) {
		if s := l.wanted[id]; s.Refused != "" {
			say(id, s.Of(), s.Refused)
		}
	}
	for _, w := range l.withheld {
		if w.Tell {
			say(w.ID, w.Container, w.Reason)
		}
	}
	l.troubles = now
}

// succeed removes what Registrator has registered of containers whose services are ours by now, or that are gone. One that
// we could not register yet keeps what it has.
func (l *loop) succeed(now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(l.legacy)) {
		if l.leaving < l.r.o.Workers && l.free(id, now) && l.taken(l.legacy[id]) {
			l.retire(id)
		}
	}
}

// taken says whether everything of a container is registered by us; of one that is gone, that is nothing.
func (l *loop) taken(container string) bool {
	if l.unclear[container] {
		return false
	}
	for id, s := range l.wanted {
		if _, ok := l.actual[id]; s.Container == container && !ok {
			return false
		}
	}
	for _, w := range l.withheld {
		if w.Container == container {
			return false
		}
	}
	return true
}

func (l *loop) retire(id string) {
	container := l.legacy[id]
	l.start(id, &l.leaving, func(ctx context.Context) error {
		return l.r.agent.deregister(ctx, id)
	}, func(err error, _ time.Time) {
		if err == nil {
			delete(l.legacy, id)
			l.log.WithFields(logrus.Fields{"service": id, "of": container}).Info("Removed from Consul what Registrator had left there")
		}
	})
}
