package admit

import (
	"fmt"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// checkPod: pods name no docker parameters, so what is left to refuse are host paths, and what the engine cannot do.
func checkPod(pod *spec.Pod, p Policy, f *marathon.Faults) {
	if !p.Pods {
		f.Add("/", "pods need the embedded engine (berth standalone): on Mesos, Berth can give a task group no address of its own")
	}
	if pod.LinuxInfo != nil {
		f.Add("/linuxInfo", "is for Mesos's own containerizer; pods run as Docker containers")
	}
	for i, v := range pod.Volumes {
		at := fmt.Sprintf("/volumes(%d)", i)
		switch {
		case v.Persistent != nil:
			f.Add(at+"/persistent", "persistent volumes are not supported in pods; use a volume with a host path below an allowed one")
		case v.HostPath != "":
			if reason := p.hostPathFault(v.HostPath); reason != "" {
				f.Add(at+"/host", "%s", reason)
			}
		}
	}
	for i := range pod.Containers {
		checkPodContainer(&pod.Containers[i], fmt.Sprintf("/containers(%d)", i), f)
	}
}

func checkPodContainer(c *spec.PodContainer, at string, f *marathon.Faults) {
	if c.Image != nil {
		if c.Image.Kind != "" && c.Image.Kind != "DOCKER" {
			f.Add(at+"/image/kind", "only DOCKER images are supported")
		}
		if reason := imageFault(c.Image.ID); reason != "" {
			f.Add(at+"/image/id", "%s", reason)
		}
	}
	if c.LinuxInfo != nil {
		f.Add(at+"/linuxInfo", "is for Mesos's own containerizer; pods run as Docker containers")
	}
	for i, m := range c.Mounts {
		if reason := containerPathFault(m.MountPath); reason != "" {
			f.Add(fmt.Sprintf("%s/volumeMounts(%d)/mountPath", at, i), "%s", reason)
		}
	}
}
