package address

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

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
	switch n := app.SeatsEnd(); {
	case len(out) >= n:
	case n > app.Instances:
		return nil, fmt.Errorf("%d addresses, but the app has seat %d: name one address a seat", len(out), n-1)
	default:
		return nil, fmt.Errorf("%d addresses for %d instances: name one address an instance", len(out), n)
	}
	return out, nil
}

// PoolOf is the name of the pool that the app's seats draw from: the BERTH_POOL label, else its container network's name
// where that is a pool, else that of the nearest group which a pool is for, else the first pool. ok is false when the name that was asked for is no pool.
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
		return poolOfGroup(app.ID, pools), true
	}
	for _, p := range pools {
		if p.Name == name {
			return name, true
		}
	}
	return name, false
}

// poolOfGroup is the pool of the nearest group around an app, or the first one.
func poolOfGroup(id spec.AppID, pools []spec.Pool) string {
	name, near := pools[0].Name, -1
	for _, p := range pools {
		for _, g := range p.Groups {
			if depth := len(g.Segments()); depth > near && id.In(g) {
				name, near = p.Name, depth
			}
		}
	}
	return name
}

// CheckPins says why the app's pins cannot be honoured: outside every pool, too few, or leased to another seat. A resting
// address of an app that is gone can be pinned once it has rested. in needs pools, leases, rest and now.
func CheckPins(app *spec.App, in Input) error {
	pins, err := Pins(app)
	if err != nil || len(pins) == 0 {
		return err
	}
	name, ok := PoolOf(app, in.Pools)
	if !ok {
		return fmt.Errorf("pool %q does not exist", name)
	}
	for _, p := range in.Pools {
		if p.Name != name {
			continue
		}
		for i, addr := range pins {
			if !Usable(p, addr) {
				return fmt.Errorf("%s is no usable address of pool %s (%s)", addr, p.Name, p.CIDR)
			}
			if l, taken := in.Leases[addr]; taken {
				if err := pinTaken(l, spec.SeatID{App: app.ID, Index: i}, in); err != nil {
					return err
				}
			} else if in.Blocks.ForHost(addr) {
				return errors.New(in.Blocks.keptFor(addr))
			}
		}
	}
	return nil
}

func pinTaken(l spec.Lease, seat spec.SeatID, in Input) error {
	switch rested := l.IdleSince.Add(in.Rest); {
	case l.Seat == seat:
	case l.IdleSince.IsZero() && l.Seat.App == seat.App:
		return fmt.Errorf("%s is leased to %s, another seat of this app: name it at that place, as seats keep their addresses", l.Address, l.Seat)
	case l.IdleSince.IsZero():
		return fmt.Errorf("%s is leased to %s", l.Address, l.Seat)
	case l.Seat.App == seat.App:
	case l.Pinned:
		return fmt.Errorf("%s is kept for %s, which pins it", l.Address, l.Seat)
	case rested.After(in.Now):
		return fmt.Errorf("%s was %s's and rests until %s", l.Address, l.Seat, rested.UTC().Format(time.RFC3339))
	}
	return nil
}
