package standalone

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	stdlog "log"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/sirupsen/logrus"
)

// SimulationOptions configure a Simulation. Fleet and Log are required.
type SimulationOptions struct {
	Fleet Fleet
	// Principal and Secret are the HTTP basic credentials that every call needs. Both empty: no authentication.
	Principal, Secret string
	HeartbeatInterval time.Duration // default 15 s
	Log               logrus.FieldLogger
}

// Simulation serves the scheduler API for a fleet that does not exist: offers, tasks and their updates are as a Mesos master
// with many agents would send them, but nothing runs. What it knows ends with the process.
type Simulation struct {
	opts Options
	Fleet
	log logrus.FieldLogger
}

// NewSimulation prepares a simulated fleet. Nothing is served before Run.
func NewSimulation(o SimulationOptions) (*Simulation, error) {
	opts := Options{Principal: o.Principal, Secret: o.Secret, HeartbeatInterval: o.HeartbeatInterval, Log: o.Log}.withDefaults()
	errs := []error{o.Fleet.validate()}
	if o.Log == nil {
		errs = append(errs, errors.New("no log"))
	}
	if (o.Principal == "") != (o.Secret == "") {
		errs = append(errs, errors.New("principal and secret go together"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("set up the simulation: %w", err)
	}
	return &Simulation{opts: opts, Fleet: o.Fleet, log: o.Log.WithField("component", "simulation")}, nil
}

// simulatedEvents is how many events may wait for a reader: the whole fleet may have something to say in one moment, as after a
// reconciliation, and a real master's socket holds as much.
const simulatedEvents = 1 << 19

// simulator is the one loop that knows the frameworks, offers and tasks of a simulation.
type simulator struct {
	*Simulation
	ctx   context.Context //nolint:containedctx // of Run
	inbox chan func()
	now   time.Time // of the message being handled

	masterID string
	ip       net.IP
	port     int
	data     []byte
	rand     *rand.Rand
	seq      uint64 // of offers, frameworks, containers and updates

	frameworks map[string]*framework
	gone       map[string]bool
	hosts      []*simulatedHost
	byAgent    map[string]*simulatedHost
	loose      map[*simulatedHost]bool // may have something to offer
	offers     map[string]*simulatedOffer
	tasks      map[taskKey]*simulatedTask
	agenda     timetable
}

// Run serves on l until ctx ends, and closes l.
func (s *Simulation) Run(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := s.newSimulator(ctx, l.Addr())
	web := &http.Server{
		Handler: (&server{opts: &s.opts, owner: m}).handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: stdlog.New(complaints{s.log}, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(l); cancel() }()
	s.log.WithFields(logrus.Fields{"hosts": s.Hosts, "address": l.Addr().String()}).Info("a simulated fleet serves the scheduler API: nothing runs")
	m.loop()
	closed := web.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the scheduler API: %w", err)
	}
	return closed
}

func (s *Simulation) newSimulator(ctx context.Context, addr net.Addr) *simulator {
	m := &simulator{
		Simulation: s, ctx: ctx, inbox: make(chan func(), 256), masterID: uuid.NewString(), ip: net.IPv4(127, 0, 0, 1),
		rand: rand.New(rand.NewPCG(s.Seed, s.Seed)), data: make([]byte, s.Data), //nolint:gosec // repeatable, not secret
		frameworks: map[string]*framework{}, gone: map[string]bool{}, byAgent: map[string]*simulatedHost{}, loose: map[*simulatedHost]bool{},
		offers: map[string]*simulatedOffer{}, tasks: map[taskKey]*simulatedTask{},
	}
	for i := range m.data {
		m.data[i] = byte(' ' + m.rand.IntN('~'-' '))
	}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		m.ip, m.port = tcp.IP, tcp.Port
	}
	total := bundle{cpus: milli(s.CPUs), mem: milli(s.Mem), disk: milli(s.Disk), ports: []span{{31000, 32000}}}
	for i, name := range s.Names() {
		h := &simulatedHost{index: i, name: name, agent: fmt.Sprintf("%s-S%d", m.masterID, i), total: total, executors: map[taskKey]bool{}}
		h.ip = net.IPv4(127, byte(1+i>>16), byte(i>>8), byte(i)).String()
		for _, a := range s.attributes(i) {
			h.attributes = append(h.attributes, mesos.Attribute{Name: a[0], Type: mesos.TEXT, Text: &mesos.Value_Text{Value: a[1]}})
		}
		m.hosts = append(m.hosts, h)
		m.byAgent[h.agent] = h
	}
	return m
}

func (m *simulator) loop() {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		timer.Reset(m.agenda.wait(time.Now()))
		select {
		case <-m.ctx.Done():
			for _, f := range m.frameworks {
				f.close()
			}
			return
		case f := <-m.inbox:
			m.now = time.Now()
			f()
			for drained := false; !drained; { // offers of many hosts then go out together
				select {
				case f := <-m.inbox:
					f()
				default:
					drained = true
				}
			}
		case <-timer.C:
		}
		m.now = time.Now()
		m.agenda.run(m.now)
		m.allocate()
	}
}

// do runs f in the loop and waits for it.
func (m *simulator) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case m.inbox <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.ctx.Done():
		return errors.New("the engine is stopping")
	}
	select {
	case <-done:
		return nil
	case <-m.ctx.Done():
		return errors.New("the engine is stopping")
	}
}

func (m *simulator) subscribe(ctx context.Context, c *scheduler.Call_Subscribe) (*stream, error) {
	st := &stream{id: uuid.NewString(), events: make(chan *scheduler.Event, simulatedEvents)}
	if err := m.do(ctx, func() { m.subscribed(c, st) }); err != nil {
		return nil, err
	}
	return st, nil
}

