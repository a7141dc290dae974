package bgp

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Route is where a prefix can be reached: several next hops are equally good. There is always one at least.
type Route struct {
	Prefix   netip.Prefix
	NextHops []netip.Addr // sorted
}

// Equal says whether the two are the same route.
func (r Route) Equal(o Route) bool {
	return r.Prefix == o.Prefix && slices.Equal(r.NextHops, o.NextHops)
}

// Learned is what the peers say, without what the host announces itself.
type Learned struct {
	Routes []Route // by prefix
	// Complete: all peers have said everything since the speaker began, or have been away for the restart time. Until then a route
	// that an earlier process has written to the kernel and that is not here may only be late: it must stay.
	Complete bool
	// Up: at least one session is established.
	Up bool
	// Contested are the single addresses, sorted, that the host itself announces and another one, too.
	Contested []netip.Prefix
}

// newLearned sorts the routes; one without a next hop is contested.
func newLearned(routes map[netip.Prefix][]netip.Addr, complete, up bool) Learned {
	l := Learned{Routes: make([]Route, 0, len(routes)), Complete: complete, Up: up}
	for prefix, hops := range routes {
		if len(hops) == 0 {
			l.Contested = append(l.Contested, prefix)
			continue
		}
		l.Routes = append(l.Routes, Route{prefix, hops})
	}
	slices.SortFunc(l.Contested, netip.Prefix.Compare)
	slices.SortFunc(l.Routes, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return l
}

func (l Learned) equal(o Learned) bool {
	return l.Complete == o.Complete && l.Up == o.Up && slices.Equal(l.Contested, o.Contested) && slices.EqualFunc(l.Routes, o.Routes, Route.Equal)
}

// Session is one peering as it is.
type Session struct {
	Name     string
	Address  netip.Addr
	AS       uint32
	State    string    // "idle", "active", "opensent", "openconfirm", "established"
	Since    time.Time // when it got there
	Received int       // prefixes
	Sent     int
	// Kept: the peer is away and announced a graceful restart, so its routes are kept for a while.
	Kept      bool
	LastError string // why the last session ended or could not begin, with a way out where one is known
}

func sortSessions(s []Session) {
	slices.SortFunc(s, func(a, b Session) int { return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Name, b.Name)) })
}
