package standalone

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/gogo/protobuf/proto"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/recordio"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// TestProtobuf has the same conversation in the other codec.
func TestProtobuf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		body := must(proto.Marshal(&scheduler.Call{Type: scheduler.Call_SUBSCRIBE, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: info("")}}))
		ctx, hangUp := context.WithCancel(context.Background())
		defer hangUp()
		r, err := w.post(ctx, body, mediaProtobuf, "")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if got := r.Header.Get("Content-Type"); r.StatusCode != http.StatusOK || got != mediaProtobuf {
			t.Fatalf("%d %s", r.StatusCode, got)
		}
		frames := recordio.NewReader(r.Body)
		next := func() *scheduler.Event {
			e := new(scheduler.Event)
			if err := proto.Unmarshal(must(frames.ReadFrame()), e); err != nil {
				t.Fatal(err)
			}
			return e
		}
		id := next().Subscribed.FrameworkID
		next() // heartbeat
		of := next().Offers.Offers[0]
		accept := &scheduler.Call{Type: scheduler.Call_ACCEPT, FrameworkID: id, Accept: &scheduler.Call_Accept{
			OfferIDs:   []mesos.OfferID{of.ID},
			Operations: []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: []mesos.TaskInfo{w.task("a.1")}}}},
		}}
		answer, err := w.post(ctx, must(proto.Marshal(accept)), mediaProtobuf, r.Header.Get(streamIDHeader))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if s := next().GetUpdate().GetStatus(); answer.StatusCode != http.StatusAccepted || s.GetState() != mesos.TASK_STARTING || len(s.UUID) != 16 {
			t.Errorf("%d, %v", answer.StatusCode, s)
		}
	})
}

func TestJSONHasNoNulls(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		of := f.offer()
		raw := must(marshalJSON(&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: []mesos.Offer{of}}}))
		if bytes.Contains(raw, []byte("null")) {
			t.Errorf("%s", raw)
		}
	})
}

func FuzzDecodeCall(f *testing.F) {
	f.Add([]byte(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"x"}}}`), true)
	f.Add([]byte(`{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"offer_ids":[{"value":"O"}],"operations":[{"type":"LAUNCH"}]}}`), true)
	f.Add(must(proto.Marshal(&scheduler.Call{Type: scheduler.Call_KILL, FrameworkID: &mesos.FrameworkID{Value: "f"}, Kill: &scheduler.Call_Kill{TaskID: mesos.TaskID{Value: "t"}}})), false)
	f.Fuzz(func(t *testing.T, body []byte, asJSON bool) {
		r := httptest.NewRequest(http.MethodPost, APIPath, bytes.NewReader(body))
		r.Header.Set("Content-Type", map[bool]string{true: mediaJSON, false: mediaProtobuf}[asJSON])
		c, err := decodeCall(r)
		if err != nil {
			return
		}
		if err := checkCall(c); err == nil && c.Type != scheduler.Call_SUBSCRIBE && c.GetFrameworkID().GetValue() == "" {
			t.Error("a call without a framework passed")
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
	})
}

// FuzzTranslate: no task that a framework can send may bring the loop down.
func FuzzTranslate(f *testing.F) {
	w := &host{owner: &owner{tasks: map[taskKey]*task{}}, preparedHost: &preparedHost{opts: Host{StateDir: "/nowhere"}, agentID: "agent"}}
	fw := &framework{id: "f", role: "*"}
	f.Add(must(proto.Marshal(&mesos.TaskInfo{
		Name: "a", TaskID: mesos.TaskID{Value: "a"}, AgentID: mesos.AgentID{Value: "agent"}, Command: &mesos.CommandInfo{},
		Resources: bundle{cpus: 100, mem: 64000}.resources("*"),
		Container: &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: &mesos.ContainerInfo_DockerInfo{Image: "x", Parameters: []mesos.Parameter{{Key: "env", Value: "A=b"}}}},
	})))
	f.Fuzz(func(t *testing.T, raw []byte) {
		info := new(mesos.TaskInfo)
		func() {
			defer func() { _ = recover() }() // the generated decoder's own business; see unmarshalProto
			if err := proto.Unmarshal(raw, info); err != nil {
				info = nil
			}
		}()
		if info == nil {
			return
		}
		res, problem := w.validate(fw, info, bundle{cpus: 1000, mem: 1 << 20, disk: 1 << 20, ports: []span{{31000, 32000}}})
		if problem != "" {
			return
		}
		p := w.translate(fw, info, res, "cid", nil)
		if p.spec.Labels[labelTask] != info.TaskID.Value || p.spec.Labels[labelAgent] != "agent" {
			t.Errorf("labels were forged: %v", p.spec.Labels)
		}
	})
}
