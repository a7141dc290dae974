package mesos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// TestTaskInfo shows each field of a launch in the JSON that Mesos gets.
func TestTaskInfo(t *testing.T) {
	const bare = `{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"a"},"resources":null,"command":%s,"container":%s}`
	docker := func(network, rest string) string {
		return `{"type":"DOCKER","docker":{"image":"i:1","network":"` + network + `","privileged":false,"force_pull_image":false` + rest + `}}`
	}
	const args = `{"shell":false}`
	for _, c := range []struct {
		name   string
		launch spec.Launch
		want   string
	}{
		{"shell", spec.Launch{Shell: true, Command: "sleep 1"}, fmt.Sprintf(bare, `{"shell":true,"value":"sleep 1"}`, docker("BRIDGE", ""))},
		{"arguments", spec.Launch{Args: []string{"a", "b c"}, Command: "not used"}, fmt.Sprintf(bare, `{"shell":false,"arguments":["a","b c"]}`, docker("BRIDGE", ""))},
		{
			"environment in order",
			spec.Launch{Env: map[string]string{"B": "2", "A": ""}},
			fmt.Sprintf(bare, `{"shell":false,"environment":{"variables":[{"name":"A","value":""},{"name":"B","value":"2"}]}}`, docker("BRIDGE", "")),
		},
		{
			"fetch",
			spec.Launch{Fetch: []spec.Fetch{{URI: "http://x", Extract: true}, {URI: "http://y", Executable: true, Cache: true, DestPath: "d"}}},
			fmt.Sprintf(bare, `{"shell":false,"uris":[{"value":"http://x","extract":true,"executable":false,"cache":false},{"value":"http://y","extract":false,"executable":true,"cache":true,"output_file":"d"}]}`, docker("BRIDGE", "")),
		},
		{"host network", spec.Launch{HostNet: true}, fmt.Sprintf(bare, args, docker("HOST", ""))},
		{
			"own network",
			spec.Launch{Network: "pool", Parameters: []spec.Parameter{{Key: "ip", Value: "10.9.0.2"}, {Key: "hostname", Value: "web-0"}}},
			fmt.Sprintf(bare, args, `{"type":"DOCKER","network_infos":[{"name":"pool"}],"docker":{"image":"i:1","network":"USER","privileged":false,"force_pull_image":false,"parameters":[{"key":"ip","value":"10.9.0.2"},{"key":"hostname","value":"web-0"}]}}`),
		},
		{
			"published ports",
			spec.Launch{PortMappings: []spec.LaunchPort{{Container: 80, Host: 31000, Protocol: "tcp"}, {Container: 53, Host: 31001, Protocol: "udp,tcp"}, {Container: 1, Host: 2}}},
			fmt.Sprintf(bare, args, docker("BRIDGE", `,"port_mappings":[{"container_port":80,"host_port":31000,"protocol":"tcp"},{"container_port":53,"host_port":31001,"protocol":"udp"},{"container_port":53,"host_port":31001,"protocol":"tcp"},{"container_port":1,"host_port":2}]`)),
		},
		{
			"volumes",
			spec.Launch{Volumes: []spec.LaunchVolume{{HostPath: "/h", ContainerPath: "/c", ReadOnly: true}, {HostPath: "/i", ContainerPath: "/d"}}},
			fmt.Sprintf(bare, args, `{"type":"DOCKER","volumes":[{"mode":"RO","container_path":"/c","host_path":"/h"},{"mode":"RW","container_path":"/d","host_path":"/i"}],"docker":{"image":"i:1","network":"BRIDGE","privileged":false,"force_pull_image":false}}`),
		},
		{
			"privileged, fresh image, grace, labels in order",
			spec.Launch{Privileged: true, ForcePull: true, KillGrace: 1500 * time.Millisecond, Labels: map[string]string{"y": "2", "x": ""}},
			strings.TrimSuffix(fmt.Sprintf(bare, args, `{"type":"DOCKER","docker":{"image":"i:1","network":"BRIDGE","privileged":true,"force_pull_image":true}}`), "}") +
				`,"kill_policy":{"grace_period":{"nanoseconds":1500000000}},"labels":{"labels":[{"key":"x","value":""},{"key":"y","value":"2"}]}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.launch.TaskID, c.launch.Name, c.launch.AgentID, c.launch.Image = "t", "n", "a", "i:1"
			info, err := taskInfo(&c.launch)
			if err != nil {
				t.Fatal(err)
			}
			got, err := info.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(normal(t, []byte(c.want)), normal(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLaunchesThatCannotBe(t *testing.T) {
	for name, l := range map[string]spec.Launch{
		"two networks":                {HostNet: true, Network: "pool"},
		"ports on the host's network": {HostNet: true, PortMappings: []spec.LaunchPort{{Container: 1, Host: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			l.TaskID = "t-1"
			if _, err := taskInfos([]spec.Launch{l}, newPool(nil, "")); err == nil || !strings.Contains(err.Error(), "t-1") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func scalar(name, role string, v float64) mesos.Resource {
	return mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Role: &role, Scalar: &mesos.Value_Scalar{Value: v}}
}

func ports(role string, ranges ...uint64) mesos.Resource {
	r := mesos.Resource{Name: "ports", Type: mesos.RANGES.Enum(), Role: &role, Ranges: &mesos.Value_Ranges{}}
	for i := 0; i < len(ranges); i += 2 {
		r.Ranges.Range = append(r.Ranges.Range, mesos.Value_Range{Begin: ranges[i], End: ranges[i+1]})
	}
	return r
}

// brief writes resources as Mesos does: "cpus(berth):0.5; ports(*):[1-2]".
func brief(resources []mesos.Resource) string {
	var out []string
	for i := range resources {
		r := &resources[i]
		v := fmt.Sprint(r.GetScalar().GetValue())
		if r.Ranges != nil {
			v = ""
			for _, p := range r.Ranges.Range {
				v += fmt.Sprintf("[%d-%d]", p.Begin, p.End)
			}
		}
		role := "?" // not among the offered
		if r.Role != nil {
			role = *r.Role
		}
		out = append(out, r.Name+"("+role+"):"+v)
	}
	return strings.Join(out, "; ")
}

func TestLaunchesShareWhatIsOffered(t *testing.T) {
	volume := scalar("disk", "berth", 100)
	volume.Disk = &mesos.Resource_DiskInfo{}
	offered := []mesos.Resource{
		scalar("cpus", "*", 1), scalar("cpus", "berth", 0.5), scalar("mem", "*", 100), volume, scalar("disk", "*", 10),
		ports("*", 31000, 31009), ports("berth", 80, 80, 443, 443),
	}
	before := brief(offered)
	launches := []spec.Launch{
		{TaskID: "1", CPUs: 0.3, Mem: 60, HostPorts: []spec.PortRange{{Begin: 31002, End: 31003}, {Begin: 80, End: 80}}},
		{TaskID: "2", CPUs: 0.3, Mem: 30, Disk: 4},
		{TaskID: "3", CPUs: 1, Mem: 20, HostPorts: []spec.PortRange{{Begin: 31001, End: 31004}}},
	}
	infos, err := taskInfos(launches, newPool(offered, "berth"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cpus(berth):0.3; mem(*):60; ports(berth):[80-80]; ports(*):[31002-31003]",
		"cpus(berth):0.2; cpus(*):0.1; mem(*):30; disk(*):4",
		"cpus(*):0.9; cpus(?):0.1; mem(*):10; mem(?):10; ports(*):[31001-31001][31004-31004]; ports(?):[31002-31003]",
	}
	for i, info := range infos {
		if got := brief(info.Resources); got != want[i] {
			t.Errorf("launch %d\ngot  %s\nwant %s", i+1, got, want[i])
		}
	}
	if infos[2].Resources[1].GetAllocationInfo().GetRole() != "berth" {
		t.Error("what is not offered has no allocation role")
	}
	if after := brief(offered); after != before {
		t.Errorf("the offer was changed: %s", after)
	}
}

// TestSharesAddUp: each launch gets exactly what it wants, and nothing offered is given twice.
func TestSharesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		milli := rapid.Map(rapid.IntRange(0, 3000), func(n int) float64 { return round(float64(n) / 1000) })
		var offered []mesos.Resource
		have := 0.0
		for range rapid.IntRange(0, 4).Draw(t, "parts") {
			v := milli.Draw(t, "offered")
			have = round(have + v)
			offered = append(offered, scalar("cpus", rapid.SampledFrom([]string{"*", "berth"}).Draw(t, "role"), v))
		}
		for range rapid.IntRange(0, 3).Draw(t, "port parts") {
			b := rapid.IntRange(0, 40).Draw(t, "begin")
			offered = append(offered, ports("*", uint64(b+41*len(offered)), uint64(b+41*len(offered)+rapid.IntRange(0, 40-b).Draw(t, "len"))))
		}
		var launches []spec.Launch
		for range rapid.IntRange(0, 5).Draw(t, "launches") {
			b := rapid.IntRange(0, 300).Draw(t, "port")
			launches = append(launches, spec.Launch{TaskID: "t", CPUs: milli.Draw(t, "wanted"), HostPorts: []spec.PortRange{{Begin: b, End: b + rapid.IntRange(0, 30).Draw(t, "ports")}}})
		}
		infos, err := taskInfos(launches, newPool(offered, "berth"))
		if err != nil {
			t.Fatal(err)
		}
		given := 0.0
		givenPorts := map[uint64]bool{}
		for i, info := range infos {
			got, gotPorts := 0.0, map[uint64]bool{}
			for _, r := range info.Resources {
				if r.Scalar != nil {
					if r.Scalar.Value <= 0 {
						t.Fatalf("a share of %g", r.Scalar.Value)
					}
					got = round(got + r.Scalar.Value)
					if r.Role != nil {
						given = round(given + r.Scalar.Value)
					}
				}
				for _, p := range r.GetRanges().GetRange() {
					for n := p.Begin; n <= p.End; n++ {
						if gotPorts[n] || (r.Role != nil && givenPorts[n]) {
							t.Fatalf("port %d twice", n)
						}
						gotPorts[n] = true
						if r.Role != nil {
							givenPorts[n] = true
							if !offers(offered, n) {
								t.Fatalf("port %d was never offered", n)
							}
						}
					}
				}
			}
			w := launches[i].HostPorts[0]
			if got != launches[i].CPUs || len(gotPorts) != w.End-w.Begin+1 || !gotPorts[uint64(w.Begin)] || !gotPorts[uint64(w.End)] {
				t.Fatalf("launch %d wanted %g and %v, got %s", i, launches[i].CPUs, w, brief(info.Resources))
			}
		}
		if given > have {
			t.Fatalf("%g given of %g", given, have)
		}
	})
}

func offers(offered []mesos.Resource, port uint64) bool {
	for _, r := range offered {
		for _, p := range r.GetRanges().GetRange() {
			if p.Begin <= port && port <= p.End {
				return true
			}
		}
	}
	return false
}

func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := backoff{min: 100 * time.Millisecond, max: 30 * time.Second, rand: func() float64 { return rapid.Float64Range(0, 0.999).Draw(t, "rand") }}
		full := time.Duration(0)
		for range rapid.IntRange(1, 30).Draw(t, "attempts") {
			fresh := rapid.Bool().Draw(t, "fresh")
			if full = min(2*full, b.max); fresh || full == 0 {
				full = b.min
			}
			if got := b.next(fresh); got < full/2 || got > full {
				t.Fatalf("got %s, want %s to %s", got, full/2, full)
			}
		}
	})
}
