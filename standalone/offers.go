package standalone

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// defaultRefusal is Mesos's filter where a call names none.
const defaultRefusal = 5 * time.Second

// emptyRefusal is the least time between two offers of the same resources to a framework that did not use them: a real
// master allocates once a second, and schedulers that refuse with 0 seconds count on that.
const emptyRefusal = time.Second

// offer is a promise of resources to one framework.
type offer struct {
	id        string
	framework *framework
	host      *host
	res       bundle
}

// allocate offers all free resources of a host, in one offer, to the subscribed framework that has the least and has not
// refused them. It runs after every message, so an offer follows at once whatever freed the resources.
func (h *host) allocate() {
	if !h.ready || !h.connected {
		return
	}
	now := time.Now()
	free := h.total.minus(h.used).minus(h.offered)
	if !free.allocatable() {
		return
	}
	var wanting []*framework
	for _, f := range h.frameworks {
		f.dropFilters(now)
		if f.stream != nil && !f.suppressed && !f.filtered(h, free) {
			wanting = append(wanting, f)
		}
	}
	if len(wanting) > 1 {
		shares := map[*framework]float64{}
		for _, f := range wanting {
			shares[f] = h.share(f)
		}
		slices.SortFunc(wanting, func(a, b *framework) int {
			return cmp.Or(cmp.Compare(shares[a], shares[b]), cmp.Compare(a.id, b.id))
		})
	}
	if len(wanting) > 0 {
		h.offer(wanting[0], free)
	}
}

// share is the framework's dominant share: the largest part it has of any resource of all hosts together.
func (o *owner) share(f *framework) float64 {
	var sum, total bundle
	for _, t := range o.tasks {
		if t.key.framework == f.id && t.phase != ended {
			sum = sum.plus(t.res)
		}
	}
	for _, h := range o.hosts {
		total = total.plus(h.total)
		for _, g := range h.groups {
			if g.box.key.framework == f.id && g.box.phase != ended {
				sum = sum.plus(g.box.res)
			}
		}
	}
	part := func(a, b int64) float64 { return float64(a) / float64(max(b, 1)) }
	return max(part(sum.cpus, total.cpus), part(sum.mem, total.mem), part(sum.disk, total.disk))
}

func (h *host) offer(f *framework, res bundle) {
	of := &offer{id: fmt.Sprintf("%s-O%d", h.masterID, h.offerSeq), framework: f, host: h, res: res}
	h.offerSeq++
	h.offers[of.id] = of
	h.offered = h.offered.plus(res)
	path, ip, host := "/slave(1)", h.ip.String(), h.opts.Hostname
	f.send(&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: of.id}, FrameworkID: mesos.FrameworkID{Value: f.id}, AgentID: mesos.AgentID{Value: h.agentID},
		Hostname:       host,
		URL:            &mesos.URL{Scheme: "http", Address: mesos.Address{Hostname: &host, IP: &ip, Port: int32(h.port)}, Path: &path}, //nolint:gosec // a port
		Resources:      res.resources(f.role),
		Attributes:     h.attributes,
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: &f.role},
	}}}})
}

// take ends an offer and returns it; nil when it is not (or no longer) the framework's.
func (o *owner) take(f *framework, id string) *offer {
	of := o.offers[id]
	if of == nil || of.framework != f {
		return nil
	}
	delete(o.offers, id)
	of.host.offered = of.host.offered.minus(of.res)
	return of
}

// dropOffers takes back all offers of a framework without a word: its stream, which they belonged to, has ended.
func (o *owner) dropOffers(f *framework) {
	for id := range o.offers {
		o.take(f, id)
	}
}

// rescind takes back all offers of a host.
func (h *host) rescind() {
	for _, id := range slices.Sorted(maps.Keys(h.offers)) {
		if of := h.offers[id]; of.host == h {
			h.take(of.framework, id)
			of.framework.send(&scheduler.Event{Type: scheduler.Event_RESCIND, Rescind: &scheduler.Event_Rescind{OfferID: mesos.OfferID{Value: id}}})
		}
	}
}

