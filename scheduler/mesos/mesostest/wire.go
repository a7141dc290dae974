package mesostest

import (
	"maps"
	"net/http"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/spec"
)

// Call is one call as the master got it, in the scheduler's own words.
type Call struct {
	At          time.Time
	Status      int    // how it was answered
	Type        string // "ACCEPT"
	FrameworkID string
	StreamID    string
	User        string // of basic auth

	Subscribe *Subscribe // SUBSCRIBE

	OfferIDs []string // ACCEPT, DECLINE
	Launches []spec.Launch
	Refuse   time.Duration

	TaskID, AgentID string // KILL, ACKNOWLEDGE
	Grace           time.Duration
	UUID            []byte

	Reconcile []TaskRef

	// Wire is the call itself, for what the other fields leave out.
	Wire *scheduler.Call
}

// TaskRef is a task to reconcile.
type TaskRef struct{ TaskID, AgentID string }

// Subscribe is how the framework introduced itself.
type Subscribe struct {
	ID, Name, User, Principal string
	Roles, Capabilities       []string
	Checkpoint                bool
	FailoverTimeout           time.Duration
}

func decodeCall(w *scheduler.Call, r *http.Request) Call {
	c := Call{Type: w.Type.String(), FrameworkID: w.GetFrameworkID().GetValue(), StreamID: r.Header.Get("Mesos-Stream-Id"), Wire: w}
	c.User, _, _ = r.BasicAuth()
	switch {
	case w.Subscribe != nil:
		c.Subscribe = subscribeOf(w.Subscribe.GetFrameworkInfo())
	case w.Accept != nil:
		c.OfferIDs, c.Refuse = offerIDs(w.Accept.OfferIDs), refuseOf(w.Accept.Filters)
		for i := range w.Accept.Operations {
			tasks := w.Accept.Operations[i].GetLaunch().GetTaskInfos()
			for j := range tasks {
				c.Launches = append(c.Launches, launchOf(&tasks[j], c.OfferIDs))
			}
			if g := w.Accept.Operations[i].GetLaunchGroup(); g != nil {
				c.Launches = append(c.Launches, groupOf(g, c.OfferIDs))
			}
		}
	case w.Decline != nil:
		c.OfferIDs, c.Refuse = offerIDs(w.Decline.OfferIDs), refuseOf(w.Decline.Filters)
	case w.Kill != nil:
		c.TaskID, c.AgentID = w.Kill.TaskID.Value, w.Kill.GetAgentID().GetValue()
		c.Grace = time.Duration(w.Kill.GetKillPolicy().GetGracePeriod().GetNanoseconds())
	case w.Acknowledge != nil:
		c.TaskID, c.AgentID, c.UUID = w.Acknowledge.TaskID.Value, w.Acknowledge.AgentID.Value, w.Acknowledge.UUID
	case w.Reconcile != nil:
		for _, t := range w.Reconcile.Tasks {
			c.Reconcile = append(c.Reconcile, TaskRef{t.TaskID.Value, t.GetAgentID().GetValue()})
		}
	}
	return c
}

func subscribeOf(f *mesos.FrameworkInfo) *Subscribe {
	s := &Subscribe{
		ID: f.GetID().GetValue(), Name: f.GetName(), User: f.GetUser(), Principal: f.GetPrincipal(), Roles: f.GetRoles(),
		Checkpoint: f.GetCheckpoint(), FailoverTimeout: time.Duration(f.GetFailoverTimeout() * float64(time.Second)),
	}
	for _, c := range f.GetCapabilities() {
		s.Capabilities = append(s.Capabilities, c.Type.String())
	}
	return s
}

func offerIDs(ids []mesos.OfferID) []string {
	var out []string
	for _, id := range ids {
		out = append(out, id.Value)
	}
	return out
}

func refuseOf(f *mesos.Filters) time.Duration {
	if f == nil || f.RefuseSeconds == nil || *f.RefuseSeconds < 0 {
		return 5 * time.Second // Mesos's default
	}
	return time.Duration(*f.RefuseSeconds * float64(time.Second))
}

