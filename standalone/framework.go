package standalone

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/sirupsen/logrus"
)

// readopt is how long the framework of recovered tasks has at least to subscribe again: its process usually starts with
// the engine's.
const readopt = 2 * time.Minute

// removalGrace is between TERM and KILL for the tasks of a removed framework; seen on a real agent.
const removalGrace = 3 * time.Second

// framework is one scheduler: subscribed, or known by its tasks.
type framework struct {
	id     string
	info   mesos.FrameworkInfo
	role   string
	stream *stream // nil while not subscribed

	suppressed bool
	filters    []filter
	failover   time.Duration
	removeAt   time.Time // zero while subscribed

	partitionAware, wantsKilling bool
}

// filter keeps resources that were refused out of offers for a while. It matches what lies within them: once more is
// free, an offer is made.
type filter struct {
	host    *host
	refused bundle
	until   time.Time
}

func (f *framework) dropFilters(now time.Time) {
	f.filters = slices.DeleteFunc(f.filters, func(r filter) bool { return !now.Before(r.until) })
}

func (f *framework) filtered(h *host, free bundle) bool {
	return slices.ContainsFunc(f.filters, func(r filter) bool { return r.host == h && r.refused.contains(free) })
}

// send queues an event. A reader that is thousands of events behind loses its stream and must subscribe again.
func (f *framework) send(e *scheduler.Event) {
	if f.stream == nil {
		return
	}
	select {
	case f.stream.events <- e:
	default:
		f.close()
	}
}

// close ends the stream after what is queued.
func (f *framework) close() {
	if f.stream != nil {
		close(f.stream.events)
		f.stream = nil
	}
}

// roles finds the framework's role, or what is wrong with its roles.
func roles(info *mesos.FrameworkInfo) (string, error) {
	multi := slices.ContainsFunc(info.Capabilities, func(c mesos.FrameworkInfo_Capability) bool {
		return c.Type == mesos.FrameworkInfo_Capability_MULTI_ROLE
	})
	switch {
	case multi && info.Role != nil:
		return "", fmt.Errorf("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable") //nolint:staticcheck // Mesos's words
	case !multi && len(info.Roles) > 0:
		return "", fmt.Errorf("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable") //nolint:staticcheck // Mesos's words
	case multi && len(info.Roles) > 0:
		return info.Roles[0], nil
	case info.GetRole() != "":
		return info.GetRole(), nil
	}
	return "*", nil
}

// subscribed takes in a SUBSCRIBE and makes st the framework's only stream.
func (o *owner) subscribed(c *scheduler.Call_Subscribe, st *stream) {
	info := *c.FrameworkInfo
	fail := func(text string) {
		st.events <- &scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: text}}
		close(st.events)
	}
	role, err := roles(&info)
	if err != nil {
		fail(err.Error())
		return
	}
	id := info.GetID().GetValue()
	if o.gone[id] {
		fail("Framework has been removed")
		return
	}
	if id == "" {
		id = fmt.Sprintf("%s-%04d", o.masterID, o.frameworkSeq)
		o.frameworkSeq++
	}
	f := o.frameworks[id]
	if f == nil {
		f = &framework{id: id}
		o.frameworks[id] = f
	}
	o.dropOffers(f)
	if f.stream != nil {
		f.send(&scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: "Framework failed over"}})
		f.close()
	}
	st.framework = id
	info.ID = &mesos.FrameworkID{Value: id}
	f.info, f.role, f.stream, f.filters, f.removeAt = info, role, st, nil, time.Time{}
	f.suppressed = slices.Contains(c.SuppressedRoles, role)
	f.failover = time.Duration(info.GetFailoverTimeout() * float64(time.Second))
	f.partitionAware, f.wantsKilling = false, false
	for _, k := range info.Capabilities {
		switch k.Type {
		case mesos.FrameworkInfo_Capability_PARTITION_AWARE:
			f.partitionAware = true
		case mesos.FrameworkInfo_Capability_TASK_KILLING_STATE:
			f.wantsKilling = true
		}
	}
	beat := o.opts.HeartbeatInterval.Seconds()
	f.send(&scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{
		FrameworkID: info.ID, HeartbeatIntervalSeconds: &beat, MasterInfo: masterInfo(o.masterID, o.ip, o.port),
	}})
	f.send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
	o.log.WithFields(logrus.Fields{"framework": id, "name": info.Name}).Info("framework subscribed")
	now := time.Now()
	for _, t := range o.tasksOf(id) { // the new stream has seen none of their updates
		if o.owing[t] {
			t.backoff = 0
			o.resend(t, now)
		}
	}
}

// disconnected is the end of a stream: the framework's offers go back, and its time to come back begins.
func (o *owner) disconnected(st *stream) {
	f := o.frameworks[st.framework]
	if f == nil || (f.stream != st && f.stream != nil) || !f.removeAt.IsZero() {
		return // taken over by another stream, or removed
	}
	f.close()
	o.dropOffers(f)
	o.log.WithField("framework", f.id).Info("framework disconnected")
	if f.failover <= 0 {
		o.remove(f)
		return
	}
	f.removeAt = time.Now().Add(f.failover)
}

// remove ends a framework for good, with all its tasks.
func (o *owner) remove(f *framework) {
	if err := o.rememberRemoved(f.id); err != nil {
		o.log.WithError(err).Error("a restart now would forget that the framework is removed")
	}
	o.log.WithField("framework", f.id).Info("framework removed")
	o.dropOffers(f)
	f.close()
	delete(o.frameworks, f.id)
	o.gone[f.id] = true
	for _, t := range o.tasksOf(f.id) {
		t.silent = true
		if t.phase == ended {
			o.forget(t)
			continue
		}
		t.host.end(t, removalGrace)
		if t.group != nil {
			t.host.endGroup(t.group, func(*task) time.Duration { return removalGrace })
		}
	}
}

func masterInfo(id string, at net.IP, on int) *mesos.MasterInfo {
	ip, version, host := at.String(), apiVersion, at.String()
	port := uint32(on) //nolint:gosec // a port
	pid := "master@" + net.JoinHostPort(ip, fmt.Sprint(port))
	m := &mesos.MasterInfo{
		ID: id, Port: &port, PID: &pid, Hostname: &host, Version: &version,
		Address: &mesos.Address{Hostname: &host, IP: &ip, Port: int32(port)}, //nolint:gosec // a port
	}
	if four := at.To4(); four != nil {
		m.IP = binary.LittleEndian.Uint32(four) // Mesos keeps network order in a host integer
	}
	return m
}
