package api_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	marathon "github.com/gambol99/go-marathon"
)

// The client that users have goes through the life of a pod.
func TestGoMarathonPods(t *testing.T) {
	f := newFixture(t)
	f.world.StepOnRead()
	client := goMarathon(t, f)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	supported, err := client.SupportsPods()
	if must("probe", err); !supported {
		t.Error("no pods")
	}
	web := marathon.NewPodContainer().SetName("web").SetImage(marathon.NewDockerPodContainerImage().SetID("nginx")).
		CPUs(0.1).Memory(32).AddEnv("A", "b").AddLabel("l", "1").
		AddEndpoint(marathon.NewPodEndpoint().SetName("http").SetContainerPort(80).SetHostPort(0).AddProtocol("tcp")).
		SetHealthCheck(&marathon.PodHealthCheck{HTTP: &marathon.HTTPHealthCheck{Endpoint: "http", Path: "/", Scheme: "http"}}).
		AddVolumeMount(marathon.NewPodVolumeMount("shared", "/data"))
	side := marathon.NewPodContainer().SetName("side").SetCommand("sleep 1000").CPUs(0.1).Memory(32)
	pod := marathon.NewPod().Name("/shop/pod").Count(2).AddEnv("B", "c").AddLabel("tier", "front").
		AddNetwork(marathon.NewContainerPodNetwork("default")).AddVolume(marathon.NewPodVolume("shared", "")).
		SetPodSchedulingPolicy(marathon.NewPodSchedulingPolicy()).
		AddContainer(web).AddContainer(side)
	created, err := client.CreatePod(pod)
	must("create", err)
	if created.ID != "/shop/pod" || created.Version == "" || len(created.Containers) != 2 || created.Scaling.Instances != 2 {
		t.Errorf("created %+v", created)
	}
	if _, err := client.CreatePod(pod); errCode(err) != marathon.ErrCodeDuplicateID {
		t.Errorf("created twice: %v", err)
	}
	must("wait", client.WaitOnPod("/shop/pod", 10*time.Second))
	if !client.PodIsRunning("/shop/pod") || client.PodIsRunning("/shop/nothing") {
		t.Error("is the pod running?")
	}
	testPodReads(t, client, created)

	created.Count(3).AddLabel("tier", "back")
	updated, err := client.UpdatePod(created, false)
	must("update", err)
	if updated.Labels["tier"] != "back" || updated.Scaling.Instances != 3 {
		t.Errorf("updated %+v", updated)
	}
	must("wait", client.WaitOnPod("/shop/pod", 10*time.Second))
	versions, err := client.PodVersions("/shop/pod")
	must("versions", err)
	if !slices.Equal(versions, []string{updated.Version, created.Version}) {
		t.Errorf("versions %v", versions)
	}
	old, err := client.PodByVersion("/shop/pod", created.Version)
	must("version", err)
	if old.Labels["tier"] != "front" {
		t.Errorf("old version %+v", old)
	}

	status, err := client.PodStatus("/shop/pod")
	must("status", err)
	// go-marathon declares the instance id as an object, as Marathon up to 1.7 wrote it, and cannot read the string that
	// came with 1.8. The instances are killed all the same.
	doomed := status.Instances[0].ID
	if _, err := client.DeletePodInstance("/shop/pod", doomed); err == nil || !strings.Contains(err.Error(), "instanceId") {
		t.Errorf("kill one: %v", err)
	}
	if _, err := client.DeletePodInstances("/shop/pod", []string{status.Instances[1].ID}); err == nil || !strings.Contains(err.Error(), "instanceId") {
		t.Errorf("kill many: %v", err)
	}
	must("wait", client.WaitOnPod("/shop/pod", 10*time.Second))
	status, err = client.PodStatus("/shop/pod")
	must("status", err)
	if slices.ContainsFunc(status.Instances, func(i *marathon.PodInstanceStatus) bool { return i.ID == doomed }) {
		t.Errorf("instance %s lives", doomed)
	}

	// The answer to DELETE has no body; the deployment's id is in a header, at which go-marathon does not look.
	_, err = client.DeletePod("/shop/pod", true)
	must("delete", err)
	if _, err := client.Pod("/shop/pod"); errCode(err) != marathon.ErrCodeNotFound {
		t.Errorf("after its removal: %v", err)
	}
}

func testPodReads(t *testing.T, client marathon.Marathon, created *marathon.Pod) {
	t.Helper()
	pods, err := client.Pods()
	if err != nil || len(pods) != 1 || pods[0].ID != created.ID {
		t.Errorf("pods: %v, %+v", err, pods)
	}
	pod, err := client.Pod("/shop/pod")
	if err != nil || pod.Containers[0].Env["A"] != "b" || pod.Env["B"] != "c" || pod.Version != created.Version {
		t.Errorf("pod: %v, %+v", err, pod)
	}
	statuses, err := client.PodStatuses()
	if err != nil || len(statuses) != 1 {
		t.Fatalf("statuses: %v, %+v", err, statuses)
	}
	status := statuses[0]
	if status.Status != marathon.PodStateStable || len(status.Instances) != 2 || status.Spec.ID != "/shop/pod" {
		t.Errorf("status %+v", status)
	}
	for _, i := range status.Instances {
		if i.Status != marathon.PodInstanceStateStable || len(i.Containers) != 2 || i.Containers[0].Status != "TASK_RUNNING" ||
			len(i.Networks) != 1 || len(i.Networks[0].Addresses) != 1 || i.AgentHostname == "" {
			t.Errorf("instance %+v", i)
		}
	}
	if _, err := client.PodStatus("/shop/nothing"); errCode(err) != marathon.ErrCodeNotFound {
		t.Errorf("status of no pod: %v", err)
	}
}
