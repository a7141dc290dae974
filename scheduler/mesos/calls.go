package mesos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/spec"
)

// maxBody bounds what is kept of an error's text.
const maxBody = 4 << 10

const streamHeader = "Mesos-Stream-Id"

// TaskRef names a task to reconcile. Without the agent, a task on an unreachable agent would be answered as unknown.
type TaskRef struct{ TaskID, AgentID string }

// Accept uses the offers, which must be of one agent, to launch tasks; what the tasks leave is refused for the given time.
// Without launches it declines the offers. nil means that the master has got the call, not that the tasks run.
func (c *Client) Accept(ctx context.Context, offerIDs []string, launches []spec.Launch, refuse time.Duration) error {
	if len(launches) == 0 {
		return c.Decline(ctx, offerIDs, refuse)
	}
	s, _, err := c.current()
	if err != nil {
		return fmt.Errorf("accept offers: %w", err)
	}
	resources, role := c.forget(s, offerIDs...)
	operations, err := operations(launches, resources, role)
	if err != nil {
		// The offers are still ours on the master's side; the caller may decline them.
		return fmt.Errorf("accept offers: %w", err)
	}
	return c.call(ctx, &scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &scheduler.Call_Accept{
		OfferIDs:   wireIDs(offerIDs),
		Operations: operations,
		Filters:    filters(refuse),
	}})
}

// Decline gives offers back; resources like them are not offered again for the given time.
func (c *Client) Decline(ctx context.Context, offerIDs []string, refuse time.Duration) error {
	if len(offerIDs) == 0 {
		return nil
	}
	s, _, err := c.current()
	if err != nil {
		return fmt.Errorf("decline offers: %w", err)
	}
	c.forget(s, offerIDs...)
	return c.call(ctx, &scheduler.Call{Type: scheduler.Call_DECLINE, Decline: &scheduler.Call_Decline{OfferIDs: wireIDs(offerIDs), Filters: filters(refuse)}})
}

// Kill asks for a task's end; the answer is an Update. A grace of 0 leaves the one that the task was launched with. A
// second Kill with a shorter grace shortens one that is under way.
func (c *Client) Kill(ctx context.Context, taskID, agentID string, grace time.Duration) error {
	kill := &scheduler.Call_Kill{TaskID: mesos.TaskID{Value: taskID}, AgentID: wireAgent(agentID)}
	if grace > 0 {
		kill.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: grace.Nanoseconds()}}
	}
	return c.call(ctx, &scheduler.Call{Type: scheduler.Call_KILL, Kill: kill})
}

// acknowledgers is how many acknowledgements of one Acknowledge are under way at a time where Options.Transport carries them.
const acknowledgers = 64

// Acknowledge confirms that updates are stored, each with a call of its own, several at a time: their order means nothing, as a
// task's next update comes only after the one before was acknowledged. Updates without a UUID need none, so nothing is sent for
// them. What could not be acknowledged comes again.
func (c *Client) Acknowledge(ctx context.Context, updates ...spec.TaskStatus) error {
	updates = slices.DeleteFunc(slices.Clone(updates), func(s spec.TaskStatus) bool { return len(s.UUID) == 0 })
	if len(updates) == 0 {
		return nil
	}
	s, frameworkID, err := c.current()
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", scheduler.Call_ACKNOWLEDGE, err)
	case s.calls != nil:
		return c.acknowledgeAll(ctx, s, frameworkID, updates)
	}
	errs := make([]error, min(acknowledgers, len(updates)))
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for n := i; n < len(updates) && errs[i] == nil; n += len(errs) {
				errs[i] = c.call(ctx, acknowledgement(updates[n]))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// acknowledgeAll sends all acknowledgements one behind the other and then looks at the answers; the first refusal stands for all.
func (c *Client) acknowledgeAll(ctx context.Context, s *session, frameworkID string, updates []spec.TaskStatus) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	framework := &mesos.FrameworkID{Value: frameworkID}
	var refused error
	err := s.calls.doAll(ctx, c.opts.CallTimeout, len(updates), func(i int) ([]byte, error) {
		call := acknowledgement(updates[i])
		call.FrameworkID = framework
		return c.encode(call)
	}, func(status int, text string, err error) {
		if refused == nil {
			refused = outcome(s, scheduler.Call_ACKNOWLEDGE, status, text, err)
		}
	})
	if err != nil {
		return outcome(s, scheduler.Call_ACKNOWLEDGE, 0, "", err)
	}
	return refused
}

func acknowledgement(s spec.TaskStatus) *scheduler.Call {
	return &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE, Acknowledge: &scheduler.Call_Acknowledge{
		AgentID: mesos.AgentID{Value: s.AgentID}, TaskID: mesos.TaskID{Value: s.TaskID}, UUID: s.UUID,
	}}
}

