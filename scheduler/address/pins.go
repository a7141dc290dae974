package address

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Pins reads the app's BERTH_IPS label: one address an instance, seat 0 first. No label: nil, nil.
func Pins(app *spec.App) ([]netip.Addr, error) {
	text, ok := app.Labels[spec.AppLabelIPs]
	if !ok {
		return nil, nil
	}
	var out []netip.Addr
	seen := map[netip.Addr]bool{}
	for _, part := range strings.Split(text, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q is no IP address", strings.TrimSpace(part))
		}
		if seen[addr] {
			return nil, fmt.Errorf("%s is listed twice", addr)
		}
		seen[addr] = true
		out = append(out, addr)
	}
	if len(out) < app.Instances {
		return nil, fmt.Errorf("%d addresses for %d instances: name one address an instance", len(out), app.Instances)
	}
	return out, nil
}

// PoolOf is the name of the pool that the app's seats draw from: the BERTH_POOL label, else its container network's name
// where that is a pool, else the first pool. ok is false when the name that was asked for is no pool.
func PoolOf(app *spec.App, pools []spec.Pool) (name string, ok bool) {
	name = app.Labels[spec.AppLabelPool]
	if name == "" {
		for _, n := range app.Networks {
			if n.Mode == spec.NetworkContainer {
				name = n.Name
			}
		}
	}
	if name == "" && len(pools) > 0 {
		return pools[0].Name, true
	}
	for _, p := range pools {
		if p.Name == name {
			return name, true
		}
	}
	return name, false
}

// CheckPins says why the app's pins cannot be honoured: outside every pool, too few, or leased to another app.
func CheckPins(app *spec.App, pools []spec.Pool, leases map[netip.Addr]spec.Lease) error {
	pins, err := Pins(app)
	if err != nil || len(pins) == 0 {
		return err
	}
	name, ok := PoolOf(app, pools)
	if !ok {
		return fmt.Errorf("pool %q does not exist", name)
	}
	for _, p := range pools {
		if p.Name != name {
			continue
		}
		for _, addr := range pins {
			if !Usable(p, addr) {
				return fmt.Errorf("%s is no usable address of pool %s (%s)", addr, p.Name, p.CIDR)
			}
			if l, taken := leases[addr]; taken && l.Seat.App != app.ID {
				state := "leased to"
				if !l.IdleSince.IsZero() {
					state = "kept for"
				}
				return fmt.Errorf("%s is %s %s", addr, state, l.Seat)
			}
		}
	}
	return nil
}
