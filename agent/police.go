package agent

import (
	"net/netip"
	"slices"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// policing is the part of the network's owner that is about network policies. Only its loop touches it.
type policing struct {
	of     *spec.HostDocument // what filter was compiled from
	filter *hostnet.Filter    // nil: unknown, what is in the kernel stays
	fault  string             // why the document's policies cannot be compiled; those before stay in force
	// selected are the containers that they select all the same. New ones do not start.
	selected map[netip.Addr]bool
	report   *spec.PolicyReport // nil: nothing was set yet
}

// look compiles a new document's policies. said is told of a new fault.
func (p *policing) look(doc *spec.HostDocument, said func(error)) {
	if doc == nil || doc == p.of {
		return
	}
	p.of = doc
	f, err := hostnet.CompilePolicies(doc.Policies)
	was := p.fault
	if p.fault, p.selected = "", nil; err != nil {
		p.selected = map[netip.Addr]bool{}
		for _, policy := range doc.Policies.Policies {
			for _, a := range policy.Addresses {
				p.selected[a] = true
			}
		}
		if p.fault = oneLine(err); p.fault != was {
			said(err)
		}
		return
	}
	p.filter = &f
}

// policyCountsEvery is at which rechecks the policies' counters are read.
const policyCountsEvery = 3

// done keeps what came of setting the filter.
func (p *policing) done(d pathDone) {
	if d.job.filter == nil && p.fault == "" {
		return
	}
	r := spec.PolicyReport{Fault: p.fault}
	if d.policies != nil {
		r.Fault = oneLine(d.policies)
	}
	switch {
	case d.counted:
		r.Counts = d.counts
	case p.report != nil:
		r.Counts = p.report.Counts
	}
	if p.report == nil || p.report.Fault != r.Fault || !slices.Equal(p.report.Counts, r.Counts) {
		p.report = &r
	}
}

// withhold takes the links of new containers out of a path when the policies that select them are not in force: they do not start
// rather than start unpoliced. It says which those are.
func withhold(p hostnet.Path, selected func(netip.Addr) bool) (hostnet.Path, []string) {
	var out []string
	p.Links = slices.DeleteFunc(slices.Clone(p.Links), func(l hostnet.Link) bool {
		held := l.Create && slices.ContainsFunc(l.Addresses, selected)
		if held {
			out = append(out, l.Name)
		}
		return held
	})
	return p, out
}

// unknown are the links of new containers that are on seats' addresses, or on none that is this host's to give, and of whose seats the
// document does not tell yet: nor does it tell which policies select them.
func unknown(doc *spec.HostDocument, endpoints []hostnet.Endpoint) []string {
	if doc == nil || doc.Policies == nil {
		return nil
	}
	within := func(parts []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(parts, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	var out []string
	for _, e := range endpoints {
		told := !e.Create || slices.ContainsFunc(e.Addresses, func(a netip.Addr) bool {
			seat := slices.ContainsFunc(doc.Seats, func(s spec.HostSeat) bool { return s.Address == a })
			return seat || within(doc.Blocks, a) && !within(doc.Taken, a)
		})
		if link, _, err := hostnet.LinkNames(e.ID); err == nil && !told {
			out = append(out, link)
		}
	}
	return out
}