// launchOf is a TaskInfo read back. OfferID is the first of the call's offers.
func launchOf(t *mesos.TaskInfo, offers []string) spec.Launch {
	l := spec.Launch{TaskID: t.TaskID.Value, Name: t.Name, AgentID: t.AgentID.Value, KillGrace: time.Duration(t.GetKillPolicy().GetGracePeriod().GetNanoseconds())}
	if len(offers) > 0 {
		l.OfferID = offers[0]
	}
	readResources(&l, t.Resources)
	readCommand(&l, t.Command)
	readContainer(&l, t.Container)
	readLabels(&l, t.Labels)
	readCheck(&l, t.HealthCheck)
	return l
}

func readCheck(l *spec.Launch, h *mesos.HealthCheck) {
	if h == nil {
		return
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	l.Check = &spec.NativeCheck{
		Protocol: h.Type.String(), Delay: seconds(h.GetDelaySeconds()), GracePeriod: seconds(h.GetGracePeriodSeconds()),
		Interval: seconds(h.GetIntervalSeconds()), Timeout: seconds(h.GetTimeoutSeconds()), MaxFailures: int(h.GetConsecutiveFailures()),
		Path: h.GetHTTP().GetPath(), Port: int(max(h.GetHTTP().GetPort(), h.GetTCP().GetPort())), Command: h.GetCommand().GetValue(),
	}
	if h.GetHTTP().GetScheme() == "https" {
		l.Check.Protocol = "HTTPS"
	}
}

// groupOf is a LAUNCH_GROUP read back: a pod.
func groupOf(g *mesos.Offer_Operation_LaunchGroup, offers []string) spec.Launch {
	e := &g.Executor
	l := spec.Launch{TaskID: e.ExecutorID.Value, Name: e.GetName()}
	if len(offers) > 0 {
		l.OfferID = offers[0]
	}
	readResources(&l, e.Resources)
	readContainer(&l, e.Container)
	readLabels(&l, e.Labels)
	for i := range g.TaskGroup.Tasks {
		m := launchOf(&g.TaskGroup.Tasks[i], nil)
		m.HostNet = false // a task of a group names no network; Mesos's default there is HOST
		l.AgentID = m.AgentID
		l.Members = append(l.Members, m)
	}
	return l
}

func readLabels(l *spec.Launch, labels *mesos.Labels) {
	for _, x := range labels.GetLabels() {
		if l.Labels == nil {
			l.Labels = map[string]string{}
		}
		l.Labels[x.Key] = x.GetValue()
	}
}

func readResources(l *spec.Launch, resources []mesos.Resource) {
	for i := range resources {
		r := &resources[i]
		switch r.Name {
		case "cpus":
			l.CPUs = round(l.CPUs + r.GetScalar().GetValue())
		case "mem":
			l.Mem = round(l.Mem + r.GetScalar().GetValue())
		case "disk":
			l.Disk = round(l.Disk + r.GetScalar().GetValue())
		case "ports":
			for _, p := range r.GetRanges().GetRange() {
				l.HostPorts = append(l.HostPorts, spec.PortRange{Begin: int(p.Begin), End: int(p.End)})
			}
		}
	}
}

func readCommand(l *spec.Launch, c *mesos.CommandInfo) {
	l.Shell, l.Command, l.Args = c.GetShell(), c.GetValue(), c.GetArguments()
	for _, v := range c.GetEnvironment().GetVariables() {
		if l.Env == nil {
			l.Env = map[string]string{}
		}
		l.Env[v.Name] = v.GetValue()
	}
	for _, u := range c.GetURIs() {
		l.Fetch = append(l.Fetch, spec.Fetch{URI: u.Value, Extract: u.GetExtract(), Executable: u.GetExecutable(), Cache: u.GetCache(), DestPath: u.GetOutputFile()})
	}
}

func readContainer(l *spec.Launch, c *mesos.ContainerInfo) {
	d := c.GetDocker()
	l.Image, l.ForcePull, l.Privileged = d.GetImage(), d.GetForcePullImage(), d.GetPrivileged()
	l.HostNet = d.GetNetwork() == mesos.ContainerInfo_DockerInfo_HOST
	for _, n := range c.GetNetworkInfos() {
		l.Network = n.GetName()
	}
	for _, p := range d.GetParameters() {
		l.Parameters = append(l.Parameters, spec.Parameter{Key: p.Key, Value: p.Value})
	}
	for _, p := range d.GetPortMappings() {
		l.PortMappings = append(l.PortMappings, spec.LaunchPort{Container: int(p.ContainerPort), Host: int(p.HostPort), Protocol: p.GetProtocol()})
	}
	for _, v := range c.GetVolumes() {
		l.Volumes = append(l.Volumes, spec.LaunchVolume{
			HostPath: v.GetHostPath(), ContainerPath: v.ContainerPath, ReadOnly: v.GetMode() == mesos.RO, Shared: v.GetSource().GetSandboxPath().GetPath(),
		})
	}
}

func wireOffer(o spec.Offer, framework string) mesos.Offer {
	role := "*"
	out := mesos.Offer{
		ID: mesos.OfferID{Value: o.ID}, FrameworkID: mesos.FrameworkID{Value: framework}, AgentID: mesos.AgentID{Value: o.AgentID},
		Hostname: o.Host, AllocationInfo: &mesos.Resource_AllocationInfo{Role: &role},
	}
	scalar := func(name string, v float64) {
		if v > 0 {
			out.Resources = append(out.Resources, mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: v}, Role: &role, AllocationInfo: out.AllocationInfo})
		}
	}
	scalar("cpus", o.CPUs)
	scalar("mem", o.Mem)
	scalar("disk", o.Disk)
	scalar("gpus", o.GPUs)
	if len(o.Ports) > 0 {
		ranges := &mesos.Value_Ranges{}
		for _, p := range o.Ports {
			ranges.Range = append(ranges.Range, mesos.Value_Range{Begin: uint64(p.Begin), End: uint64(p.End)})
		}
		out.Resources = append(out.Resources, mesos.Resource{Name: "ports", Type: mesos.RANGES.Enum(), Ranges: ranges, Role: &role, AllocationInfo: out.AllocationInfo})
	}
	for _, k := range slices.Sorted(maps.Keys(o.Attributes)) {
		out.Attributes = append(out.Attributes, mesos.Attribute{Name: k, Type: mesos.TEXT, Text: &mesos.Value_Text{Value: o.Attributes[k]}})
	}
	if o.Region != "" || o.Zone != "" {
		out.Domain = &mesos.DomainInfo{FaultDomain: &mesos.DomainInfo_FaultDomain{
			Region: mesos.DomainInfo_FaultDomain_RegionInfo{Name: o.Region}, Zone: mesos.DomainInfo_FaultDomain_ZoneInfo{Name: o.Zone},
		}}
	}
	return out
}

