package launch

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

func resident(names ...string) *spec.App {
	app := &spec.App{ID: "/prod/db", Container: &spec.Container{Type: spec.ContainerMesos}}
	for _, n := range names {
		app.Container.Volumes = append(app.Container.Volumes, spec.Volume{ContainerPath: n, Mode: "RW", Persistent: []byte(`{"type":"root","size":10,"constraints":[]}`)})
	}
	return app
}

func TestSeatVolumes(t *testing.T) {
	n := 0
	newID := func() string { n++; return fmt.Sprint(n) }
	seat := spec.Seat{ID: spec.SeatID{App: "/prod/db", Index: 2}}
	first := SeatVolumes(resident("data", "w a/l"), seat, "h1", newID)
	want := []spec.SeatVolume{
		{ID: "1", ContainerPath: "data", Host: "h1", Path: "prod_db.2/data-1", SizeMiB: 10},
		{ID: "2", ContainerPath: "w a/l", Host: "h1", Path: "prod_db.2/w_a_l-2", SizeMiB: 10},
	}
	if d := cmp.Diff(want, first); d != "" {
		t.Fatal(d)
	}
	seat.Volumes = first
	if again := SeatVolumes(resident("w a/l", "data"), seat, "h1", newID); !slices.Equal(again, []spec.SeatVolume{want[1], want[0]}) {
		t.Errorf("kept ones, in the definition's order: %v", again)
	}
	seat.Volumes = slices.Clone(first)
	seat.Volumes[0].Freed = true
	if after := SeatVolumes(resident("data"), seat, "h2", newID); after[0].ID != "3" || after[0].Host != "h2" {
		t.Errorf("a freed one is not used again: %v", after)
	}
	if got := first[0].PersistenceID("/prod/db"); got != "prod_db#data#1" {
		t.Error(got)
	}
}

func TestMounts(t *testing.T) {
	app := resident("data")
	app.Container.Volumes = append(app.Container.Volumes,
		spec.Volume{ContainerPath: "/var/lib/db", HostPath: "data", Mode: "RW"},
		spec.Volume{ContainerPath: "/etc/x", HostPath: "/srv/x", Mode: "RO"},
		spec.Volume{ContainerPath: "secret", Secret: "s"})
	have := []spec.SeatVolume{{ID: "1", ContainerPath: "data", Path: "db.0/data-1"}}
	want := []spec.LaunchVolume{
		{HostPath: "/v/db.0/data-1", ContainerPath: "/mnt/mesos/sandbox/data"},
		{HostPath: "/v/db.0/data-1", ContainerPath: "/var/lib/db"},
		{HostPath: "/srv/x", ContainerPath: "/etc/x", ReadOnly: true},
	}
	if d := cmp.Diff(want, mounts(app, have, Options{VolumesDir: "/v"})); d != "" {
		t.Error(d)
	}
}

func TestSpecialDisks(t *testing.T) {
	app := resident("plain")
	app.Container.Volumes = append(app.Container.Volumes, spec.Volume{ContainerPath: "big", Persistent: []byte(
		`{"type":"mount","size":10,"maxSize":20,"profileName":"ssd","constraints":[["path","LIKE","/mnt/.*"]]}`)})
	want := []string{"volume big needs a disk of type mount of 10 MiB to 20 MiB with profile ssd with path LIKE /mnt/.*"}
	if d := cmp.Diff(want, SpecialDisks(app)); d != "" {
		t.Error(d)
	}
	pod := &spec.App{Pod: &spec.Pod{Volumes: []spec.PodVolume{{Name: "p", Persistent: []byte(`{"type":"path","size":1}`)}}}}
	if len(SpecialDisks(pod)) != 1 {
		t.Error("a pod's volumes count, too")
	}
}

// TestPodMounts: what is persistent is the seat's folder in every container that mounts it.
func TestPodMounts(t *testing.T) {
	mount := func(name, at string, ro bool) spec.PodMount {
		return spec.PodMount{Name: name, MountPath: at, ReadOnly: ro}
	}
	app := &spec.App{ID: "/p", Pod: &spec.Pod{
		Volumes: []spec.PodVolume{{Name: "kept", Persistent: []byte(`{"type":"root","size":10}`)}, {Name: "common"}, {Name: "host", HostPath: "/srv/x"}},
		Containers: []spec.PodContainer{
			{Name: "a", Mounts: []spec.PodMount{mount("common", "tmp", false), mount("kept", "data", false), mount("host", "/x", true)}},
			{Name: "b", Mounts: []spec.PodMount{mount("kept", "backup", true)}},
			{Name: "c"},
		},
	}}
	task := &spec.Task{Volumes: []spec.SeatVolume{{ID: "1", ContainerPath: "kept", Path: "p.0/kept-1"}}}
	l := Build(app, spec.Seat{}, task, spec.Offer{}, nil, Options{VolumesDir: "/v"})
	var got [][]spec.LaunchVolume
	for _, m := range l.Members {
		got = append(got, m.Volumes)
	}
	want := [][]spec.LaunchVolume{
		{
			{Shared: "common", ContainerPath: "/mnt/mesos/sandbox/tmp"}, {HostPath: "/v/p.0/kept-1", ContainerPath: "/mnt/mesos/sandbox/data"},
			{HostPath: "/srv/x", ContainerPath: "/x", ReadOnly: true},
		},
		{{HostPath: "/v/p.0/kept-1", ContainerPath: "/mnt/mesos/sandbox/backup", ReadOnly: true}},
		nil,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
