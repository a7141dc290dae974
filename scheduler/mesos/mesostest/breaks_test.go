package mesostest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/scheduler/mesos/mesostest"
	"github.com/berth-project/berth/spec"
)

// subscriber is a framework without any sense of its own.
type subscriber struct {
	t      *testing.T
	m      *mesostest.Master
	stream string

	mu    sync.Mutex
	heard []string
	offer string // the last one
	uuid  string // of the last update that has one, as JSON
}

func subscribe(t *testing.T, m *mesostest.Master, checkpoint bool) *subscriber {
	s := &subscriber{t: t, m: m}
	resp := post(t, m, "", fmt.Sprintf(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","id":{"value":"f"},"checkpoint":%t}}}`, checkpoint))
	s.stream = resp.Header.Get("Mesos-Stream-Id")
	go func() {
		defer func() { _ = resp.Body.Close() }()
		for r := bufio.NewReader(resp.Body); s.read(r) == nil; {
		}
	}()
	return s
}

// read takes in one event.
func (s *subscriber) read(r *bufio.Reader) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return err
	}
	record := make([]byte, n)
	if _, err := io.ReadFull(r, record); err != nil {
		return err
	}
	var e scheduler.Event
	codec := codecs.ByMediaType[encoding.MediaType("application/json")]
	if err := codec.NewDecoder(encoding.SourceReader(bytes.NewReader(record))).Decode(&e); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Type {
	case scheduler.Event_OFFERS:
		s.offer = e.Offers.Offers[0].ID.Value
		s.heard = append(s.heard, "OFFERS")
	case scheduler.Event_UPDATE:
		st := e.Update.Status
		text := st.GetState().String()
		if st.Reason != nil {
			text += " " + st.GetReason().String()
		}
		if len(st.UUID) > 0 {
			text += " uuid"
			b, _ := st.MarshalJSON()
			_, after, _ := strings.Cut(string(b), `"uuid":`)
			s.uuid, _, _ = strings.Cut(after, ",")
			s.uuid = strings.TrimRight(s.uuid, "}")
		}
		s.heard = append(s.heard, text)
	case scheduler.Event_RESCIND, scheduler.Event_FAILURE, scheduler.Event_ERROR:
		s.heard = append(s.heard, e.Type.String())
	}
	return nil
}

func (s *subscriber) call(body string) {
	s.t.Helper()
	resp := post(s.t, s.m, s.stream, strings.Replace(body, "{", `{"framework_id":{"value":"f"},`, 1))
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 202 {
		s.t.Errorf("%s: %d", body, resp.StatusCode)
	}
}

func (s *subscriber) launch(task, offer string) {
	s.call(fmt.Sprintf(`{"type":"ACCEPT","accept":{"offer_ids":[{"value":%q}],"filters":{"refuse_seconds":1e6},"operations":[{"type":"LAUNCH","launch":{"task_infos":[
		{"name":"t","task_id":{"value":%q},"agent_id":{"value":"a"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}},{"name":"mem","type":"SCALAR","scalar":{"value":10}}]}]}}]}}`, offer, task))
}

func (s *subscriber) acknowledge(task string) {
	synctest.Wait()
	s.call(fmt.Sprintf(`{"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":%q},"uuid":%s}}`, task, s.uuid))
}

func (s *subscriber) reconcile(tasks string) {
	s.call(`{"type":"RECONCILE","reconcile":{"tasks":[` + tasks + `]}}`)
}

// says is what was heard since the last time.
func (s *subscriber) says() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.heard, ", ")
	s.heard = nil
	return out
}

// TestBreaksAreThoseOfARealMaster: each case is something that was seen on a real master and agent.
func TestBreaksAreThoseOfARealMaster(t *testing.T) {
	const known, mislaid = `{"task_id":{"value":"t"},"agent_id":{"value":"a"}}`, `{"task_id":{"value":"t"}}`
	for _, c := range []struct {
		name         string
		noCheckpoint bool
		do           func(m *mesostest.Master, s *subscriber)
		want         string
		live         int
	}{
		{"an agent restarts", false, func(m *mesostest.Master, s *subscriber) {
			s.call(`{"type":"REVIVE"}`)
			m.RestartAgent("a")
			s.reconcile(known)
			time.Sleep(5 * time.Second)
			m.Reregister("a")
		}, "OFFERS, RESCIND, TASK_RUNNING REASON_RECONCILIATION, OFFERS", 1},
		{"an agent restarts, without checkpoints", true, func(m *mesostest.Master, s *subscriber) {
			m.RestartAgent("a")
		}, "TASK_LOST REASON_AGENT_DISCONNECTED", 0},
		{"an agent freezes", false, func(m *mesostest.Master, s *subscriber) {
			s.call(`{"type":"REVIVE"}`)
			m.Freeze("a")
			s.call(`{"type":"KILL","kill":{"task_id":{"value":"t"},"agent_id":{"value":"a"}}}`)
			time.Sleep(89 * time.Second)
			m.Unreachable("a")
			s.reconcile(known)
			s.reconcile(mislaid)
			s.reconcile("")
			m.Reregister("a")
		}, "OFFERS, TASK_UNREACHABLE REASON_AGENT_REMOVED, RESCIND, FAILURE, TASK_UNREACHABLE REASON_RECONCILIATION, TASK_UNKNOWN REASON_RECONCILIATION, TASK_RUNNING REASON_AGENT_REREGISTERED, OFFERS", 1},
		{"an agent is shut down", false, func(m *mesostest.Master, s *subscriber) {
			m.ShutDown("a")
		}, "TASK_LOST REASON_AGENT_REMOVED, FAILURE", 0},
		{"a master that has just begun says nothing", false, func(m *mesostest.Master, s *subscriber) {
			m.Restart()
			next := subscribe(s.t, m, true)
			next.reconcile(known)
			next.reconcile("")
			if got := next.says(); got != "" {
				s.t.Errorf("heard %s", got)
			}
			m.Reregister("a")
			next.reconcile(known)
			if got := next.says(); got != "OFFERS, TASK_RUNNING REASON_RECONCILIATION" {
				s.t.Errorf("heard %s", got)
			}
		}, "", 1},
		{"a live agent does not know the task", false, func(m *mesostest.Master, s *subscriber) {
			s.reconcile(`{"task_id":{"value":"ghost"},"agent_id":{"value":"a"}}`)
		}, "TASK_GONE REASON_RECONCILIATION", 1},
		{"a stale offer", false, func(m *mesostest.Master, s *subscriber) {
			s.launch("u", "offer-1000")
		}, "TASK_DROPPED REASON_INVALID_OFFERS", 1},
		{"an id that is alive, and one that is not any more", false, func(m *mesostest.Master, s *subscriber) {
			s.call(`{"type":"REVIVE"}`)
			synctest.Wait()
			s.launch("t", s.offer)
			m.Update(spec.TaskStatus{TaskID: "t", State: "TASK_FINISHED"})
			s.call(`{"type":"REVIVE"}`)
			synctest.Wait()
			s.launch("t", s.offer)
		}, "OFFERS, TASK_ERROR REASON_TASK_INVALID, TASK_FINISHED uuid, OFFERS, TASK_STARTING uuid", 1},
		{"updates are withheld until the one before is acknowledged, and come again", false, func(m *mesostest.Master, s *subscriber) {
			m.Update(spec.TaskStatus{TaskID: "t", State: "TASK_RUNNING", Reason: "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"})
			m.Update(spec.TaskStatus{TaskID: "t", State: "TASK_FAILED"})
			time.Sleep(35 * time.Second) // after 10 and 20 s
			s.acknowledge("t")
		}, strings.Repeat("TASK_RUNNING REASON_TASK_HEALTH_CHECK_STATUS_UPDATED uuid, ", 3) + "TASK_FAILED uuid", 0},
		{"another subscription", false, func(m *mesostest.Master, s *subscriber) {
			subscribe(s.t, m, true)
		}, "ERROR", 1},
		{"offers come back at once after a refusal of no time, and after five seconds", false, func(m *mesostest.Master, s *subscriber) {
			s.call(`{"type":"REVIVE"}`)
			synctest.Wait()
			s.call(fmt.Sprintf(`{"type":"DECLINE","decline":{"offer_ids":[{"value":%q}],"filters":{"refuse_seconds":0}}}`, s.offer))
			synctest.Wait()
			s.call(fmt.Sprintf(`{"type":"DECLINE","decline":{"offer_ids":[{"value":%q}]}}`, s.offer))
			if got := s.says(); got != "OFFERS, OFFERS" {
				s.t.Errorf("heard %s", got)
			}
			time.Sleep(5 * time.Second)
		}, "OFFERS", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mesostest.New(mesostest.Options{AutoRun: true})
				defer m.Close()
				s := subscribe(t, m, !c.noCheckpoint)
				m.AddAgent(spec.Offer{AgentID: "a", Host: "h", CPUs: 2, Mem: 100, Disk: 100})
				synctest.Wait()
				s.launch("t", s.offer)
				s.acknowledge("t")
				s.acknowledge("t")
				if got := s.says(); got != "OFFERS, TASK_STARTING uuid, TASK_RUNNING uuid" {
					t.Fatalf("heard %s", got)
				}
				c.do(m, s)
				if got := s.says(); got != c.want {
					t.Errorf("heard %s\nwant  %s", got, c.want)
				}
				if n := len(m.Containers()); n != c.live {
					t.Errorf("%d containers live, want %d", n, c.live)
				}
			})
		})
	}
}
