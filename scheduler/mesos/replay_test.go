package mesos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/sirupsen/logrus"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// recordingVar names a folder with conversations recorded from a real master, in the form of testdata/conversation.jsonl.
const recordingVar = "BERTH_MESOS_RECORDING"

// line is one line of a conversation.
type line struct {
	Note  string
	Event json.RawMessage
}

func conversation(t *testing.T, path string) []line {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	in := bufio.NewScanner(bytes.NewReader(b))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		lines = append(lines, l)
	}
	return lines
}

// stream is the conversation's events as a subscription's answer.
func stream(lines []line) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		if l.Event != nil {
			fmt.Fprintf(&b, "%d\n%s", len(l.Event), l.Event)
		}
	}
	return b.Bytes()
}

// replay has a client subscribe to the stream, and returns what comes out until the stream's end.
func replay(t *testing.T, data []byte) []Event {
	var events []Event
	synctest.Test(t, func(t *testing.T) {
		answer := roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(data)), Request: r}, nil
		})
		log := logrus.New()
		log.SetOutput(t.Output())
		c, err := New(Options{Masters: []string{"m:5050"}, JSON: true, Transport: answer, Log: log, Rand: func() float64 { return 1 }})
		if err != nil {
			t.Fatal(err)
		}
		out, done := make(chan Event), make(chan error, 1)
		go func() { done <- c.Run(t.Context(), out) }()
		for {
			e := <-out
			events = append(events, e)
			switch e.(type) {
			case FrameworkRemoved:
				<-done
				return
			case Disconnected:
				go func() { // the same again, until the test's context ends Run
					for range out {
					}
				}()
				t.Cleanup(func() { <-done; close(out) })
				return
			}
		}
	})
	return events
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConversation(t *testing.T) {
	var got strings.Builder
	for _, e := range replay(t, stream(conversation(t, "testdata/conversation.jsonl"))) {
		b, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%T %s\n", e, b)
	}
	const golden = "testdata/conversation.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// TestRecordings holds every status and offer that comes out against the recorded JSON, read without mesos-go.
func TestRecordings(t *testing.T) {
	files := []string{"testdata/conversation.jsonl"}
	if dir := os.Getenv(recordingVar); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		if err != nil || len(more) == 0 {
			t.Fatalf("%s=%s: no recordings (%v)", recordingVar, dir, err)
		}
		files = append(files, more...)
	} else {
		t.Logf("only the conversation in testdata: set %s to replay recordings of a real master too", recordingVar)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			lines := conversation(t, file)
			events := replay(t, stream(lines))
			for _, l := range lines {
				var want plainEvent
				if l.Event == nil {
					continue
				}
				if err := json.Unmarshal(l.Event, &want); err != nil {
					t.Fatal(err)
				}
				if want.Type == "HEARTBEAT" || want.Type == "MESSAGE" {
					continue
				}
				if len(events) == 0 {
					t.Fatalf("nothing came out for %s", l.Event)
				}
				want.check(t, events[0])
				events = events[1:]
				if want.Type == "ERROR" {
					break
				}
			}
			for _, e := range events {
				if _, ok := e.(Disconnected); !ok {
					t.Errorf("came out although it never came in: %T %+v", e, e)
				}
			}
		})
	}
}

type value struct{ Value string }

// plainEvent is what of an event the oracle looks at.
type plainEvent struct {
	Type       string
	Subscribed struct {
		FrameworkID value `json:"framework_id"`
	}
	Offers struct {
		Offers []struct {
			ID      value
			AgentID value `json:"agent_id"`
		}
	}
	Rescind struct {
		OfferID value `json:"offer_id"`
	}
	Update struct {
		Status struct {
			TaskID                 value `json:"task_id"`
			AgentID                value `json:"agent_id"`
			State, Message, Reason string
			UUID                   []byte
			Timestamp              float64
			ContainerStatus        struct {
				ContainerID  value `json:"container_id"`
				NetworkInfos []struct {
					IPAddresses []struct {
						IPAddress string `json:"ip_address"`
					} `json:"ip_addresses"`
				} `json:"network_infos"`
			} `json:"container_status"`
		}
	}
	Error struct{ Message string }
}

