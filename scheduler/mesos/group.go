package mesos

import (
	"fmt"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/spec"
)

// launchGroup translates a pod: Mesos's default executor with a task for each container. The network stands where Mesos has
// it, in the executor's container; its image and docker parameters (address, host name, labels) are an extension of Berth's
// embedded engine, which makes a container of them that holds the network for the others.
func launchGroup(l *spec.Launch, pool *pool) (*mesos.Offer_Operation_LaunchGroup, error) {
	container, err := containerInfo(l)
	if err != nil {
		return nil, fmt.Errorf("launch %s: %w", l.TaskID, err)
	}
	g := &mesos.Offer_Operation_LaunchGroup{Executor: mesos.ExecutorInfo{
		Type: mesos.ExecutorInfo_DEFAULT, ExecutorID: mesos.ExecutorID{Value: l.TaskID}, Name: &l.Name,
		Container: container, Resources: pool.take(l), Labels: labels(l.Labels),
	}}
	for i := range l.Members {
		m := &l.Members[i]
		info, err := taskInfo(m)
		if err != nil {
			return nil, fmt.Errorf("launch %s: %w", m.TaskID, err)
		}
		info.Container.Docker.Network = nil // the group's
		info.Resources = pool.take(m)
		g.TaskGroup.Tasks = append(g.TaskGroup.Tasks, info)
	}
	return g, nil
}
