package standalone

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/mesos/mesos-go/api/v1/lib/recordio"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	mediaJSON     = "application/json"
	mediaProtobuf = "application/x-protobuf"
	// APIPath is where the scheduler API is served.
	APIPath        = "/api/v1/scheduler"
	streamIDHeader = "Mesos-Stream-Id"

	maxBody      = 16 << 20
	writeTimeout = 30 * time.Second
	// streamBuffer is how many events may wait for a reader before its stream is closed: the owner loop never waits.
	streamBuffer = 4096
)

// manyWaiting is from how many waiting events on each write need not reach the reader at once.
const manyWaiting = 16

// stream is one subscriber's connection. The owner loop sends to events and closes it (once) to end the stream after what
// is queued; the HTTP handler reads.
type stream struct {
	id        string
	framework string
	events    chan *scheduler.Event
}

// refusal is an answer other than 200 and 202.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

func refuse(code int, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// master is whoever answers calls: the owner of the hosts' tasks, or that of a simulated fleet.
type master interface {
	subscribe(ctx context.Context, c *scheduler.Call_Subscribe) (*stream, error)
	call(ctx context.Context, c *scheduler.Call, streamID string) error
	left(st *stream)
}

// server turns HTTP into messages for the owner.
type server struct {
	opts  *Options
	owner master
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(APIPath, s.scheduler)
	return s.authenticated(mux)
}

func (s *server) authenticated(next http.Handler) http.Handler {
	if s.opts.Principal == "" {
		return next
	}
	// Digests have one length, so the comparison's time says nothing about the secret.
	digest := func(user, password string) [32]byte { return sha256.Sum256([]byte(user + "\x00" + password)) }
	want := digest(s.opts.Principal, s.opts.Secret)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if got := digest(user, password); !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="mesos-master-scheduler"`)
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) scheduler(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "Expecting one of { 'POST' }, but received '"+r.Method+"'", http.StatusMethodNotAllowed)
		return
	}
	call, err := decodeCall(r)
	if err == nil {
		err = checkCall(call)
	}
	if err == nil && call.Type == scheduler.Call_SUBSCRIBE {
		err = s.subscribe(w, r, call)
	} else if err == nil {
		if err = s.owner.call(r.Context(), call, r.Header.Get(streamIDHeader)); err == nil {
			w.WriteHeader(http.StatusAccepted)
		}
	}
	if err == nil {
		return
	}
	if no := (*refusal)(nil); errors.As(err, &no) {
		http.Error(w, no.text, no.code)
		return
	}
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

func decodeCall(r *http.Request) (*scheduler.Call, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") == "" {
		return nil, refuse(http.StatusBadRequest, "Expecting 'Content-Type' to be present")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "Failed to read the body: %v", err)
	case len(body) > maxBody:
		return nil, refuse(http.StatusRequestEntityTooLarge, "The body is larger than %d bytes", maxBody)
	}
	call := new(scheduler.Call)
	switch kind {
	case mediaJSON:
		err = json.Unmarshal(body, call)
	case mediaProtobuf:
		err = unmarshalProto(body, call)
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of %s or %s", mediaJSON, mediaProtobuf)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "Failed to parse body into Call: %v", err)
	}
	return call, nil
}

// unmarshalProto guards against the generated decoder, which may panic on hostile input.
func unmarshalProto(body []byte, call *scheduler.Call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed message: %v", p)
		}
	}()
	return proto.Unmarshal(body, call)
}

// marshalJSON leaves out what is not set. The generated encoder writes null for empty lists, which no Mesos master does and
// clients need not expect.
func marshalJSON(e *scheduler.Event) ([]byte, error) {
	raw, err := json.Marshal(e)
	if err != nil || !bytes.Contains(raw, []byte("null")) {
		return raw, err
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return json.Marshal(withoutNulls(tree))
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if inner == nil {
				delete(v, k)
				continue
			}
			v[k] = withoutNulls(inner)
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return v
}

// checkCall finds missing parts.
func checkCall(c *scheduler.Call) error {
	missing := func(is bool, what string) error {
		if is {
			return refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: Expecting '%s' to be present", what)
		}
		return nil
	}
	if c.Type == scheduler.Call_UNKNOWN {
		return missing(true, "type")
	}
	if c.Type == scheduler.Call_SUBSCRIBE {
		info := c.GetSubscribe().GetFrameworkInfo()
		id, inner := c.GetFrameworkID().GetValue(), info.GetID().GetValue()
		switch {
		case info == nil:
			return missing(true, "subscribe")
		case info.User == "":
			return missing(true, "subscribe.framework_info.user")
		case info.Name == "":
			return missing(true, "subscribe.framework_info.name")
		case id != inner:
			return refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'")
		}
		return nil
	}
	if err := missing(c.GetFrameworkID().GetValue() == "", "framework_id"); err != nil {
		return err
	}
	switch c.Type {
	case scheduler.Call_ACCEPT:
		return missing(c.Accept == nil, "accept")
	case scheduler.Call_DECLINE:
		return missing(c.Decline == nil, "decline")
	case scheduler.Call_KILL:
		return missing(c.Kill == nil || c.Kill.TaskID.Value == "", "kill")
	case scheduler.Call_ACKNOWLEDGE:
		return missing(c.Acknowledge == nil || len(c.Acknowledge.UUID) == 0, "acknowledge")
	case scheduler.Call_RECONCILE:
		return missing(c.Reconcile == nil, "reconcile")
	}
	return nil
}

func (s *server) subscribe(w http.ResponseWriter, r *http.Request, c *scheduler.Call) error {
	if r.Header.Get(streamIDHeader) != "" {
		return refuse(http.StatusBadRequest, "Subscribe calls should not include the '%s' header", streamIDHeader)
	}
	kind, encode := mediaJSON, func(e *scheduler.Event, _ []byte) ([]byte, error) { return marshalJSON(e) }
	switch accept := r.Header.Get("Accept"); accept {
	case mediaProtobuf:
		kind, encode = mediaProtobuf, marshalInto
	case mediaJSON, "", "*/*":
	default:
		return refuse(http.StatusNotAcceptable, "Expecting 'Accept' to allow %s or %s", mediaJSON, mediaProtobuf)
	}
	st, err := s.owner.subscribe(r.Context(), c.Subscribe)
	if err != nil {
		return err
	}
	defer s.owner.left(st)
	w.Header().Set("Content-Type", kind)
	w.Header().Set(streamIDHeader, st.id)
	w.WriteHeader(http.StatusOK)
	s.feed(r.Context(), w, st, encode)
	return nil
}

// marshalInto encodes an event, in buf where it is large enough.
func marshalInto(e *scheduler.Event, buf []byte) ([]byte, error) {
	size := e.Size()
	buf = slices.Grow(buf[:0], size)[:size]
	n, err := e.MarshalTo(buf)
	return buf[:n], err
}

// feed writes a stream's events until it is closed from either side, with a heartbeat after SUBSCRIBED and then at every
// interval.
func (s *server) feed(ctx context.Context, w http.ResponseWriter, st *stream, encode func(*scheduler.Event, []byte) ([]byte, error)) {
	conn := http.NewResponseController(w)
	out := recordio.NewWriter(w)
	var buf []byte
	write := func(e *scheduler.Event) error {
		raw, err := encode(e, buf)
		if err != nil {
			return err
		}
		buf = raw
		// Unsupported by some test servers; then a reader that hangs is found by the buffer.
		if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if err := out.WriteFrame(raw); err != nil || len(st.events) > manyWaiting { // net/http's buffer joins them
			return err
		}
		return conn.Flush()
	}
	beat := time.NewTicker(s.opts.HeartbeatInterval)
	defer beat.Stop()
	for {
		var err error
		select {
		case e, open := <-st.events:
			if !open {
				return
			}
			err = write(e)
		case <-beat.C:
			err = write(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}
