package mesos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gogo/protobuf/proto"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/spec"
)

// decodeEvent decodes one record, which is void then. The generated decoders of mesos-go are not trusted to survive every input.
func decodeEvent(codec encoding.Codec, record []byte) (e *scheduler.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = nil, fmt.Errorf("decode event: the decoder panicked: %v", p)
		}
	}()
	e = &scheduler.Event{}
	if codec.Name == codecs.NameProtobuf { // without another copy of the record
		if e, ok, err := updateOf(record); err != nil {
			return nil, fmt.Errorf("decode event: %w", err)
		} else if ok {
			return e, nil
		}
		if err := proto.Unmarshal(record, e); err != nil {
			return nil, fmt.Errorf("decode event: %w", err)
		}
		return e, nil
	}
	err = codec.NewDecoder(encoding.SourceReader(bytes.NewReader(record))).Decode(e)
	if err != nil && codec.Name == codecs.NameJSON {
		// mesos-go fails on names it does not know: a real 1.12 master's SUBSCRIBED has the capability QUOTA_V2.
		if known, ok := onlyKnown(record); ok {
			e = &scheduler.Event{}
			err = codec.NewDecoder(encoding.SourceReader(bytes.NewReader(known))).Decode(e)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}

// onlyKnown takes out of an event in JSON form the names that newer masters may have added, where Berth can do without.
func onlyKnown(record []byte) ([]byte, bool) {
	var e map[string]any
	if err := json.Unmarshal(record, &e); err != nil {
		return nil, false
	}
	if subscribed, ok := e["subscribed"].(map[string]any); ok {
		if master, ok := subscribed["master_info"].(map[string]any); ok {
			delete(master, "capabilities")
		}
	}
	if update, ok := e["update"].(map[string]any); ok {
		if status, ok := update["status"].(map[string]any); ok {
			for key, known := range map[string]map[string]int32{"reason": mesos.TaskStatus_Reason_value, "source": mesos.TaskStatus_Source_value} {
				name, ok := status[key].(string)
				if _, known := known[name]; ok && !known {
					delete(status, key)
				}
			}
		}
	}
	out, err := json.Marshal(e)
	return out, err == nil
}

// translate turns a wire event into events for the owner; none for heartbeats and for what Berth has no use for.
// SUBSCRIBED and ERROR belong to the session and are not its business.
func translate(e *scheduler.Event) []Event {
	switch {
	case e.Type == scheduler.Event_OFFERS && e.Offers != nil:
		offers := make([]spec.Offer, 0, len(e.Offers.Offers))
		for i := range e.Offers.Offers {
			offers = append(offers, offer(&e.Offers.Offers[i]))
		}
		return []Event{Offers{offers}}
	case e.Type == scheduler.Event_RESCIND && e.Rescind != nil:
		return []Event{Rescinded{e.Rescind.OfferID.Value}}
	case e.Type == scheduler.Event_UPDATE && e.Update != nil:
		return []Event{Update{status(&e.Update.Status)}}
	case e.Type == scheduler.Event_FAILURE && e.Failure != nil:
		if e.Failure.ExecutorID != nil {
			return []Event{ExecutorFailed{e.Failure.AgentID.GetValue(), e.Failure.ExecutorID.Value, int(e.Failure.GetStatus())}}
		}
		return []Event{AgentFailed{e.Failure.AgentID.GetValue()}}
	default:
		return nil
	}
}

// offer sums an offer's resources over reservations; Accept splits them again.
func offer(o *mesos.Offer) spec.Offer {
	out := spec.Offer{ID: o.ID.Value, AgentID: o.AgentID.Value, Host: o.Hostname, Attributes: map[string]string{}, Role: o.GetAllocationInfo().GetRole()}
	var all spec.Resources
	for i := range o.Resources {
		r := &o.Resources[i]
		if !plain(r) {
			continue
		}
		add(&all, r)
		if unreserved(r) == 0 {
			add(&out.Reserved, r)
		}
	}
	out.CPUs, out.Mem, out.Disk, out.GPUs, out.Ports = all.CPUs, all.Mem, all.Disk, all.GPUs, all.Ports
	for _, ports := range [][]spec.PortRange{out.Ports, out.Reserved.Ports} {
		slices.SortFunc(ports, func(a, b spec.PortRange) int { return a.Begin - b.Begin })
	}
	if u := o.Unavailability; u != nil {
		out.Unavailable.From = time.Unix(0, u.Start.Nanoseconds).UTC()
		if u.Duration != nil {
			out.Unavailable.Until = out.Unavailable.From.Add(time.Duration(u.Duration.Nanoseconds))
		}
	}
	for i := range o.Attributes {
		out.Attributes[o.Attributes[i].Name] = attribute(&o.Attributes[i])
	}
	if d := o.GetDomain().GetFaultDomain(); d != nil {
		out.Region, out.Zone = d.Region.Name, d.Zone.Name
	}
	return out
}

// add adds a resource to what is known by name.
func add(to *spec.Resources, r *mesos.Resource) {
	value := r.GetScalar().GetValue()
	switch r.Name {
	case "cpus":
		to.CPUs = round(to.CPUs + value)
	case "mem":
		to.Mem = round(to.Mem + value)
	case "disk":
		to.Disk = round(to.Disk + value)
	case "gpus":
		to.GPUs = round(to.GPUs + value)
	case "ports":
		for _, p := range r.GetRanges().GetRange() {
			if p.Begin <= p.End && p.End <= math.MaxUint16 {
				to.Ports = append(to.Ports, spec.PortRange{Begin: int(p.Begin), End: int(p.End)})
			}
		}
	}
}

// plain says that a task can simply use the resource: no volume or mount disk, not taken back at will, not shared, and not
// reserved with labels: whoever made such a reservation keeps it for something of its own.
func plain(r *mesos.Resource) bool {
	if r.Reservation != nil && r.Reservation.Labels != nil {
		return false
	}
	for i := range r.Reservations {
		if r.Reservations[i].Labels != nil {
			return false
		}
	}
	return r.Disk == nil && r.Revocable == nil && r.Shared == nil && r.ProviderID == nil
}

// attribute is an agent's attribute as Marathon's constraints see it: as text, as Mesos itself would print it.
func attribute(a *mesos.Attribute) string {
	switch a.Type {
	case mesos.TEXT:
		return a.GetText().GetValue()
	case mesos.SCALAR:
		return strconv.FormatFloat(a.GetScalar().GetValue(), 'f', -1, 64)
	case mesos.RANGES:
		var ranges []string
		for _, r := range a.GetRanges().GetRange() {
			ranges = append(ranges, fmt.Sprintf("%d-%d", r.Begin, r.End))
		}
		return "[" + strings.Join(ranges, ",") + "]"
	case mesos.SET:
		return "{" + strings.Join(a.GetSet().GetItem(), ",") + "}"
	default:
		return ""
	}
}

// status leaves out `data`: for Docker tasks it is the whole output of docker inspect.
func status(s *mesos.TaskStatus) spec.TaskStatus {
	out := spec.TaskStatus{
		TaskID:      s.TaskID.Value,
		AgentID:     s.AgentID.GetValue(),
		Message:     s.GetMessage(),
		Healthy:     s.Healthy,
		ContainerID: s.GetContainerStatus().GetContainerID().GetValue(),
		Timestamp:   timestamp(s.GetTimestamp()),
		UUID:        s.UUID,
	}
	// The getters of these answer with the enumeration's first value when the field is not set.
	if s.State != nil {
		out.State = s.State.String()
	}
	if s.Reason != nil {
		out.Reason = s.Reason.String()
	}
	if s.Source != nil {
		out.Source = s.Source.String()
	}
	for _, n := range s.GetContainerStatus().GetNetworkInfos() {
		for _, a := range n.IPAddresses {
			if a.GetIPAddress() != "" {
				out.Addresses = append(out.Addresses, a.GetIPAddress())
			}
		}
	}
	return out
}

// timestamp turns Mesos's float seconds into a time, to the microsecond that a float64 holds exactly enough; zero for none
// and for nonsense.
func timestamp(seconds float64) time.Time {
	if !(seconds > 0 && seconds < 1e11) {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC()
}

// round keeps to Mesos's three digits of a scalar resource, so that sums do not drift.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }
