package standalone

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/sirupsen/logrus"
)

// apiVersion is the Mesos version whose behaviour the engine shows; frameworks read it from SUBSCRIBED.
const apiVersion = "1.12.0"

// idle is the longest the loop sleeps.
const idle = time.Minute

// owner is the one loop that knows frameworks, offers and tasks. Everything below inbox is touched by the loop alone;
// HTTP handlers and workers send it functions.
type owner struct {
	*Engine
	ctx     context.Context //nolint:containedctx // of Run: the lifetime of all workers
	inbox   chan func()
	workers sync.WaitGroup

	masterID string
	ip       net.IP
	port     int

	frameworks   map[string]*framework
	gone         map[string]bool // removed frameworks
	frameworkSeq int

	hosts    []*host // in the order of the options
	offers   map[string]*offer
	offerSeq int

	tasks map[taskKey]*task
	owing map[*task]bool // tasks with updates to be acknowledged
}

// taskKey names a task: ids are unique in a framework only.
type taskKey struct{ framework, id string }

// Run serves on l until ctx ends. Tasks run on; the next Run finds them. It closes l.
func (e *Engine) Run(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := e.newOwner(ctx, l.Addr())
	s := &server{opts: &e.opts, owner: o}
	web := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: stdlog.New(complaints{e.log}, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(l); cancel() }()
	for _, h := range o.hosts {
		h.log.WithFields(logrus.Fields{"agent": h.agentID, "address": l.Addr().String()}).Info("engine serves the scheduler API")
	}
	o.loop()
	closed := web.Close()
	err := <-served
	o.workers.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the scheduler API: %w", err)
	}
	return closed
}

// complaints takes what net/http has to say about bad connections.
type complaints struct{ log logrus.FieldLogger }

func (c complaints) Write(text []byte) (int, error) {
	c.log.Debug("http: " + strings.TrimSpace(string(text)))
	return len(text), nil
}

func (e *Engine) newOwner(ctx context.Context, addr net.Addr) *owner {
	o := &owner{
		Engine: e, ctx: ctx, inbox: make(chan func()), masterID: uuid.NewString(),
		ip: net.IPv4(127, 0, 0, 1), frameworks: map[string]*framework{}, gone: map[string]bool{}, offers: map[string]*offer{},
		tasks: map[taskKey]*task{}, owing: map[*task]bool{},
	}
	for _, p := range e.prepared {
		o.hosts = append(o.hosts, o.newHost(p))
	}
	for _, id := range e.removed {
		o.gone[id] = true
	}
	if host, port, err := net.SplitHostPort(addr.String()); err == nil {
		if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
			o.ip = ip
		}
		o.port, _ = strconv.Atoi(port) // a listener that is not TCP has none
	}
	return o
}

func (o *owner) loop() {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for _, h := range o.hosts {
		h.follow()
	}
	for {
		for _, h := range o.hosts {
			h.allocate()
		}
		timer.Reset(time.Until(o.next()))
		select {
		case <-o.ctx.Done():
			for _, f := range o.frameworks {
				f.close()
			}
			return
		case f := <-o.inbox:
			f()
		case <-timer.C:
			o.tick(time.Now())
		}
	}
}

// next is when something is due.
func (o *owner) next() time.Time {
	due := time.Now().Add(idle)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(due) {
			due = t
		}
	}
	for t := range o.owing {
		sooner(t.resendAt)
	}
	for _, f := range o.frameworks {
		sooner(f.removeAt)
		for _, r := range f.filters {
			sooner(r.until)
		}
	}
	for _, h := range o.hosts {
		sooner(h.collectAt)
		sooner(h.cutAt)
	}
	return due
}

// tick does what is due.
func (o *owner) tick(now time.Time) {
	for t := range o.owing {
		if !now.Before(t.resendAt) {
			o.resend(t, now)
		}
	}
	for _, f := range o.frameworks {
		f.dropFilters(now)
		if !f.removeAt.IsZero() && !now.Before(f.removeAt) {
			o.log.WithField("framework", f.id).Warn("framework did not come back in time")
			o.remove(f)
		}
	}
	for _, h := range o.hosts {
		if !h.collectAt.IsZero() && !now.Before(h.collectAt) {
			h.collect(now)
		}
		if !h.cutAt.IsZero() && !now.Before(h.cutAt) {
			h.cutOff()
		}
	}
}

// do runs f in the loop and waits for it.
func (o *owner) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case o.inbox <- func() { f(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-o.ctx.Done():
		return errors.New("the engine is stopping")
	}
}

// post runs f in the loop some time; workers report with it.
func (o *owner) post(f func()) {
	select {
	case o.inbox <- f:
	case <-o.ctx.Done():
	}
}

// work runs f outside the loop; Run waits for it. f must end soon after the context does.
func (o *owner) work(f func(ctx context.Context)) {
	o.workers.Add(1)
	go func() {
		defer o.workers.Done()
		f(o.ctx)
	}()
}

// pause waits before the next try of something that failed; false when the engine stops.
func pause(ctx context.Context, try int) bool {
	d := min(200*time.Millisecond<<min(try, 10), 5*time.Second)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// subscribe is a SUBSCRIBE call.
func (o *owner) subscribe(ctx context.Context, c *scheduler.Call_Subscribe) (*stream, error) {
	st := &stream{id: uuid.NewString(), events: make(chan *scheduler.Event, streamBuffer)}
	if err := o.do(ctx, func() { o.subscribed(c, st) }); err != nil {
		return nil, err
	}
	return st, nil
}

// left is the end of a stream, from the connection's side.
func (o *owner) left(st *stream) { o.post(func() { o.disconnected(st) }) }

// call is any other call.
func (o *owner) call(ctx context.Context, c *scheduler.Call, streamID string) error {
	var answer error
	if err := o.do(ctx, func() { answer = o.perform(c, streamID) }); err != nil {
		return err
	}
	return answer
}

func (o *owner) perform(c *scheduler.Call, streamID string) error {
	f := o.frameworks[c.GetFrameworkID().GetValue()]
	switch {
	case f == nil:
		return refuse(http.StatusBadRequest, "Framework cannot be found")
	case f.stream == nil:
		return refuse(http.StatusForbidden, "Framework is not subscribed")
	case streamID == "":
		return refuse(http.StatusBadRequest, "All non-subscribe calls should include the '%s' header", streamIDHeader)
	case streamID != f.stream.id:
		return refuse(http.StatusBadRequest, "The stream ID '%s' included in this request didn't match the stream ID currently associated with framework ID '%s'", streamID, f.id)
	}
	switch c.Type {
	case scheduler.Call_ACCEPT:
		o.accept(f, c.Accept)
	case scheduler.Call_DECLINE:
		o.decline(f, c.Decline)
	case scheduler.Call_REVIVE:
		f.suppressed, f.filters = false, nil
	case scheduler.Call_SUPPRESS:
		f.suppressed = true
	case scheduler.Call_KILL:
		o.kill(f, c.Kill)
	case scheduler.Call_ACKNOWLEDGE:
		o.acknowledge(f, c.Acknowledge)
	case scheduler.Call_RECONCILE:
		o.reconcile(f, c.Reconcile)
	case scheduler.Call_TEARDOWN:
		o.remove(f)
	case scheduler.Call_ACCEPT_INVERSE_OFFERS, scheduler.Call_DECLINE_INVERSE_OFFERS, scheduler.Call_REQUEST, scheduler.Call_SHUTDOWN,
		scheduler.Call_MESSAGE, scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS, scheduler.Call_RECONCILE_OPERATIONS:
		// Nothing to do: this engine has no inverse offers, executors or offer operations, and need not act on requests.
	case scheduler.Call_UPDATE_FRAMEWORK:
		return refuse(http.StatusNotImplemented, "UPDATE_FRAMEWORK is not supported by this engine; subscribe again")
	default:
		return refuse(http.StatusNotImplemented, "Received unexpected %s call", c.Type)
	}
	return nil
}
