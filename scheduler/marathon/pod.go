package marathon

import (
	"reflect"
	"slices"

	"github.com/berth-project/berth/spec"
)

// Kind is "an app" or "a pod", for messages.
func Kind(app *spec.App) string {
	if app.Pod != nil {
		return "a pod"
	}
	return "an app"
}

// DecodePod reads a full definition of a pod: an app with Pod set, whose resources and health checks are derived from its
// containers. The body's id counts; o.ID is taken when it has none. Versions are zero as with DecodeApp. The error is a
// *Faults.
func DecodePod(body []byte, o Options) (*spec.App, error) {
	return decodePod(body, "", o)
}

// UpdatePod is the pod after a PUT, whose body is the full definition. It is for the caller to refuse a body with the id of
// another pod. The pod itself is not changed. The versions of the result are current's, as with UpdateApp.
func UpdatePod(current *spec.App, body []byte, o Options) (*spec.App, error) {
	pod, err := decodePod(body, current.Role, o)
	if err != nil {
		return nil, err
	}
	pod.Version, pod.LastScaling, pod.LastConfigChange = current.Version, current.LastScaling, current.LastConfigChange
	return pod, validateResidentPodUpdate(current, pod)
}

func decodePod(body []byte, keepRole string, o Options) (*spec.App, error) {
	n, err := parse(body)
	if err != nil {
		return nil, err
	}
	types := &Faults{Message: invalidJSON}
	v := value{n: n, f: types}
	d := readPod(v)
	if o.ID == "" {
		v.need("id")
	}
	if err := types.Err(); err != nil {
		return nil, err
	}
	f := &Faults{Message: invalidMessage}
	pod := d.complete(o, f)
	validatePod(pod, keepRole, o, f)
	validateResidentRole(pod, d.role, keepRole, f)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return pod, nil
}

// validateResidentPodUpdate: what an agent has reserved for a pod with persistent volumes stays as it is.
func validateResidentPodUpdate(current, pod *spec.App) error {
	if !isResident(current) {
		return nil
	}
	f := &Faults{Message: invalidMessage}
	if !reflect.DeepEqual(persistentOfPod(current), persistentOfPod(pod)) {
		f.Add("/", "Persistent volumes can not be changed!")
	}
	changed := false
	frozen := func(path string, differs bool) {
		if differs {
			changed = true
			f.Add(path, "Resident tasks: resource requirements can not be changed!")
		}
	}
	for i := range pod.Pod.Containers {
		to, path := &pod.Pod.Containers[i], at("/containers", i)+"/resources"
		from := containerNamed(current.Pod, to.Name)
		if from == nil {
			continue // renamed or added: the sums below
		}
		frozen(path+"/cpus", from.CPUs != to.CPUs)
		frozen(path+"/mem", from.Mem != to.Mem)
		frozen(path+"/disk", from.Disk != to.Disk)
		frozen(path+"/gpus", from.GPUs != to.GPUs)
	}
	frozen("/executorResources", !reflect.DeepEqual(current.ExecutorResources, pod.ExecutorResources))
	frozen("/containers", !changed && (current.CPUs != pod.CPUs || current.Mem != pod.Mem || current.Disk != pod.Disk || current.GPUs != pod.GPUs))
	if !slices.Equal(podHostPorts(current.Pod), podHostPorts(pod.Pod)) {
		f.Add("/containers", "Resident tasks: host ports can not be changed!")
	}
	return f.Err()
}

func containerNamed(p *spec.Pod, name string) *spec.PodContainer {
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			return &p.Containers[i]
		}
	}
	return nil
}

// podHostPorts are the ports that the pod demands of its host, sorted; 0 is any.
func podHostPorts(p *spec.Pod) []int {
	var out []int
	for _, c := range p.Containers {
		for _, e := range c.Endpoints {
			if e.HostPort != nil {
				out = append(out, *e.HostPort)
			}
		}
	}
	slices.Sort(out)
	return out
}

func persistentOfPod(pod *spec.App) map[string]string {
	out := map[string]string{}
	if pod.Pod != nil {
		for _, v := range pod.Pod.Volumes {
			if v.Persistent != nil {
				out[v.Name] = string(v.Persistent)
			}
		}
	}
	return out
}
