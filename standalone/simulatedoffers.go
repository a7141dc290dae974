package standalone

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// simulatedHost is one agent.
type simulatedHost struct {
	index      int
	name       string
	agent      string
	ip         string
	attributes []mesos.Attribute
	total      bundle
	used       bundle // of tasks and executors
	offered    bundle
	holds      []hold
	executors  map[taskKey]bool // that run task groups
}

// hold keeps what a framework refused out of its offers for a while. It matches what lies within it: once more is free, an
// offer is made.
type hold struct {
	by      *framework
	refused bundle
	until   time.Time
}

type simulatedOffer struct {
	id        string
	framework *framework
	host      *simulatedHost
	res       bundle
}

// offersAnEvent bounds one OFFERS event: a master sends those of one allocation together, up to a whole fleet's.
const offersAnEvent = 1000

// allocate offers what is free on the hosts where something changed, each to the subscribed framework that was served least
// lately among those that want it.
func (m *simulator) allocate() {
	if len(m.loose) == 0 {
		return
	}
	hosts := make([]*simulatedHost, 0, len(m.loose))
	for h := range m.loose {
		hosts = append(hosts, h)
	}
	clear(m.loose)
	slices.SortFunc(hosts, func(a, b *simulatedHost) int { return cmp.Compare(a.index, b.index) })
	var ids []string
	for id, f := range m.frameworks {
		if f.stream != nil && !f.suppressed {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return // REVIVE and SUBSCRIBE make all hosts loose again
	}
	slices.Sort(ids)
	out := map[*framework][]mesos.Offer{}
	for i, h := range hosts {
		free := h.total.minus(h.used).minus(h.offered)
		if !free.allocatable() {
			continue
		}
		for n := range ids {
			f := m.frameworks[ids[(i+n)%len(ids)]]
			if m.held(h, f, free) {
				continue
			}
			out[f] = append(out[f], m.offer(f, h, free))
			break
		}
	}
	for _, id := range ids {
		for offers := range slices.Chunk(out[m.frameworks[id]], offersAnEvent) {
			m.frameworks[id].send(&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: offers}})
		}
	}
}

// held says whether the framework has refused this, and sees that the host is looked at again when that is over.
func (m *simulator) held(h *simulatedHost, f *framework, free bundle) bool {
	h.holds = slices.DeleteFunc(h.holds, func(x hold) bool { return !m.now.Before(x.until) })
	return slices.ContainsFunc(h.holds, func(x hold) bool { return x.by == f && x.refused.contains(free) })
}

func (m *simulator) hold(h *simulatedHost, f *framework, refused bundle, d time.Duration) {
	until := m.now.Add(d)
	h.holds = append(h.holds, hold{f, refused, until})
	m.agenda.at(until, func() { m.loose[h] = true })
}

func (m *simulator) offer(f *framework, h *simulatedHost, res bundle) mesos.Offer {
	of := &simulatedOffer{id: fmt.Sprintf("%s-O%d", m.masterID, m.next()), framework: f, host: h, res: res}
	m.offers[of.id] = of
	h.offered = h.offered.plus(res)
	path := "/slave(1)"
	return mesos.Offer{
		ID: mesos.OfferID{Value: of.id}, FrameworkID: mesos.FrameworkID{Value: f.id}, AgentID: mesos.AgentID{Value: h.agent},
		Hostname: h.name, URL: &mesos.URL{Scheme: "http", Address: mesos.Address{Hostname: &h.name, IP: &h.ip, Port: 5051}, Path: &path},
		Resources: res.resources(f.role), Attributes: h.attributes, AllocationInfo: &mesos.Resource_AllocationInfo{Role: &f.role},
	}
}

// take ends an offer and returns it; nil when it is not (or no longer) the framework's.
func (m *simulator) take(f *framework, id string) *simulatedOffer {
	of := m.offers[id]
	if of == nil || of.framework != f {
		return nil
	}
	delete(m.offers, id)
	of.host.offered = of.host.offered.minus(of.res)
	m.loose[of.host] = true
	return of
}

