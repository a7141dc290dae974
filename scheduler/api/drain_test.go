package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/spec"
)

// TestDrainDeploymentSaysWhatItIsFor: clients see an ordinary deployment, people see the host.
func TestDrainDeploymentSaysWhatItIsFor(t *testing.T) {
	d := &spec.Deployment{ID: "d", Version: time.Unix(0, 0), StepSince: time.Unix(0, 0), Drain: "h1",
		Steps: []spec.Step{{Actions: []spec.Action{{Kind: spec.ScaleApplication, App: "/web", Reason: "host drain h1"}}}}}
	body, err := json.Marshal(encodeDeployment(&View{}, d))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"reason":"host drain h1"`, `"affectedApps":["/web"]`, `"action":"ScaleApplication"`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	d.Drain = ""
	if body, _ = json.Marshal(encodeDeployment(&View{}, d)); strings.Contains(string(body), "reason") {
		t.Errorf("a change's deployment has a reason: %s", body)
	}
}

// TestHostRowDrain: a host with only what stays is drained.
func TestHostRowDrain(t *testing.T) {
	task := func(id string) *spec.Task { return &spec.Task{ID: id, Seat: spec.SeatID{App: "/web"}, Host: "h1"} }
	drain := &HostDrain{HostDrain: spec.HostDrain{Host: "h1", Reason: "disks", Since: time.Unix(0, 0)}, Tasks: []DrainTask{{Task: task("a"), Stays: true, Why: "its data"}, {Task: task("b")}}}
	snap := &Snapshot{Hosts: []HostView{{Name: "h1", Reported: true, Drain: drain}}}
	if row := hostRows(snap)[0]; row.State != "draining" || row.Drain.Moving() != 1 || row.Drain.Reason != "disks" || row.Drain.Tasks[0].Why != "its data" {
		t.Errorf("%+v %+v", row, row.Drain)
	}
	drain.Tasks = drain.Tasks[:1]
	if row := hostRows(snap)[0]; row.State != "drained" {
		t.Errorf("%+v", row)
	}
	snap.Hosts[0].Dead = time.Unix(1, 0)
	if row := hostRows(snap)[0]; row.State != "dead" {
		t.Errorf("%+v", row)
	}
}
