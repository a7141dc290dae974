package calico

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"

	"github.com/berth-project/berth/spec"
)

// Annotations of an IPPool. Calico lets pods and namespaces name their pools instead, and knows no twins.
const (
	// TwinAnnotation, on an IPPool with an IPv6 range, names the pool whose addresses get their twins there.
	TwinAnnotation = "berth/twin-of"
	// GroupsAnnotation names the groups whose apps draw from the pool when they name none: /prod,/staging.
	GroupsAnnotation = "berth/groups"
	// GatewayAnnotation names the router of the VLAN that carries the pool in L2 mode.
	GatewayAnnotation = "berth/gateway"
)

// Blocks of IPv4 pools, as Calico bounds them.
const (
	largestBlock  = 20
	smallestBlock = 32
)

// validGroup is a group's path.
var validGroup = regexp.MustCompile(`^/$|^(/[a-z0-9]([-.a-z0-9]*[a-z0-9])?)+$`)

// twin is an IPPool with an IPv6 range.
type twin struct {
	at        place
	of        string
	cidr      netip.Prefix
	blockSize int
	private   bool
}

// pool decodes and checks one IPPool. A pool with faults is kept for the checks across pools when its own range is known.
func (d *decoder) pool(at place, h head, raw []byte) {
	var p v3.IPPool
	if !d.strict(at, h, raw, &p) {
		return
	}
	name := checkName(p.Name, at, &d.faults)
	checkBehaviour(p.Spec, at, &d.faults)
	checkAnnotations(p.Annotations, at, &d.faults)
	if cidr, err := netip.ParsePrefix(p.Spec.CIDR); err == nil && cidr.Addr().Is6() {
		d.twin(at, name, cidr, p)
		return
	}
	if _, is := p.Annotations[TwinAnnotation]; is {
		d.faults.add(at, annotation(TwinAnnotation), "is for pools with an IPv6 range")
	}
	cidr, ok := checkCIDR(p.Spec.CIDR, at, &d.faults)
	if !ok || name == "" {
		return
	}
	out := spec.Pool{
		Name: name, CIDR: cidr, NATOutgoing: p.Spec.NATOutgoing, Disabled: p.Spec.Disabled, BlockSize: p.Spec.BlockSize,
		NodeSelector: nodeSelector(p.Spec), Groups: d.groups(at, p.Annotations),
		Router: checkRouter(p.Annotations[GatewayAnnotation], cidr, at, &d.faults),
	}
	d.selector(at, "spec.nodeSelector", out.NodeSelector)
	switch size := out.BlockSize; {
	case size == 0:
	case size < largestBlock || size > smallestBlock:
		d.faults.add(at, "spec.blockSize", "%d is out of range: want %d to %d", size, largestBlock, smallestBlock)
	case size < cidr.Bits():
		d.faults.add(at, "spec.blockSize", "%d: a block of that size is larger than the pool (%s)", size, cidr)
	}
	d.pools = append(d.pools, found{at: at, pool: out, private: p.Spec.DisableBGPExport})
}

// nodeSelector is the pool's; "" for all hosts.
func nodeSelector(s v3.IPPoolSpec) string {
	if text := strings.TrimSpace(s.NodeSelector); text != "all()" {
		return text
	}
	return ""
}

func annotation(name string) string { return "metadata.annotations[" + strconv.Quote(name) + "]" }

// checkRouter reads A, a router inside the pool, or A/BITS, one in a wider network that the pool is a part of.
func checkRouter(text string, pool netip.Prefix, at place, f *Faults) netip.Prefix {
	path := annotation(GatewayAnnotation)
	if text == "" {
		return netip.Prefix{}
	}
	router, err := netip.ParsePrefix(text)
	if a, plain := netip.ParseAddr(text); plain == nil {
		router, err = netip.PrefixFrom(a, pool.Bits()), nil
	}
	switch {
	case err != nil || !router.Addr().Is4():
		f.add(at, path, "%q is no IPv4 address: want the VLAN's router, such as %s", text, pool.Addr().Next())
	case !router.Contains(pool.Addr()) || router.Bits() > pool.Bits():
		f.add(at, path, "%s is not in a network with %s: where the pool is a part of the VLAN's network, add the length of that, such as %s/16", text, pool, router.Addr())
	default:
		return router
	}
	return netip.Prefix{}
}

