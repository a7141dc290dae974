package docker

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/google/go-cmp/cmp"
)

func TestLogsAreBounded(t *testing.T) {
	for _, c := range []struct {
		name string
		spec CreateSpec
		want container.LogConfig
	}{
		{"by default", CreateSpec{}, container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}}},
		{"as asked for", CreateSpec{LogOpts: map[string]string{"max-size": "1m"}}, container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m"}}},
		{"another driver", CreateSpec{LogDriver: "syslog"}, container.LogConfig{Type: "syslog"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, c.spec.hostConfig().LogConfig); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNetworking(t *testing.T) {
	for _, n := range []string{"", "host", "none"} {
		if got := (&CreateSpec{Network: n, IP: netip.MustParseAddr("10.0.0.1")}).networking(); got != nil {
			t.Errorf("%q: %v", n, got)
		}
	}
	got := (&CreateSpec{Network: "pool", IP: netip.MustParseAddr("10.0.0.1"), NetworkAliases: []string{"a"}}).networking()
	want := map[string]*network.EndpointSettings{"pool": {Aliases: []string{"a"}, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: "10.0.0.1"}}}
	if d := cmp.Diff(want, got.EndpointsConfig); d != "" {
		t.Error(d)
	}
}

func TestSecondsRoundUp(t *testing.T) {
	for d, want := range map[time.Duration]int{0: 0, -time.Second: 0, time.Millisecond: 1, time.Second: 1, 1500 * time.Millisecond: 2} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %d", d, got)
		}
	}
}

func TestFromInspect(t *testing.T) {
	ten := 10
	got := fromInspect(container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{
			ID: "1", Name: "/mesos-1", Created: "2026-01-02T03:04:05.5Z",
			State:      &container.State{Status: "exited", ExitCode: 3, StartedAt: "2026-01-02T03:04:06Z", FinishedAt: "0001-01-01T00:00:00Z"},
			HostConfig: &container.HostConfig{NetworkMode: "pool", Resources: container.Resources{CPUQuota: -1, Memory: 5}},
		},
		Config:          &container.Config{Image: "i:1", Labels: map[string]string{"a": "b"}, StopTimeout: &ten},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{"pool": {IPAddress: "10.0.0.1", MacAddress: "02:42:0a:00:00:01"}, "off": {}, "nil": nil}},
	})
	want := Container{
		ID: "1", Name: "mesos-1", Image: "i:1", Labels: map[string]string{"a": "b"}, State: "exited", ExitCode: 3, NetworkMode: "pool", MemoryLimit: 5,
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC), StartedAt: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC), StopTimeout: 10 * time.Second,
		Addresses: map[string]netip.Addr{"pool": netip.MustParseAddr("10.0.0.1")}, MACs: map[string]string{"pool": "02:42:0a:00:00:01"},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(Container{}, fromInspect(container.InspectResponse{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestFromMessage(t *testing.T) {
	died := fromMessage(events.Message{Type: "container", Action: "die", Actor: events.Actor{ID: "1", Attributes: map[string]string{"exitCode": "137", "name": "a"}}})
	if died.Container != "1" || died.ExitCode != 137 || died.Name != "a" || died.Action != "die" {
		t.Errorf("got %+v", died)
	}
	left := fromMessage(events.Message{Type: "network", Action: "disconnect", Actor: events.Actor{ID: "n", Attributes: map[string]string{"container": "1"}}})
	if left.Container != "1" || left.ID != "n" {
		t.Errorf("got %+v", left)
	}
}

func TestPullResult(t *testing.T) {
	for _, c := range []struct {
		name, progress, text string
		got, of              int64
	}{
		{"well", `{"status":"Pulling"}{"status":"done"}`, "", 0, 0},
		{"two layers", `{"id":"a","status":"Downloading","progressDetail":{"current":1,"total":4}}{"id":"b","status":"Downloading","progressDetail":{"current":2,"total":2}}` +
			`{"id":"a","status":"Download complete"}{"id":"a","status":"Extracting","progressDetail":{"current":1,"total":9}}`, "", 6, 6},
		{"refused on the way", `{"status":"Pulling"}{"errorDetail":{"message":"no space"},"error":"no space"}`, "no space", 0, 0},
		{"cut off", `{"status":`, "read the progress", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got, of int64
			err := pullResult(strings.NewReader(c.progress), func(g, o int64) { got, of = g, o })
			if got != c.got || of != c.of {
				t.Errorf("%d of %d bytes, want %d of %d", got, of, c.got, c.of)
			}
			if (err == nil) != (c.text == "") || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzPullResult(f *testing.F) {
	f.Add(`{"status":"Pulling"}`)
	f.Fuzz(func(_ *testing.T, progress string) {
		_ = pullResult(strings.NewReader(progress), func(int64, int64) {})
	})
}
