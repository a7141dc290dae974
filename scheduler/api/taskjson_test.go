package api

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"github.com/berth-project/berth/spec"
)

func TestCheckResultAndVolumes(t *testing.T) {
	for want, r := range map[string]*spec.CheckResult{
		`{"http":{"statusCode":503}}`: {Protocol: "HTTPS", Answered: true, Code: 503},
		`{"http":{}}`:                 {Protocol: "HTTP"},
		`{"tcp":{"succeeded":false}}`: {Protocol: "TCP"},
		`{"exec":{"exitCode":0}}`:     {Protocol: "COMMAND", Answered: true},
		`{"exec":{}}`:                 {Protocol: "COMMAND"},
		`null`:                        nil,
	} {
		got, err := json.Marshal(encodeTask(&spec.Task{CheckResult: r}).CheckResult)
		if err != nil || string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	task := &spec.Task{Seat: spec.SeatID{App: "/prod/db", Index: 1}, Volumes: []spec.SeatVolume{{ID: "u", ContainerPath: "data", Host: "h"}}}
	got, err := json.Marshal(encodeTask(task).LocalVolumes)
	if want := `[{"runSpecId":"/prod/db","containerPath":"data","uuid":"u","persistenceId":"prod_db#data#u"}]`; err != nil || string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTaskHasItsTwin(t *testing.T) {
	task := &spec.Task{Address: netip.MustParseAddr("10.1.0.9"), Twin: netip.MustParseAddr("2001:db8::9")}
	if got, want := taskAddresses(task), []addressJSON{{"10.1.0.9", "IPv4"}, {"2001:db8::9", "IPv6"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	task.Twin = netip.Addr{}
	if got := taskAddresses(task); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
