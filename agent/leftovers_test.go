package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// stopping is an engine of which only Stop is used.
type stopping struct {
	Engine
	mu      sync.Mutex
	stopped []string
}

func (s *stopping) Stop(_ context.Context, id string, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = append(s.stopped, id)
	if id == "c7" {
		return errors.New("no answer")
	}
	return nil
}

func TestLeftoversAreWhatTheSchedulerNames(t *testing.T) {
	old := time.Unix(1e9, 0)
	byTask := running(docker.Snapshot{Containers: []docker.Container{
		box("c1", "mesos-1", "blue", "10.1.0.10", true, "t1", old), box("c2", "mesos-2", "blue", "10.1.0.11", true, "t2", old),
		box("c3", "mesos-3", "blue", "10.1.0.12", false, "t3", old), box("c4", "debug", "blue", "10.1.0.13", true, "", old),
	}})
	doc := &spec.HostDocument{Ended: []string{"t2", "t3", "t9"}}
	if d := cmp.Diff(map[string]string{"t2": "c2"}, leftovers(doc, byTask)); d != "" {
		t.Error(d)
	}
}

func TestAllLeftoversAreStopped(t *testing.T) {
	log, _ := test.NewNullLogger()
	engine, j := &stopping{}, leftoversJob{tasks: map[string]string{}}
	for n := range 20 {
		j.tasks[fmt.Sprint("t", n)] = fmt.Sprint("c", n)
	}
	err := stopper{engine, log}.stop(t.Context(), j)
	if err == nil || !strings.Contains(err.Error(), "task t7") || strings.Contains(err.Error(), "task t8") {
		t.Errorf("got %v", err)
	}
	slices.Sort(engine.stopped)
	if d := cmp.Diff(slices.Sorted(maps.Values(j.tasks)), engine.stopped); d != "" {
		t.Error(d)
	}
}
