package admit

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// checkPod holds a pod to the rules for apps, and refuses what Berth would have to ignore.
func checkPod(app *spec.App, p Policy, f *marathon.Faults) {
	if !p.Pods {
		f.Add("/", "pods need the embedded engine (berth standalone): on Mesos, Berth can give a task group no address of its own")
	}
	checkNoLinuxInfo(app.Pod.LinuxInfo, "/linuxInfo", f)
	for i, v := range app.Pod.Volumes {
		at := fmt.Sprintf("/volumes(%d)", i)
		switch {
		case v.Secret != "":
			f.Add(at+"/secret", "secrets are not supported: there is no store of them")
		case v.HostPath != "":
			if reason := p.hostPathFault(v.HostPath); reason != "" {
				f.Add(at+"/host", "%s", reason)
			}
		}
	}
	for i := range app.Pod.Containers {
		checkPodContainer(&app.Pod.Containers[i], fmt.Sprintf("/containers(%d)", i), p, f)
	}
}

func checkPodContainer(c *spec.PodContainer, at string, p Policy, f *marathon.Faults) {
	checkNoLinuxInfo(c.LinuxInfo, at+"/linuxInfo", f)
	checkLimits(c.Limits, at+"/resourceLimits", f)
	checkFetch(c.Artifacts, at+"/artifacts", p, f)
	if i := c.Image; i != nil {
		if i.Kind != "DOCKER" {
			f.Add(at+"/image/kind", "%s images are not supported: every container is a Docker container", i.Kind)
		} else if i.Labels != nil {
			f.Add(at+"/image/labels", "are for APPC images; a Docker image is named by its id alone")
		}
		if reason := imageFault(i.ID); reason != "" {
			f.Add(at+"/image/id", "%s", reason)
		}
	}
	for j, m := range c.Mounts {
		if reason := mountPathFault(m.MountPath); reason != "" {
			f.Add(fmt.Sprintf("%s/volumeMounts(%d)/mountPath", at, j), "%s", reason)
		}
	}
	for _, key := range sortedKeys(c.Labels) {
		if strings.HasPrefix(strings.ToUpper(key), spec.AppLabelPrefix) {
			f.Add(at+"/labels/"+key, "belongs to the pod's labels: the containers of a pod share address, name and services")
		} else if reason := labelFault(key); reason != "" {
			f.Add(at+"/labels/"+key, "%s", reason)
		}
	}
}

// checkNoLinuxInfo: without it a container has Docker's default seccomp profile and an IPC namespace of its own.
func checkNoLinuxInfo(linuxInfo []byte, at string, f *marathon.Faults) {
	if linuxInfo != nil {
		f.Add(at, "is for Mesos's own containerizer; the containers of a pod are Docker containers with Docker's default confinement")
	}
}

// mountPathFault is containerPathFault for paths that may also be relative to the sandbox, out of which they must not lead.
func mountPathFault(mountPath string) string {
	if path.IsAbs(mountPath) {
		return containerPathFault(mountPath)
	}
	switch {
	case strings.ContainsAny(mountPath, ":\x00\n"):
		return "must not contain a colon, NUL or line break"
	case slices.Contains(strings.Split(mountPath, "/"), ".."):
		return "must not contain \"..\""
	case path.Clean(mountPath) == ".":
		return "must not be the sandbox itself"
	}
	return ""
}
