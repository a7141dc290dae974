package mesos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	// defaultHeartbeat is Mesos's interval, for masters that do not tell theirs.
	defaultHeartbeat = 15 * time.Second
	// A session is given up when nothing came for silentBeats heartbeats, but not before minSilence: a busy machine may
	// well be late by a few seconds, and subscribing again costs all offers.
	silentBeats = 3
	minSilence  = 5 * time.Second
	// maxRedirects bounds one attempt; two masters may each believe that the other one leads.
	maxRedirects = 5
)

// Messages of ERROR events that mean something of their own, as Mesos's master words them.
const (
	messageRemoved    = "Framework has been removed"
	messageFailedOver = "Framework failed over"
)

// Run subscribes, delivers events, and subscribes again after every end, until ctx ends (its error is returned) or the
// framework is removed (ErrFrameworkRemoved). The reader of events may be slow: the master then waits, and nothing is lost.
func (c *Client) Run(ctx context.Context, events chan<- Event) error {
	back := backoff{min: c.opts.MinBackoff, max: c.opts.MaxBackoff, rand: c.opts.Rand}
	masters := c.opts.finder()
	found := make(chan struct{})
	findCtx, stop := context.WithCancel(ctx)
	go func() { defer close(found); masters.run(findCtx) }()
	defer func() { stop(); <-found }()
	for failed := false; ; {
		began := time.Now()
		subscribed, changed, err := c.subscribeAt(ctx, masters, failed, events)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrFrameworkRemoved) {
			return err
		}
		failed = !subscribed
		lasted := subscribed && time.Since(began) >= c.opts.MaxBackoff
		retry := back.next(lasted || errors.Is(err, ErrNewLeader))
		c.log.WithError(err).WithField("retry", retry).Warn("not subscribed to the engine")
		if err := send(ctx, events, Disconnected{Err: err, Retry: retry}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retry):
		case <-changed: // nobody waits for a master that has just been elected
		}
	}
}

// backoff makes pauses between min and max, each up to twice the last one, with jitter so that many schedulers do not come
// back to a restarted master in the same moment.
type backoff struct {
	min, max, step time.Duration
	rand           func() float64
}

// next is the next pause. fresh says that things went well for long enough to begin with a short pause again: a session
// that soon ends is no success, so two schedulers that fight for one framework slow each other down.
func (b *backoff) next(fresh bool) time.Duration {
	if fresh || b.step == 0 {
		b.step = b.min
	} else {
		b.step = min(2*b.step, b.max)
	}
	return b.step/2 + time.Duration(b.rand()*float64(b.step/2))
}

func send(ctx context.Context, events chan<- Event, e Event) error {
	select {
	case events <- e:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// attempt is one subscription from its POST to its end, which always has an error.
func (c *Client) attempt(ctx context.Context, master string, events chan<- Event) (subscribed bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := newWatchdog(c.opts.CallTimeout, cancel)
	defer watchdog.stop()

	resp, at, err := c.subscribe(ctx, master)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }() // the stream has no end to read to
	s := &session{url: at.String(), streamID: resp.Header.Get(streamHeader), ctx: ctx, offers: map[string]offered{}}
	if c.own {
		s.calls = newPipeline(at, s.streamID, c.codec.Type.ContentType(), c.opts.Principal, c.opts.Secret)
		defer func() {
			cancel(nil) // calls that wait for room would keep close waiting
			s.calls.close()
		}()
	}
	in := newRecords(resp.Body, c.opts.MaxRecord)
	defer c.end()
	for {
		watchdog.start()
		record, err := in.next()
		watchdog.stop() // the owner may take its time with an event
		if err != nil {
			return subscribed, c.streamError(ctx, err)
		}
		e, err := decodeEvent(c.codec, record)
		if err != nil {
			if !subscribed {
				return false, err
			}
			// One event that cannot be read must not make the session end: the master would send it again for ever. Updates
			// come again until acknowledged, which then shows as a task that makes no progress, with this line beside it.
			c.log.WithError(err).Error("dropped an event")
			continue
		}
		if e.Type == scheduler.Event_SUBSCRIBED && e.Subscribed != nil && !subscribed {
			subscribed = true
			watchdog.limit = silence(e.Subscribed)
		}
		if err := c.deliver(ctx, s, at, e, events); err != nil {
			return subscribed, err
		}
	}
}

// deliver hands one wire event to the owner, after what the session itself has to do with it.
func (c *Client) deliver(ctx context.Context, s *session, at *url.URL, e *scheduler.Event, events chan<- Event) error {
	switch {
	case e.Type == scheduler.Event_SUBSCRIBED && e.Subscribed != nil:
		c.begin(s, e.Subscribed.GetFrameworkID().GetValue())
		sub := Subscribed{
			FrameworkID: e.Subscribed.GetFrameworkID().GetValue(),
			Master:      at.Scheme + "://" + at.Host,
			MasterID:    e.Subscribed.GetMasterInfo().GetID(),
			Version:     e.Subscribed.GetMasterInfo().GetVersion(),
			Heartbeat:   heartbeat(e.Subscribed),
		}
		c.log.WithField("framework", sub.FrameworkID).WithField("master", sub.Master).Info("subscribed to the engine")
		return send(ctx, events, sub)
	case e.Type == scheduler.Event_ERROR && e.Error != nil:
		c.end()
		return c.refused(ctx, e.Error.Message, events)
	case e.Type == scheduler.Event_OFFERS && e.Offers != nil:
		c.remember(s, e.Offers.Offers)
	case e.Type == scheduler.Event_RESCIND && e.Rescind != nil:
		c.forget(s, e.Rescind.OfferID.Value)
	}
	for _, event := range translate(e) {
		if err := send(ctx, events, event); err != nil {
			return err
		}
	}
	return nil
}

// refused turns an ERROR event, after which the master closes the stream, into the session's end.
func (c *Client) refused(ctx context.Context, message string, events chan<- Event) error {
	switch strings.TrimSuffix(message, ".") {
	case messageRemoved:
		if id := c.FrameworkID(); id != "" && id == c.opts.Abandon {
			c.log.WithField("framework", id).Warn("the removed framework is given up, as told; subscribing as a new one")
			c.abandon()
			return ErrAbandoned
		}
		if err := send(ctx, events, FrameworkRemoved{Message: message}); err != nil {
			return err
		}
		return fmt.Errorf("framework %s: %w", c.FrameworkID(), ErrFrameworkRemoved)
	case messageFailedOver:
		return ErrFailedOver
	default:
		return &MasterError{Message: message}
	}
}

func (c *Client) streamError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the master closed the stream")
	}
	return fmt.Errorf("read the stream: %w", err)
}

