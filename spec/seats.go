package spec

import "slices"

// IdentityFloat is the value of AppLabelIdentity that asks for Marathon's plain way.
const IdentityFloat = "float"

// Floats says that the app's instances are interchangeable (BERTH_IDENTITY=float): a seat number is only where a task's
// address comes from, and no particular numbers are wanted. Otherwise seats are kept.
func (a *App) Floats() bool { return a.Labels[AppLabelIdentity] == IdentityFloat }

// SeatsEnd is the number after the highest wanted seat; temporary seats begin there.
func (a *App) SeatsEnd() int { return a.Instances + len(a.Holes) }

// HasSeat says whether a seat is wanted: 0 to Instances-1, unless the app has holes.
func (a *App) HasSeat(n int) bool {
	return n >= 0 && n < a.SeatsEnd() && !slices.Contains(a.Holes, n)
}

// Seats are the wanted seats, ascending.
func (a *App) Seats() []int {
	out := make([]int, 0, max(0, a.Instances))
	for n := range a.SeatsEnd() {
		if a.HasSeat(n) {
			out = append(out, n)
		}
	}
	return out
}
