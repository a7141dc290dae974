package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// streamWriteTimeout is how long one write to an event stream may take before its reader counts as gone.
const streamWriteTimeout = 10 * time.Second

// getEvents is GET /v2/events. Marathon answers 405 unless the Accept header is exactly text/event-stream.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	if strings.TrimSpace(r.Header.Get("Accept")) != "text/event-stream" {
		w.Header().Set("Allow", allowed(methods{"GET": nil}))
		return fail(http.StatusMethodNotAllowed, "The event stream needs the header Accept: text/event-stream")
	}
	if r.Method == http.MethodHead { // what GET would answer, and no stream that nobody reads
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	ctx, cancel := streamContext(r)
	defer cancel()
	if ctx.Err() != nil { // whoever is told that it is attached must get the next events
		return fail(http.StatusServiceUnavailable, "The scheduler is stopping")
	}
	s.measured.streams.Add(1)
	defer s.measured.streams.Add(-1)
	sub := s.o.Events.Subscribe(SubscribeOptions{Types: r.URL.Query()["event_type"], After: r.Header.Get("Last-Event-ID")})
	defer sub.Close()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Connection", "close")
	w.WriteHeader(http.StatusOK)
	out := &eventWriter{w: w, rc: http.NewResponseController(w)}
	if out.write("") != nil {
		return nil
	}
	s.o.Events.Publish(streamEvent(EventStreamAttached, clientIP(r), s.o.Now()))
	defer func() { s.o.Events.Publish(streamEvent(EventStreamDetached, clientIP(r), s.o.Now())) }()

	beat := time.NewTicker(s.o.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if out.write("\r\n") != nil {
				return nil
			}
		case <-sub.Ready():
			if s.copyEvents(ctx, out, sub) != nil {
				return nil
			}
		}
	}
}

// streamChunk is about how many bytes of events are written at once when a reader is behind.
const streamChunk = 32 << 10

// copyEvents writes what there is, until the reader is level with the log or gone.
func (s *Server) copyEvents(ctx context.Context, out *eventWriter, sub *Subscription) error {
	var frames strings.Builder
	for ctx.Err() == nil {
		e, ok := sub.Next(s.o.Now())
		if !ok {
			return out.write(frames.String())
		}
		if e.Type == EventStreamGap {
			s.log.WithFields(logrus.Fields{"missed": e.Fields["missed"], "reason": e.Fields["reason"]}).Warn("an event stream has a gap")
		}
		frame, err := eventFrame(s.o.Events.Token(e.ID), e)
		if err != nil {
			s.log.WithError(err).WithField("event", e.Type).Error("event lost")
			continue
		}
		frames.WriteString(frame)
		if frames.Len() < streamChunk {
			continue
		}
		if err := out.write(frames.String()); err != nil {
			return err
		}
		frames.Reset()
	}
	return ctx.Err()
}

// eventWriter writes and flushes with a deadline, so that a reader that hangs cannot hold the stream.
type eventWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (e *eventWriter) write(text string) error {
	// Not every writer has deadlines (tests). It is taken away again, as the connection may serve another request.
	if e.rc.SetWriteDeadline(time.Now().Add(streamWriteTimeout)) == nil {
		defer func() { _ = e.rc.SetWriteDeadline(time.Time{}) }()
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.rc.Flush()
}

// eventFrame is one event as server-sent event, with CRLF as Marathon's. The "id:" line is Berth's addition.
func eventFrame(token string, e Event) (string, error) {
	data, err := encodeEvent(e)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("id: %s\r\nevent: %s\r\ndata: %s\r\n\r\n", token, e.Type, data), nil
}

func encodeEvent(e Event) ([]byte, error) {
	out := make(map[string]any, len(e.Fields)+2)
	for k, v := range e.Fields {
		switch v := v.(type) {
		case *spec.App:
			out[k] = marathon.Encode(v)
		case spec.HealthCheck:
			out[k] = encodeCheck(v)
		default:
			out[k] = v
		}
	}
	out["eventType"], out["timestamp"] = e.Type, spec.FormatTime(e.At)
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	return bytes.TrimRight(data.Bytes(), "\n"), nil
}

// encodeCheck is a health check in Marathon's words, by way of an app that has only this check.
func encodeCheck(c spec.HealthCheck) any {
	return marathon.Encode(&spec.App{HealthChecks: []spec.HealthCheck{c}}).HealthChecks[0]
}