// checkAnnotations refuses those in Berth's name that mean nothing: a slip in one would be found out much later.
func checkAnnotations(all map[string]string, at place, f *Faults) {
	known := []string{TwinAnnotation, GroupsAnnotation, GatewayAnnotation}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, "berth/") && !slices.Contains(known, name) {
			f.add(at, annotation(name), "is unknown: want %s", strings.Join(known, " or "))
		}
	}
}

// groups reads the list of groups.
func (d *decoder) groups(at place, annotations map[string]string) []spec.AppID {
	text, ok := annotations[GroupsAnnotation]
	if !ok {
		return nil
	}
	var out []spec.AppID
	for _, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		id := spec.AppID(part)
		if !validGroup.MatchString(part) {
			d.faults.add(at, annotation(GroupsAnnotation), "%q is no group: want paths such as /prod, separated by commas", part)
			continue
		}
		if slices.Contains(out, id) {
			d.faults.add(at, annotation(GroupsAnnotation), "%q is listed twice", part)
			continue
		}
		out = append(out, id)
	}
	return out
}

// twin checks an IPPool with an IPv6 range. All that concerns addresses one by one is said of the pool that it is the twin of.
func (d *decoder) twin(at place, name string, cidr netip.Prefix, p v3.IPPool) {
	before := len(d.faults)
	of := p.Annotations[TwinAnnotation]
	if of == "" {
		d.faults.add(at, "spec.cidr", "%s is IPv6, and Berth leases IPv4 addresses: name in %s the pool whose addresses get an IPv6 address each in this range",
			cidr, annotation(TwinAnnotation))
	}
	switch addr := cidr.Addr(); {
	case cidr != cidr.Masked():
		d.faults.add(at, "spec.cidr", "%s is not a network: did you mean %s", cidr, cidr.Masked())
	case !addr.IsGlobalUnicast(), addr.Is4In6():
		d.faults.add(at, "spec.cidr", "%s cannot be routed: loopback, link-local, multicast and reserved ranges are no pools", cidr)
	}
	_, groups := p.Annotations[GroupsAnnotation]
	_, router := p.Annotations[GatewayAnnotation]
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"spec.nodeSelector", nodeSelector(p.Spec) != ""}, {"spec.disabled", p.Spec.Disabled}, {annotation(GroupsAnnotation), groups},
		{annotation(GatewayAnnotation), router},
	} {
		if f.set {
			d.faults.add(at, f.field, "belongs into the pool that this one is the twin of: their addresses go together")
		}
	}
	if p.Spec.NATOutgoing {
		d.faults.add(at, "spec.natOutgoing", "is not supported for IPv6: give the hosts' routers a route to %s", cidr)
	}
	if len(d.faults) == before && name != "" {
		d.twins = append(d.twins, twin{at, of, cidr, p.Spec.BlockSize, p.Spec.DisableBGPExport})
	}
}

// pair gives each pool its twin's range.
func (d *decoder) pair() {
	for _, t := range d.twins {
		d.exported(t.at, t.private)
		i := slices.IndexFunc(d.pools, func(f found) bool { return f.pool.Name == t.of })
		if i < 0 {
			d.faults.add(t.at, annotation(TwinAnnotation), "there is no pool %q with an IPv4 range in these documents", t.of)
			continue
		}
		f := &d.pools[i]
		switch bits := f.pool.BlockBits() + spec.TwinBits; {
		case f.pool.CIDR6.IsValid():
			d.faults.add(t.at, annotation(TwinAnnotation), "pool %q has its twin in %s already", t.of, f.twin)
			continue
		case t.cidr.Bits() > f.pool.CIDR.Bits()+spec.TwinBits:
			d.faults.add(t.at, "spec.cidr", "%s has no room for the addresses of pool %q (%s): want at most /%d", t.cidr, t.of, f.pool.CIDR, f.pool.CIDR.Bits()+spec.TwinBits)
		case t.blockSize != 0 && t.blockSize != bits:
			d.faults.add(t.at, "spec.blockSize", "%d: the blocks of pool %q are /%d, so those of its twin are /%d", t.blockSize, t.of, f.pool.BlockBits(), bits)
		}
		f.pool.CIDR6, f.twin = t.cidr, t.at
	}
}

// exported refuses to keep a pool from BGP peers. Where there are none, nothing is told to anybody anyway.
func (d *decoder) exported(at place, private bool) {
	if private && d.bgp.fleet() != nil {
		d.faults.add(at, "spec.disableBGPExport", "is not supported: hosts announce the addresses of all pools; filter on the router")
	}
}