func (p plainEvent) check(t *testing.T, got Event) {
	t.Helper()
	switch e := got.(type) {
	case Subscribed:
		same(t, "framework", p.Subscribed.FrameworkID.Value, e.FrameworkID)
	case Offers:
		for i, o := range p.Offers.Offers {
			same(t, "offer", o.ID.Value+o.AgentID.Value, e.Offers[i].ID+e.Offers[i].AgentID)
		}
	case Rescinded:
		same(t, "offer", p.Rescind.OfferID.Value, e.OfferID)
	case Update:
		s := p.Update.Status
		if s.Reason != "REASON_OF_THE_FUTURE" {
			same(t, "reason", s.Reason, e.Status.Reason)
		}
		same(t, "task", s.TaskID.Value+s.AgentID.Value, e.Status.TaskID+e.Status.AgentID)
		same(t, "state", s.State+s.Message, e.Status.State+e.Status.Message)
		same(t, "uuid", string(s.UUID), string(e.Status.UUID))
		same(t, "container", s.ContainerStatus.ContainerID.Value, e.Status.ContainerID)
		if s.Timestamp != 0 && e.Status.Timestamp.Sub(time.Unix(0, int64(s.Timestamp*1e9))).Abs() > time.Microsecond {
			t.Errorf("got time %s for %f", e.Status.Timestamp, s.Timestamp)
		}
		var addresses []string
		for _, n := range s.ContainerStatus.NetworkInfos {
			for _, a := range n.IPAddresses {
				addresses = append(addresses, a.IPAddress)
			}
		}
		same(t, "addresses", fmt.Sprint(addresses), fmt.Sprint(e.Status.Addresses))
	case AgentFailed, ExecutorFailed:
		same(t, "type", p.Type, "FAILURE")
	case FrameworkRemoved:
		same(t, "error", p.Error.Message, e.Message)
	case Disconnected:
		same(t, "type", p.Type, "ERROR")
	}
}

func same(t *testing.T, what, want, got string) {
	t.Helper()
	if want != got {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// TestBothFormsSayTheSame turns each event into protobuf and reads it again.
func TestBothFormsSayTheSame(t *testing.T) {
	pb := codecs.ByMediaType[codecs.MediaTypeProtobuf]
	for _, l := range conversation(t, "testdata/conversation.jsonl") {
		if l.Event == nil {
			continue
		}
		e, err := decodeEvent(codecs.ByMediaType[codecs.MediaTypeJSON], l.Event)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := pb.NewEncoder(encoding.SinkWriter(&b)).Encode(e); err != nil {
			t.Fatal(err)
		}
		again, err := decodeEvent(pb, b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(translate(e), translate(again)); diff != "" {
			t.Error(diff)
		}
	}
}

func FuzzStream(f *testing.F) {
	for _, s := range []string{"", "5\nabcde", "0\n0\n1\nx", "18446744073709551615\n", "-1\n", "12", "3\nab", "99999999\nx"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Add([]byte("20\n{\"type\":\"HEARTBEAT\"}"), true)
	f.Add([]byte("2\n\x08\x08"), false)
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool) {
		codec := Options{JSON: asJSON}.codec()
		in := newRecords(bytes.NewReader(data), 1<<10)
		for {
			record, err := in.next()
			if err != nil {
				return
			}
			if len(record) == 0 || len(record) > 1<<10 {
				t.Fatalf("a record of %d bytes", len(record))
			}
			if e, err := decodeEvent(codec, record); err == nil {
				_ = translate(e) // must not panic
			}
		}
	})
}

// normal is JSON with sorted keys and indents, for diffs; fields that are null are left out.
func normal(t *testing.T, b []byte) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	out, err := json.MarshalIndent(withoutNull(v), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func withoutNull(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil {
				delete(v, k)
			} else {
				v[k] = withoutNull(x)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutNull(v[i])
		}
	}
	return v
}