func (m *simulator) dropOffers(f *framework) {
	for id := range m.offers {
		m.take(f, id)
	}
}

func (m *simulator) revive(f *framework) {
	f.suppressed = false
	for _, h := range m.hosts {
		h.holds = slices.DeleteFunc(h.holds, func(x hold) bool { return x.by == f })
		m.loose[h] = true
	}
}

func (m *simulator) decline(f *framework, c *scheduler.Call_Decline) {
	for _, id := range c.OfferIDs {
		if of := m.take(f, id.Value); of != nil {
			m.hold(of.host, f, of.res, max(refuseFor(c.Filters), emptyRefusal))
		}
	}
}

// accept launches tasks on the sum of the offers, which must be of one agent.
func (m *simulator) accept(f *framework, c *scheduler.Call_Accept) {
	var sum bundle
	var host *simulatedHost
	invalid := ""
	for _, id := range c.OfferIDs {
		of := m.take(f, id.Value)
		switch {
		case of == nil:
			invalid = first(invalid, "Offer "+id.Value+" is no longer valid")
		case host != nil && host != of.host:
			invalid = first(invalid, "Aggregated offers must belong to one single agent")
		default:
			host, sum = of.host, sum.plus(of.res)
		}
	}
	if host == nil {
		invalid = first(invalid, "No offers specified")
	}
	launched := false
	for i := range c.Operations {
		op := &c.Operations[i]
		var infos []mesos.TaskInfo
		var executor *mesos.ExecutorInfo
		switch {
		case op.Launch != nil:
			infos = op.Launch.TaskInfos
		case op.LaunchGroup != nil:
			infos, executor = op.LaunchGroup.TaskGroup.Tasks, &op.LaunchGroup.Executor
		default:
			m.log.WithField("framework", f.id).Warnf("offer operation %s is not supported and was dropped", op.Type)
			continue
		}
		if invalid != "" {
			for j := range infos {
				m.refuseTask(f, &infos[j], f.lost(mesos.TASK_DROPPED), mesos.REASON_INVALID_OFFERS, "Task launched with invalid offers: "+invalid)
			}
			continue
		}
		used := m.launchAll(f, host, infos, executor, sum)
		launched = launched || !used.empty()
		sum = sum.minus(used)
	}
	hold := refuseFor(c.Filters)
	if !launched {
		hold = max(hold, emptyRefusal)
	}
	if hold > 0 && host != nil && !sum.empty() {
		m.hold(host, f, sum, hold)
	}
}

// launchAll launches what is valid, of a group all or nothing, and returns what is used of the offers.
func (m *simulator) launchAll(f *framework, h *simulatedHost, infos []mesos.TaskInfo, executor *mesos.ExecutorInfo, available bundle) bundle {
	var used bundle
	if executor == nil {
		for i := range infos {
			res, problem := m.validate(f, h, &infos[i], available.minus(used))
			if problem != "" {
				m.refuseTask(f, &infos[i], mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, problem)
				continue
			}
			used = used.plus(res)
			m.launch(f, h, &infos[i], res, nil)
		}
		return used
	}
	g := &simulatedGroup{executor: taskKey{f.id, executor.ExecutorID.Value}, address: dockerParameter(executor.Container, "ip")}
	used, problem := m.validateExecutor(g, h, executor, available)
	g.res = used
	var each []bundle
	for i := range infos {
		res, fault := m.validate(f, h, &infos[i], available.minus(used))
		problem = first(problem, fault)
		each, used = append(each, res), used.plus(res)
	}
	if problem != "" {
		for i := range infos {
			m.refuseTask(f, &infos[i], mesos.TASK_ERROR, mesos.REASON_TASK_GROUP_INVALID, problem)
		}
		return bundle{}
	}
	h.executors[g.executor], h.used = true, h.used.plus(g.res)
	for i := range infos {
		m.launch(f, h, &infos[i], each[i], g)
	}
	return used
}
