package zabbix

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/berth-project/berth/spec"
)

// What Zabbix takes.
const (
	// MaxDependent is how many items may depend on one master item, however many levels there are between them; discovery
	// rules and item prototypes that depend on it count as well.
	MaxDependent = 29999
	// LimitSocket is the most that every zabbix_agentd takes from a UserParameter: less than 512 KB in 6.0, and in 6.4 up to
	// 6.4.6 (16 MB since: "What's new in Zabbix 6.4.7"), with the line end that berth-zabbix adds. Of anything longer it tells
	// the server ZBX_NOTSUPPORTED without a reason, as 6.0.14 was seen to do from 524,288 bytes on; so nothing above is
	// answered but how to get below.
	LimitSocket = 512<<10 - 2
	// LimitPort is our own bound of an answer on the port, which Zabbix's processes take with ease (from 6.4.7 on it is
	// also that of a UserParameter): 10,000 instances have it.
	LimitPort = 16<<20 - 1

	// MaxPages bounds the pages of a template.
	MaxPages = 64
)

// page is an app's, from 1 to pages. It depends on nothing but its name, so that no app changes its page when others come.
func page(app spec.AppID, pages int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(app))
	return 1 + int(h.Sum32()%uint32(pages))
}

// list answers for a list: its discovery, or the JSON of the master item. The parameters are [GROUP,PAGE,PAGES], all optional.
func (v *View) list(r *rows, discovery bool, params []string) ([]byte, error) {
	wanted, err := filter(params)
	switch {
	case err != nil:
		return nil, err
	case wanted != nil:
		return r.compose(!discovery, wanted), nil
	case discovery:
		return r.discovery, nil
	}
	return r.master(), nil
}

// filter says which apps the parameters mean; nil are all.
func filter(params []string) (wanted func(spec.AppID) bool, err error) {
	p := append(append(make([]string, 0, 3), params...), "", "", "")[:3]
	if len(params) > 3 {
		return nil, errors.New("the parameters are [GROUP,PAGE,PAGES], all optional")
	}
	group := spec.AppID("/")
	if p[0] != "" {
		group = spec.AppID(p[0])
	}
	if p[1] == "" && p[2] == "" {
		if group == "/" {
			return nil, nil
		}
		return func(app spec.AppID) bool { return app.In(group) }, nil
	}
	n, err1 := strconv.Atoi(p[1])
	pages, err2 := strconv.Atoi(p[2])
	if err := errors.Join(err1, err2); err != nil || pages < 1 || pages > MaxPages || n < 1 || n > pages {
		return nil, fmt.Errorf("page %q of %q is none: pages are counted from 1, and there are at most %d", p[1], p[2], MaxPages)
	}
	return func(app spec.AppID) bool { return app.In(group) && page(app, pages) == n }, nil
}

// pages is how many the template needs for this host: the least power of two with which no master item has too many dependent
// items, or is longer than limit. It is MaxPages if even they do not do.
func (v *View) pages(limit int) int {
	instances, networks, services := v.instanceRows(), v.networkRows(), v.serviceRows()
	for n := 1; n < MaxPages; n *= 2 {
		if fits(instances, n, limit, PerInstance()) && fits(networks, n, limit, len(v.network)) && fits(services, n, limit, len(v.service)) {
			return n
		}
	}
	return MaxPages
}

// PerInstance is how many items a template for hosts has of each instance.
func PerInstance() int {
	n := 0
	for _, f := range InstanceFigures() {
		if !f.Spare {
			n++
		}
	}
	return n
}

// fits says whether each page of n is within its limits, with items of each row, and once more for the prototypes.
func fits(r *rows, n, limit, items int) bool {
	type sum struct{ bytes, items int }
	sums := make([]sum, n)
	of := r.figures()
	for i, app := range r.apps {
		s := &sums[page(app, n)-1]
		s.bytes += len(r.at(i)) + len(of.at(i)) + 2
		s.items += items
	}
	for _, s := range sums {
		if s.bytes+64 > limit || s.items+items+1 > MaxDependent {
			return false
		}
	}
	return true
}
