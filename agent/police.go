package agent

import (
	"slices"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// policing is the part of the network's owner that is about network policies. Only its loop touches it.
type policing struct {
	of     *spec.HostDocument // what filter was compiled from
	filter *hostnet.Filter    // nil: unknown, what is in the kernel stays
	fault  string             // why the document's policies cannot be compiled; those before stay in force
	report *spec.PolicyReport // nil: nothing was set yet
}

// look compiles a new document's policies. said is told of a new fault.
func (p *policing) look(doc *spec.HostDocument, said func(error)) {
	if doc == nil || doc == p.of {
		return
	}
	p.of = doc
	f, err := hostnet.CompilePolicies(doc.Policies)
	was := p.fault
	if p.fault = ""; err != nil {
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

// withhold takes the links of new containers out of a path when the policies that select them could not be set: they do not start
// rather than start unpoliced. It says which those are.
func withhold(p hostnet.Path, f hostnet.Filter) (hostnet.Path, []string) {
	var out []string
	p.Links = slices.DeleteFunc(slices.Clone(p.Links), func(l hostnet.Link) bool {
		held := l.Create && slices.ContainsFunc(l.Addresses, f.Judges)
		if held {
			out = append(out, l.Name)
		}
		return held
	})
	return p, out
}