func wireStatus(s spec.TaskStatus) mesos.TaskStatus {
	seconds := float64(s.Timestamp.UnixMicro()) / 1e6
	out := mesos.TaskStatus{TaskID: mesos.TaskID{Value: s.TaskID}, UUID: s.UUID, Healthy: s.Healthy, Timestamp: &seconds}
	if v, ok := mesos.TaskState_value[s.State]; ok {
		out.State = mesos.TaskState(v).Enum()
	}
	if v, ok := mesos.TaskStatus_Reason_value[s.Reason]; ok {
		out.Reason = mesos.TaskStatus_Reason(v).Enum()
	}
	if v, ok := mesos.TaskStatus_Source_value[s.Source]; ok {
		out.Source = mesos.TaskStatus_Source(v).Enum()
	}
	if s.Message != "" {
		out.Message = &s.Message
	}
	if s.AgentID != "" {
		out.AgentID = &mesos.AgentID{Value: s.AgentID}
	}
	if s.ContainerID != "" {
		out.ContainerStatus = &mesos.ContainerStatus{ContainerID: &mesos.ContainerID{Value: s.ContainerID}}
		for i := range s.Addresses {
			out.ContainerStatus.NetworkInfos = append(out.ContainerStatus.NetworkInfos,
				mesos.NetworkInfo{IPAddresses: []mesos.NetworkInfo_IPAddress{{Protocol: mesos.IPv4.Enum(), IPAddress: &s.Addresses[i]}}})
		}
	}
	return out
}