// Reconcile asks for the newest status of the tasks; of all that the master knows when none is named. There may be no
// answer for a task while its agent has not come back to a restarted master.
func (c *Client) Reconcile(ctx context.Context, tasks []TaskRef) error {
	r := &scheduler.Call_Reconcile{Tasks: make([]scheduler.Call_Reconcile_Task, 0, len(tasks))}
	for _, t := range tasks {
		r.Tasks = append(r.Tasks, scheduler.Call_Reconcile_Task{TaskID: mesos.TaskID{Value: t.TaskID}, AgentID: wireAgent(t.AgentID)})
	}
	return c.call(ctx, &scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: r})
}

// Suppress asks for no more offers, for all roles, until Revive or the next session.
func (c *Client) Suppress(ctx context.Context) error {
	return c.call(ctx, &scheduler.Call{Type: scheduler.Call_SUPPRESS, Suppress: &scheduler.Call_Suppress{}})
}

// Revive asks for offers again and drops all refusals.
func (c *Client) Revive(ctx context.Context) error {
	return c.call(ctx, &scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
}

// Teardown ends the framework and all its tasks for good. Run then ends with ErrFrameworkRemoved at its next attempt.
func (c *Client) Teardown(ctx context.Context) error {
	return c.call(ctx, &scheduler.Call{Type: scheduler.Call_TEARDOWN})
}

// call posts one call within the present session and waits for the master's 202.
func (c *Client) call(ctx context.Context, call *scheduler.Call) error {
	s, frameworkID, err := c.current()
	if err != nil {
		return fmt.Errorf("%s: %w", call.Type, err)
	}
	call.FrameworkID = &mesos.FrameworkID{Value: frameworkID}
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	status, text, err := c.send(ctx, s, call)
	return outcome(s, call.Type, status, text, err)
}

// outcome is what an answer means; err: there is none.
func outcome(s *session, kind scheduler.Call_Type, status int, text string, err error) error {
	switch {
	case err != nil && s.ctx.Err() != nil:
		return fmt.Errorf("%s: %w, the answer is unknown", kind, ErrDisconnected)
	case err != nil:
		return fmt.Errorf("%s: %w", kind, err)
	case status != http.StatusAccepted:
		return &CallError{Call: kind.String(), Status: status, Body: plainText(text)}
	}
	return nil
}

// send makes a call within a session and returns the answer's status and the beginning of its text.
func (c *Client) send(ctx context.Context, s *session, call *scheduler.Call) (int, string, error) {
	if s.calls != nil {
		body, err := c.encode(call)
		if err != nil {
			return 0, "", err
		}
		return s.calls.do(ctx, body)
	}
	resp, err := c.post(ctx, s.url, s.streamID, call)
	if err != nil {
		return 0, "", err
	}
	defer drain(resp)
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		text = append(text, " (the rest could not be read)"...)
	}
	return resp.StatusCode, string(text), nil
}

func (c *Client) encode(call *scheduler.Call) ([]byte, error) {
	if c.codec.Name == codecs.NameProtobuf {
		body, err := call.Marshal()
		if err != nil {
			return nil, fmt.Errorf("encode call: %w", err)
		}
		return body, nil
	}
	var body bytes.Buffer
	if err := c.codec.NewEncoder(encoding.SinkWriter(&body)).Encode(call); err != nil {
		return nil, fmt.Errorf("encode call: %w", err)
	}
	return body.Bytes(), nil
}

// post sends a call; the caller closes the answer.
func (c *Client) post(ctx context.Context, url, streamID string, call *scheduler.Call) (*http.Response, error) {
	body, err := c.encode(call)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", c.codec.Type.ContentType())
	req.Header.Set("Accept", c.codec.Type.ContentType())
	if streamID != "" {
		req.Header.Set(streamHeader, streamID)
	}
	if c.opts.Principal != "" {
		req.SetBasicAuth(c.opts.Principal, c.opts.Secret)
	}
	resp, err := c.http.Do(req)
	if err != nil && ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	return resp, err
}

func callError(call string, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		body = append(body, " (the rest could not be read)"...)
	}
	return &CallError{Call: call, Status: resp.StatusCode, Body: plainText(string(body))}
}

func plainText(body string) string { return strings.TrimSpace(strings.ToValidUTF8(body, "\uFFFD")) }

// drain lets the connection be used again: answers to calls are short or empty.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxBody) // the answer has been judged; what cannot be read costs a connection only
	_ = resp.Body.Close()
}

func wireIDs(ids []string) []mesos.OfferID {
	out := make([]mesos.OfferID, 0, len(ids))
	for _, id := range ids {
		out = append(out, mesos.OfferID{Value: id})
	}
	return out
}

func wireAgent(id string) *mesos.AgentID {
	if id == "" {
		return nil
	}
	return &mesos.AgentID{Value: id}
}

func filters(refuse time.Duration) *mesos.Filters {
	seconds := max(0, refuse.Seconds()) // a negative number would mean the master's default
	return &mesos.Filters{RefuseSeconds: &seconds}
}
