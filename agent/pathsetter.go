package agent

import (
	"context"
	"maps"
	"net/netip"
	"time"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/router"
	"github.com/berth-project/berth/spec"
)

// pathJob is the routed network that is wanted.
type pathJob struct {
	version uint64 // of the plugin's endpoints
	path    hostnet.Path
	filter  *hostnet.Filter // of network policies; nil: unknown, what is there stays
	// unfit is why the newest policies cannot be set, and selected are those that they select; "": they can.
	unfit    string
	selected map[netip.Addr]bool
	unknown  []string // links of which the document does not tell yet
	again    int      // differs when the same must be checked once more
}

// pathDone is what came of it.
type pathDone struct {
	job     pathJob
	outcome router.Outcome
	err     error
	spoofed map[string]uint64

	policies error // why the network policies are not set
	counted  bool
	counts   []spec.PolicyCount
}

// pathTimeout bounds one round. Ten thousand routes take a second or two.
const pathTimeout = 30 * time.Second

// pathSetter is the worker that sets it.
type pathSetter struct {
	router PathRouter
	// What is known to be in force: a container that comes or goes has policies looked at again at rechecks only, as they may
	// hold many addresses.
	filter *hostnet.Filter
	again  int
	next   time.Time // no recheck before
}

// policiesShare is how much longer than it took the policies rest until they are looked at again: reading a hundred thousand addresses
// from the kernel takes a second or two.
const policiesShare = 20

func (p *pathSetter) apply(ctx context.Context, j pathJob) pathDone {
	ctx, cancel := context.WithTimeout(ctx, pathTimeout)
	defer cancel()
	d := pathDone{job: j}
	path, held := j.path, map[string]string{}
	withheld := func(why string, selected func(netip.Addr) bool) {
		var links []string
		path, links = withhold(path, selected)
		for _, link := range links {
			held[link] = "the network policies for it are not set: " + why
		}
	}
	if len(j.path.Links) > 0 && p.filter != nil && !p.filter.Empty() {
		if there, err := p.router.HasPolicies(); err != nil || !there {
			p.filter = nil // somebody has flushed the packet filter
		}
	}
	// Policies come first, so that a container meets them from its first packet.
	if began := time.Now(); j.filter != nil && (j.filter != p.filter || j.again != p.again && !began.Before(p.next)) {
		p.filter, p.again = j.filter, j.again
		d.policies = p.router.SetPolicies(ctx, *j.filter)
		p.next = began.Add(policiesShare * time.Since(began))
		if d.policies != nil {
			p.filter = nil
			withheld(oneLine(d.policies), j.filter.Judges)
		}
	}
	if j.unfit != "" {
		withheld(j.unfit, func(a netip.Addr) bool { return j.selected[a] })
	}
	d.outcome, d.err = p.router.SetPath(ctx, path)
	maps.Copy(d.outcome.Failed, held)
	if j.filter != nil && j.again%policyCountsEvery == 0 {
		var err error
		d.counts, err = p.router.PolicyCounts(*j.filter)
		d.counted = err == nil // otherwise the next time
	}
	if j.again%spoofedEvery == 0 {
		d.spoofed, _ = p.router.Spoofed() // only for the log; a guard that is broken says so in err
	}
	return d
}

// spoofedEvery is at which rechecks forged packets are counted.
const spoofedEvery = 6
