//go:build integration

package docker_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/realtest"
)

const (
	realImage = "berth-docker-test:1"
	realName  = "berth-docker-test"
)

const program = `package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "ask" {
		fmt.Println("to out")
		fmt.Fprintln(os.Stderr, "to err")
		os.Exit(4)
	}
	fmt.Println("hello")
	fmt.Fprintln(os.Stderr, "oops")
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	os.Exit(9)
}
`

func realClient(t *testing.T) *docker.Client {
	t.Helper()
	c := realtest.Docker(t)
	realtest.Image(t, realImage, program)
	t.Cleanup(func() {
		ctx := context.Background()
		_ = c.Remove(ctx, realName, true)
		_ = c.Remove(ctx, realName+".old", true)
		_ = c.RemoveNetwork(ctx, realName)
	})
	return c
}

func TestRealEngine(t *testing.T) {
	c := realClient(t)
	ctx := t.Context()
	if i, err := c.Info(ctx); err != nil || i.NCPU == 0 || i.MemTotal == 0 || i.ServerVersion == "" {
		t.Errorf("%+v %v", i, err)
	}
	for ref, want := range map[string]bool{realImage: true, "berth-no-such-image:1": false} {
		if got, err := c.ImageExists(ctx, ref); err != nil || got != want {
			t.Errorf("%s: %v %v", ref, got, err)
		}
	}
	spec := docker.NetworkSpec{
		Name: realName, Driver: "bridge", IPAMDriver: "default", Subnet: netip.MustParsePrefix("10.231.79.0/24"), Gateway: netip.MustParseAddr("10.231.79.1"),
		Labels: map[string]string{"a": "b"},
	}
	if err := c.CreateNetwork(ctx, spec); err != nil {
		t.Fatal(err)
	}
	networks, err := c.Networks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, n := range networks {
		if n.Name == realName {
			found = n.Subnet == spec.Subnet && n.Gateway == spec.Gateway && n.Labels["a"] == "b" && n.ID != ""
		}
	}
	if !found {
		t.Errorf("got %+v", networks)
	}

	inventory := docker.NewInventory(c, quiet())
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { _ = inventory.Run(running); close(ended) }()
	defer func() { cancel(); <-ended }()
	wait := func(when string, is func(docker.Container) bool) {
		t.Helper()
		limit := time.After(20 * time.Second)
		for {
			s, changed := inventory.Get()
			for _, k := range s.Containers {
				if strings.HasPrefix(k.Name, realName) && is(k) {
					return
				}
			}
			select {
			case <-changed:
			case <-limit:
				t.Fatalf("the inventory does not show it %s", when)
			}
		}
	}

	yes := true
	id, err := c.Create(ctx, docker.CreateSpec{
		Name: realName, Image: realImage, Network: realName, IP: netip.MustParseAddr("10.231.79.7"), Hostname: "web-0", CPUQuota: 20000, Memory: 32 << 20,
		Labels: map[string]string{"berth-docker-test": "1"}, Env: []string{"A=b"}, MacAddress: "02:42:0a:e7:4f:07", NetworkAliases: []string{"x"}, Init: &yes,
		PortBindings: []docker.PortBinding{{HostIP: "127.0.0.1", ContainerPort: 80}}, Ulimits: []docker.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(ctx, docker.CreateSpec{Name: realName, Image: realImage}); !docker.IsConflict(err) {
		t.Errorf("a name twice: %v", err)
	}
	if _, err := c.Create(ctx, docker.CreateSpec{Name: realName + "x", Image: "berth-no-such-image:1"}); !docker.IsNotFound(err) {
		t.Errorf("no image: %v", err)
	}
	if err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	wait("running", func(k docker.Container) bool {
		return k.Running && k.Addresses[realName].String() == "10.231.79.7" && k.Hostname == "web-0" && k.CPUQuota == 20000 && k.MemoryLimit == 32<<20 && k.Pid > 0
	})
	if listed, err := c.List(ctx, map[string]string{"berth-docker-test": "1"}); err != nil || len(listed) != 1 || listed[0].ID != id {
		t.Errorf("%v %v", listed, err)
	}
	described, err := c.Inspect(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if listed, err := c.Summaries(ctx, map[string]string{"berth-docker-test": "1"}); err != nil || len(listed) != 1 {
		t.Errorf("%v %v", listed, err)
	} else {
		want := docker.Container{
			ID: id, Name: described.Name, Image: described.Image, Labels: described.Labels, State: "running", Running: true,
			CreatedAt: described.CreatedAt.Truncate(time.Second), NetworkMode: described.NetworkMode, Addresses: described.Addresses, MACs: described.MACs, Partial: true,
		}
		if d := cmp.Diff(want, listed[0], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("a list tells otherwise than an inspection: %s", d)
		}
	}
	if code, out, err := c.Exec(ctx, id, []string{"/guest", "ask"}); err != nil || code != 4 || !strings.Contains(string(out), "to out\n") || !strings.Contains(string(out), "to err\n") {
		t.Errorf("%d %q %v", code, out, err)
	}
	short, enough := context.WithTimeout(ctx, 300*time.Millisecond)
	defer enough()
	if _, _, err := c.Exec(short, id, []string{"/guest", "hang"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that hangs: %v", err)
	}
	if out, err := exec.Command("docker", "top", id).Output(); err != nil || strings.Contains(string(out), "hang") {
		t.Errorf("the command that hangs still runs: %s, %v", out, err)
	}
	if err := c.Rename(ctx, id, realName+".old"); err != nil {
		t.Error(err)
	}
	wait("renamed", func(k docker.Container) bool { return k.Name == realName+".old" })
	if err := c.Stop(ctx, id, 5*time.Second); err != nil {
		t.Error(err)
	}
	wait("stopped", func(k docker.Container) bool { return !k.Running && k.ExitCode == 9 && !k.FinishedAt.IsZero() })
	if err := c.Kill(ctx, id, "KILL"); !docker.IsConflict(err) {
		t.Errorf("kill of a stopped one: %v", err)
	}
	var out, errs bytes.Buffer
	if err := c.Logs(ctx, id, docker.LogOptions{Tail: 10}, &out, &errs); err != nil || out.String() != "hello\n" || errs.String() != "oops\n" {
		t.Errorf("%q %q %v", out.String(), errs.String(), err)
	}
	if err := c.Remove(ctx, id, false); err != nil {
		t.Error(err)
	}
	if _, err := c.Inspect(ctx, id); !docker.IsNotFound(err) {
		t.Errorf("after removal: %v", err)
	}
}