// subscribe posts SUBSCRIBE to the master, and to where it redirects, and returns the open stream and its address.
func (c *Client) subscribe(ctx context.Context, master string) (*http.Response, *url.URL, error) {
	at, err := masterURL(master)
	if err != nil {
		return nil, nil, err
	}
	info := c.frameworkInfo()
	call := &scheduler.Call{Type: scheduler.Call_SUBSCRIBE, FrameworkID: info.ID, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: info}}
	for range maxRedirects {
		resp, err := c.post(ctx, at.String(), "", call)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return nil, nil, fmt.Errorf("subscribe at %s: %w", at.Host, err)
		}
		switch resp.StatusCode {
		case http.StatusOK:
			return resp, at, nil
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			next, err := follow(at, resp.Header.Get("Location"))
			drain(resp)
			if err != nil {
				return nil, nil, fmt.Errorf("subscribe at %s: %w", at.Host, err)
			}
			at = next
		default:
			err := callError("SUBSCRIBE", resp)
			drain(resp)
			return nil, nil, fmt.Errorf("subscribe at %s: %w", at.Host, err)
		}
	}
	return nil, nil, fmt.Errorf("subscribe at %s: more than %d redirects", master, maxRedirects)
}

// follow resolves a Location; Mesos's own has no scheme ("//10.0.0.2:5050/api/v1/scheduler"). The secret must not go out in
// the clear because a redirect says so.
func follow(from *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, errors.New("redirected to nowhere")
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("redirected to %q: %w", location, err)
	}
	if to.Host == "" || (to.Scheme != "https" && (to.Scheme != "http" || from.Scheme == "https")) {
		return nil, fmt.Errorf("redirected to %q, which is refused", location)
	}
	return to, nil
}

func (c *Client) frameworkInfo() *mesos.FrameworkInfo {
	f := c.opts.Framework
	checkpoint, failover := true, f.FailoverTimeout.Seconds()
	info := &mesos.FrameworkInfo{
		User:            f.User,
		Name:            f.Name,
		FailoverTimeout: &failover,
		Checkpoint:      &checkpoint,
		Roles:           f.Roles,
		Capabilities:    []mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE}, {Type: mesos.FrameworkInfo_Capability_MULTI_ROLE}},
		Hostname:        optional(f.Hostname),
		WebUiURL:        optional(f.WebURL),
		Principal:       optional(c.opts.Principal),
	}
	if id := c.FrameworkID(); id != "" {
		info.ID = &mesos.FrameworkID{Value: id}
	}
	return info
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func heartbeat(s *scheduler.Event_Subscribed) time.Duration {
	if seconds := s.GetHeartbeatIntervalSeconds(); seconds > 0 && seconds < 3600 {
		return time.Duration(seconds * float64(time.Second))
	}
	return defaultHeartbeat
}

func silence(s *scheduler.Event_Subscribed) time.Duration {
	return max(silentBeats*heartbeat(s), minSilence)
}

// watchdog ends the attempt when it is not stopped in time. Only the goroutine of the attempt uses it.
type watchdog struct {
	limit time.Duration
	timer *time.Timer
}

func newWatchdog(limit time.Duration, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{limit: limit}
	w.timer = time.AfterFunc(limit, func() { cancel(ErrSilent) })
	return w
}

func (w *watchdog) start() { w.timer.Reset(w.limit) }
func (w *watchdog) stop()  { w.timer.Stop() }