func (m *simulator) left(st *stream) {
	select {
	case m.inbox <- func() { m.disconnected(st) }:
	case <-m.ctx.Done():
	}
}

func (m *simulator) call(ctx context.Context, c *scheduler.Call, streamID string) error {
	var answer error
	if err := m.do(ctx, func() { answer = m.perform(c, streamID) }); err != nil {
		return err
	}
	return answer
}

func (m *simulator) perform(c *scheduler.Call, streamID string) error {
	f := m.frameworks[c.GetFrameworkID().GetValue()]
	switch {
	case f == nil:
		return refuse(http.StatusBadRequest, "Framework cannot be found")
	case f.stream == nil:
		return refuse(http.StatusForbidden, "Framework is not subscribed")
	case streamID != f.stream.id:
		return refuse(http.StatusBadRequest, "The stream ID '%s' included in this request didn't match the stream ID currently associated with framework ID '%s'", streamID, f.id)
	}
	switch c.Type {
	case scheduler.Call_ACCEPT:
		m.accept(f, c.Accept)
	case scheduler.Call_DECLINE:
		m.decline(f, c.Decline)
	case scheduler.Call_REVIVE:
		m.revive(f)
	case scheduler.Call_SUPPRESS:
		f.suppressed = true
	case scheduler.Call_KILL:
		m.kill(f, c.Kill)
	case scheduler.Call_ACKNOWLEDGE:
		m.acknowledge(f, c.Acknowledge)
	case scheduler.Call_RECONCILE:
		m.reconcile(f, c.Reconcile)
	case scheduler.Call_TEARDOWN:
		m.remove(f)
	case scheduler.Call_ACCEPT_INVERSE_OFFERS, scheduler.Call_DECLINE_INVERSE_OFFERS, scheduler.Call_REQUEST, scheduler.Call_SHUTDOWN,
		scheduler.Call_MESSAGE, scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS, scheduler.Call_RECONCILE_OPERATIONS:
		// As on the embedded engine: there are no inverse offers, executors or offer operations.
	default:
		return refuse(http.StatusNotImplemented, "Received unexpected %s call", c.Type)
	}
	return nil
}

func (m *simulator) next() uint64 {
	m.seq++
	return m.seq
}

// between is a duration from half to one and a half of d.
func (m *simulator) between(d time.Duration) time.Duration {
	return d/2 + time.Duration(m.rand.Float64()*float64(d))
}

// uuid identifies an update; sixteen bytes, as Mesos's do.
func (m *simulator) uuid() []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 16), m.masterID[:8]...), m.next())
}

// subscribed takes in a SUBSCRIBE and makes st the framework's only stream.
func (m *simulator) subscribed(c *scheduler.Call_Subscribe, st *stream) {
	info := *c.FrameworkInfo
	fail := func(text string) {
		st.events <- &scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: text}}
		close(st.events)
	}
	role, err := roles(&info)
	id := info.GetID().GetValue()
	switch {
	case err != nil:
		fail(err.Error())
		return
	case m.gone[id]:
		fail("Framework has been removed")
		return
	case id == "":
		id = fmt.Sprintf("%s-%04d", m.masterID, m.next())
	}
	f := m.frameworks[id]
	if f == nil {
		f = &framework{id: id}
		m.frameworks[id] = f
	}
	m.dropOffers(f)
	if f.stream != nil {
		f.send(&scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: "Framework failed over"}})
		f.close()
	}
	st.framework, info.ID = id, &mesos.FrameworkID{Value: id}
	f.info, f.role, f.stream, f.removeAt = info, role, st, time.Time{}
	f.failover = time.Duration(info.GetFailoverTimeout() * float64(time.Second))
	f.partitionAware, f.wantsKilling = capable(&info, mesos.FrameworkInfo_Capability_PARTITION_AWARE), capable(&info, mesos.FrameworkInfo_Capability_TASK_KILLING_STATE)
	beat := m.opts.HeartbeatInterval.Seconds()
	f.send(&scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{
		FrameworkID: info.ID, HeartbeatIntervalSeconds: &beat, MasterInfo: masterInfo(m.masterID, m.ip, m.port),
	}})
	f.send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
	m.log.WithFields(logrus.Fields{"framework": id, "name": info.Name}).Info("framework subscribed")
	m.revive(f)
	f.suppressed = slices.Contains(c.SuppressedRoles, role)
	for _, t := range m.tasksOf(id) { // the new stream has seen none of their updates
		if len(t.updates) > 0 {
			t.backoff = 0
			m.resend(t)
		}
	}
}

func capable(info *mesos.FrameworkInfo, of mesos.FrameworkInfo_Capability_Type) bool {
	return slices.ContainsFunc(info.Capabilities, func(c mesos.FrameworkInfo_Capability) bool { return c.Type == of })
}

// disconnected is the end of a stream: the framework's offers go back, and its time to come back begins.
func (m *simulator) disconnected(st *stream) {
	f := m.frameworks[st.framework]
	if f == nil || (f.stream != st && f.stream != nil) || !f.removeAt.IsZero() {
		return
	}
	f.close()
	m.dropOffers(f)
	m.log.WithField("framework", f.id).Info("framework disconnected")
	by := m.now.Add(f.failover)
	f.removeAt = by
	m.agenda.at(by, func() {
		if f.removeAt.Equal(by) {
			m.remove(f)
		}
	})
}

// remove ends a framework for good, with all its tasks.
func (m *simulator) remove(f *framework) {
	m.log.WithField("framework", f.id).Info("framework removed")
	m.dropOffers(f)
	f.close()
	delete(m.frameworks, f.id)
	m.gone[f.id] = true
	for _, t := range m.tasksOf(f.id) {
		m.release(t)
		delete(m.tasks, t.key)
	}
}
