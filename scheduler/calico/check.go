package calico

import (
	"net/netip"
	"regexp"
	"slices"

	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
)

// Bounds of a pool. A /31 has no room for network, gateway, broadcast and one container; more than a /8 is a slip.
const (
	widest    = 8
	narrowest = 30
)

// nameLimit keeps pool names usable as one DNS label wherever they are shown.
const nameLimit = 63

// validName is Calico's own rule for names; all of them are good names of Docker networks, too.
var validName = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)

// checkName returns the name, or "" after recording why it is none.
func checkName(name string, at place, f *Faults) string {
	switch {
	case name == "":
		f.add(at, "metadata.name", "is missing")
	case len(name) > nameLimit:
		f.add(at, "metadata.name", "%q has %d bytes, at most %d are allowed", name, len(name), nameLimit)
	case !validName.MatchString(name):
		f.add(at, "metadata.name", "%q: only a-z, 0-9, '-' and '.' are allowed, with a letter or digit at both ends", name)
	case name == "bridge" || name == "host" || name == "none" || name == "default":
		f.add(at, "metadata.name", "%q is the name of a network that Docker itself owns", name)
	default:
		return name
	}
	return ""
}

// checkCIDR returns the range, or false after recording why it cannot be a pool.
func checkCIDR(text string, at place, f *Faults) (netip.Prefix, bool) {
	const path = "spec.cidr"
	if text == "" {
		f.add(at, path, "is missing")
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		f.add(at, path, "%q is not a network: want ADDRESS/BITS, such as 10.88.0.0/16", text)
		return p, false
	}
	before := len(*f)
	addr := p.Addr()
	switch {
	case p != p.Masked():
		f.add(at, path, "%s is not a network: did you mean %s", text, p.Masked())
	case p.Bits() < widest:
		f.add(at, path, "%s is too wide: want /%d or narrower", text, widest)
	case p.Bits() > narrowest:
		f.add(at, path, "%s is too narrow: the gateway and one instance need at least a /%d", text, narrowest)
	case addr.IsLoopback(), addr.IsLinkLocalUnicast(), addr.As4()[0] == 0, addr.As4()[0] >= 224:
		f.add(at, path, "%s cannot be routed: loopback, link-local, multicast and reserved ranges are no pools", text)
	}
	return p, len(*f) == before
}

// checkBehaviour refuses every field that asks for something Berth would not do: silently doing something else would be
// found out much later.
func checkBehaviour(s v3.IPPoolSpec, at place, f *Faults) {
	const noTunnel = "%s is not supported: Berth routes container addresses without tunnels; want Never"
	if s.IPIPMode != "" && s.IPIPMode != v3.IPIPModeNever {
		f.add(at, "spec.ipipMode", noTunnel, s.IPIPMode)
	}
	if s.VXLANMode != "" && s.VXLANMode != v3.VXLANModeNever {
		f.add(at, "spec.vxlanMode", noTunnel, s.VXLANMode)
	}
	if len(s.AllowedUses) > 0 && !slices.Contains(s.AllowedUses, v3.IPPoolAllowedUseWorkload) {
		f.add(at, "spec.allowedUses", "without %s the pool has no address for a container", v3.IPPoolAllowedUseWorkload)
	}
	if s.IPIP != nil { //nolint:staticcheck // it is deprecated, and refused for that
		f.add(at, "spec.ipip", "is Calico's own old form: want ipipMode: Never")
	}
	if s.NATOutgoingV1 { //nolint:staticcheck // as above
		f.add(at, "spec.nat-outgoing", "is Calico's own old form: want natOutgoing")
	}
}

// crossCheck compares all pools with each other: one name is one Docker network, and one address is in one pool only.
func (d *decoder) crossCheck() {
	d.pair()
	for i, later := range d.pools {
		d.exported(later.at, later.private)
		for _, earlier := range d.pools[:i] {
			if earlier.pool.Name == later.pool.Name {
				d.faults.add(later.at, "metadata.name", "%q is the name of the pool in %s, too", later.pool.Name, earlier.at)
				continue
			}
			if earlier.pool.CIDR.Overlaps(later.pool.CIDR) {
				d.faults.add(later.at, "spec.cidr", "%s of pool %q overlaps %s of pool %q in %s",
					later.pool.CIDR, later.pool.Name, earlier.pool.CIDR, earlier.pool.Name, earlier.at)
			}
			if a, b := earlier.pool.CIDR6, later.pool.CIDR6; a.IsValid() && b.IsValid() && a.Overlaps(b) {
				d.faults.add(later.twin, "spec.cidr", "%s overlaps %s in %s", b, a, earlier.twin)
			}
			for _, g := range later.pool.Groups {
				if slices.Contains(earlier.pool.Groups, g) {
					d.faults.add(later.at, annotation(GroupsAnnotation), "%s draws from pool %q in %s already", g, earlier.pool.Name, earlier.at)
				}
			}
		}
	}
}
