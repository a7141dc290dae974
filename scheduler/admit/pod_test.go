package admit

import (
	"testing"

	"github.com/berth-project/berth/spec"
)

func pod(change func(*spec.App, *spec.PodContainer)) *spec.App {
	app := &spec.App{ID: "/p", Networks: []spec.Network{{Mode: spec.NetworkHost}}, Pod: &spec.Pod{
		Containers: []spec.PodContainer{{Name: "c", Image: &spec.PodImage{Kind: "DOCKER", ID: "nginx"}}},
	}}
	if change != nil {
		change(app, &app.Pod.Containers[0])
	}
	return app
}

func TestPods(t *testing.T) {
	mount := func(path string) func(*spec.App, *spec.PodContainer) {
		return func(a *spec.App, c *spec.PodContainer) {
			a.Pod.Volumes = []spec.PodVolume{{Name: "v"}}
			c.Mounts = []spec.PodMount{{Name: "v", MountPath: path}}
		}
	}
	volume := func(v spec.PodVolume) func(*spec.App, *spec.PodContainer) {
		return func(a *spec.App, _ *spec.PodContainer) { a.Pod.Volumes = []spec.PodVolume{v} }
	}
	srv := Policy{Pods: true, HostPaths: []string{"/srv"}}
	label := func(key, value string) func(*spec.App, *spec.PodContainer) {
		return func(_ *spec.App, c *spec.PodContainer) { c.Labels = map[string]string{key: value} }
	}
	for name, c := range map[string]struct {
		change     func(*spec.App, *spec.PodContainer)
		policy     Policy
		path, text string
	}{
		"plain":              {nil, Policy{Pods: true}, "", ""},
		"on Mesos":           {nil, Policy{}, "/", "need the embedded engine"},
		"pod label":          {func(a *spec.App, _ *spec.PodContainer) { a.Labels = map[string]string{"berth.app": "x"} }, Policy{Pods: true}, "/labels/berth.app", "set by Berth"},
		"pinned address":     {func(a *spec.App, _ *spec.PodContainer) { a.Labels = map[string]string{"BERTH_IPS": "192.0.2.1"} }, Policy{Pods: true}, "", ""},
		"pinned badly":       {func(a *spec.App, _ *spec.PodContainer) { a.Labels = map[string]string{"BERTH_IPS": "x"} }, Policy{Pods: true}, "/labels/BERTH_IPS", "no"},
		"container label":    {label("a", "b"), Policy{Pods: true}, "", ""},
		"forged label":       {label("berth.seat", "1"), Policy{Pods: true}, "/containers(0)/labels/berth.seat", "set by Berth"},
		"label of the pod":   {label("BERTH_IPS", "192.0.2.1"), Policy{Pods: true}, "/containers(0)/labels/BERTH_IPS", "the pod's labels"},
		"image is an option": {func(_ *spec.App, c *spec.PodContainer) { c.Image.ID = "--privileged" }, Policy{Pods: true}, "/containers(0)/image/id", "dash"},
		"appc":               {func(_ *spec.App, c *spec.PodContainer) { c.Image.Kind = "APPC" }, Policy{Pods: true}, "/containers(0)/image/kind", "not supported"},
		"image labels":       {func(_ *spec.App, c *spec.PodContainer) { c.Image.Labels = []spec.Parameter{{Key: "a"}} }, Policy{Pods: true}, "/containers(0)/image/labels", "APPC"},
		"host path":          {volume(spec.PodVolume{Name: "v", HostPath: "/srv/data"}), srv, "", ""},
		"closed host path":   {volume(spec.PodVolume{Name: "v", HostPath: "/srv/../etc"}), srv, "/volumes(0)/host", "\"..\""},
		"no host paths":      {volume(spec.PodVolume{Name: "v", HostPath: "/srv/data"}), Policy{Pods: true}, "/volumes(0)/host", "--allow-host-path"},
		"persistent":         {volume(spec.PodVolume{Name: "v", Persistent: []byte("{}")}), Policy{Pods: true}, "", ""},
		"persistent floats": {func(a *spec.App, _ *spec.PodContainer) {
			a.Labels = map[string]string{spec.AppLabelIdentity: spec.IdentityFloat}
			a.Pod.Volumes = []spec.PodVolume{{Name: "v", Persistent: []byte("{}")}}
		}, Policy{Pods: true}, "/labels/BERTH_IDENTITY", "keep their seats"},
		"secret":                {volume(spec.PodVolume{Name: "v", Secret: "s"}), srv, "/volumes(0)/secret", "not supported"},
		"absolute mount":        {mount("/data"), Policy{Pods: true}, "", ""},
		"relative mount":        {mount("data/x"), Policy{Pods: true}, "", ""},
		"mount over the seat":   {mount("/etc/berth/ssh"), Policy{Pods: true}, "/containers(0)/volumeMounts(0)/mountPath", "host keys"},
		"mount over root":       {mount("/"), Policy{Pods: true}, "/containers(0)/volumeMounts(0)/mountPath", "root"},
		"mount out of sandbox":  {mount("a/../../etc"), Policy{Pods: true}, "/containers(0)/volumeMounts(0)/mountPath", "\"..\""},
		"mount of the sandbox":  {mount("./"), Policy{Pods: true}, "/containers(0)/volumeMounts(0)/mountPath", "sandbox itself"},
		"mount with options":    {mount("data:rw"), Policy{Pods: true}, "/containers(0)/volumeMounts(0)/mountPath", "colon"},
		"pod's linuxInfo":       {func(a *spec.App, _ *spec.PodContainer) { a.Pod.LinuxInfo = []byte("{}") }, Policy{Pods: true}, "/linuxInfo", "Docker"},
		"container's linuxInfo": {func(_ *spec.App, c *spec.PodContainer) { c.LinuxInfo = []byte("{}") }, Policy{Pods: true}, "/containers(0)/linuxInfo", "Docker"},
		"check":                 {func(_ *spec.App, c *spec.PodContainer) { c.Check = new(spec.Check) }, Policy{Pods: true}, "", ""},
		"two networks":          {func(a *spec.App, _ *spec.PodContainer) { a.Networks = make([]spec.Network, 2) }, Policy{Pods: true}, "/networks", "one address"},
	} {
		t.Run(name, func(t *testing.T) { check(t, pod(c.change), c.policy, c.path, c.text) })
	}
}