func refuseFor(filters *mesos.Filters) time.Duration {
	if filters == nil || filters.RefuseSeconds == nil {
		return defaultRefusal
	}
	s := *filters.RefuseSeconds
	const year = 365 * 24 * 3600
	return time.Duration(min(max(s, 0), year) * float64(time.Second))
}

func (o *owner) decline(f *framework, c *scheduler.Call_Decline) {
	for _, id := range c.OfferIDs {
		if of := o.take(f, id.Value); of != nil {
			f.filters = append(f.filters, filter{of.host, of.res, time.Now().Add(max(refuseFor(c.Filters), emptyRefusal))})
		}
	}
}

// accept launches tasks on the sum of the offers, which must be of one host.
func (o *owner) accept(f *framework, c *scheduler.Call_Accept) {
	var sum bundle
	var h *host
	invalid := ""
	for _, id := range c.OfferIDs {
		of := o.take(f, id.Value)
		switch {
		case of == nil:
			invalid = first(invalid, "Offer "+id.Value+" is no longer valid")
		case h != nil && h != of.host:
			invalid = first(invalid, "Aggregated offers must belong to one single agent")
		default:
			h, sum = of.host, sum.plus(of.res)
		}
	}
	if len(c.OfferIDs) == 0 {
		invalid = "No offers specified"
	}
	launched := false
	for i := range c.Operations {
		op := &c.Operations[i]
		switch op.Type {
		case mesos.Offer_Operation_LAUNCH:
			for j := range op.GetLaunch().GetTaskInfos() {
				info := &op.Launch.TaskInfos[j]
				if invalid != "" {
					o.refuseTask(f, info, f.lost(mesos.TASK_DROPPED), mesos.REASON_INVALID_OFFERS, "Task launched with invalid offers: "+invalid)
					continue
				}
				res, problem := h.validate(f, info, sum)
				if problem != "" {
					o.refuseTask(f, info, mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, problem)
					continue
				}
				sum = sum.minus(res)
				h.launch(f, info, res)
				launched = true
			}
		case mesos.Offer_Operation_LAUNCH_GROUP:
			if op.LaunchGroup == nil {
				continue
			}
			if invalid != "" {
				o.refuseGroup(f, op.LaunchGroup, f.lost(mesos.TASK_DROPPED), mesos.REASON_INVALID_OFFERS, "Task group launched with invalid offers: "+invalid)
				continue
			}
			if res, ok := h.acceptGroup(f, op.LaunchGroup, sum); ok {
				sum = sum.minus(res)
				launched = true
			}
		default:
			o.log.WithField("framework", f.id).Warnf("offer operation %s is not supported and was dropped", op.Type)
		}
	}
	hold := refuseFor(c.Filters)
	if !launched {
		hold = max(hold, emptyRefusal)
	}
	if hold > 0 && !sum.empty() {
		f.filters = append(f.filters, filter{h, sum, time.Now().Add(hold)})
	}
}

// acceptGroup launches a task group or refuses each of its tasks; it returns what the group uses.
func (h *host) acceptGroup(f *framework, op *mesos.Offer_Operation_LaunchGroup, available bundle) (bundle, bool) {
	res, problem := h.validateGroup(f, &op.Executor, op.TaskGroup.Tasks, available)
	if problem != "" {
		h.refuseGroup(f, op, mesos.TASK_ERROR, mesos.REASON_TASK_GROUP_INVALID, problem)
		return bundle{}, false
	}
	h.launchGroup(f, &op.Executor, op.TaskGroup.Tasks, res)
	var sum bundle
	for _, r := range res {
		sum = sum.plus(r)
	}
	return sum, true
}

// refuseGroup answers a launch of which nothing became a task.
func (o *owner) refuseGroup(f *framework, op *mesos.Offer_Operation_LaunchGroup, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	for i := range op.TaskGroup.Tasks {
		o.refuseTask(f, &op.TaskGroup.Tasks[i], state, reason, message)
	}
}

// lost gives the state for frameworks that know it, and TASK_LOST for the others.
func (f *framework) lost(state mesos.TaskState) mesos.TaskState {
	if f.partitionAware {
		return state
	}
	return mesos.TASK_LOST
}
