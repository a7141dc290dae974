package mesos

import (
	"bytes"
	"testing"

	"github.com/gogo/protobuf/proto"
	"github.com/google/go-cmp/cmp"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func updateRecord(t testing.TB, data []byte) []byte {
	t.Helper()
	state, message, at, reason := mesos.TASK_RUNNING, "up", 1.5e9, mesos.REASON_CONTAINER_LAUNCH_FAILED
	record, err := proto.Marshal(&scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: "web.1"}, State: &state, Message: &message, Data: data, AgentID: &mesos.AgentID{Value: "S1"},
		Timestamp: &at, Reason: &reason, UUID: []byte("0123456789abcdef"),
		ContainerStatus: &mesos.ContainerStatus{ContainerID: &mesos.ContainerID{Value: "c1"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestUpdateWithoutData(t *testing.T) {
	for _, data := range [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte("inspect"), 1600)} {
		record := updateRecord(t, data)
		want := &scheduler.Event{}
		if err := proto.Unmarshal(record, want); err != nil {
			t.Fatal(err)
		}
		want.Update.Status.Data = nil
		got, err := decodeEvent(codecs.ByMediaType[codecs.MediaTypeProtobuf], record)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with %d bytes of data (-want +got):\n%s", len(data), diff)
		}
	}
}

// FuzzUpdate holds updateOf against the generated decoder.
func FuzzUpdate(f *testing.F) {
	f.Add(updateRecord(f, nil))
	f.Add(updateRecord(f, []byte("data")))
	f.Add(append(updateRecord(f, []byte("data")), updateRecord(f, []byte("more"))...))
	f.Add([]byte("\x08\x04\x2a\x02\x0a\x00"))
	f.Fuzz(func(t *testing.T, record []byte) {
		own := bytes.Clone(record)
		got, ok, err := updateOf(own)
		if !ok {
			if !bytes.Equal(own, record) {
				t.Fatal("changed a record that it does not decode")
			}
			return
		}
		want := &scheduler.Event{}
		if wrong := proto.Unmarshal(record, want); (wrong == nil) != (err == nil) {
			t.Fatalf("%v, the generated decoder: %v", err, wrong)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(translate(want), translate(got)); diff != "" {
			t.Errorf("(-generated +own):\n%s", diff)
		}
	})
}
