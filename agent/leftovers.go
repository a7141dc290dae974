package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

const (
	// leftoverGrace is the time between TERM and KILL: nobody waits for such a container any more, but its data may be written.
	leftoverGrace = 10 * time.Second
	// leftoversAtOnce bounds how many are stopped at a time: after a crash of dockerd it may be all that the host had.
	leftoversAtOnce = 8
)

// leftoversJob is which containers are to be stopped.
type leftoversJob struct {
	tasks map[string]string // task id -> container id
	again int
}

// leftovers are the containers that run although the scheduler says that their tasks have ended: Mesos's docker executor ends a
// task when the `docker run` that it is attached to ends, be it by a crash of dockerd that the container itself survived.
func leftovers(doc *spec.HostDocument, byTask map[string]docker.Container) map[string]string {
	out := map[string]string{}
	for _, task := range doc.Ended {
		if c, ok := byTask[task]; ok {
			out[task] = c.ID
		}
	}
	return out
}

// stopper ends containers.
type stopper struct {
	engine Engine
	log    logrus.FieldLogger
}

// stop stops them, several at a time; one that fails does not keep the others.
func (s stopper) stop(ctx context.Context, j leftoversJob) error {
	tasks := slices.Sorted(maps.Keys(j.tasks))
	errs := make([]error, min(leftoversAtOnce, len(tasks)))
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for n := i; n < len(tasks); n += len(errs) {
				log := s.log.WithFields(logrus.Fields{"task": tasks[n], "container": j.tasks[tasks[n]]})
				log.Warn("stopping a container that has outlived its task")
				if err := s.engine.Stop(ctx, j.tasks[tasks[n]], leftoverGrace); err != nil {
					errs[i] = errors.Join(errs[i], fmt.Errorf("stop the container of task %s, which has ended: %w", tasks[n], err))
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
