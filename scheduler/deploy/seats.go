package deploy

import (
	"slices"

	"github.com/berth-project/berth/spec"
)

// Temporary says whether a seat number is a temporary one for the app as it is wanted. Floating apps have none: their
// numbers mean nothing.
func Temporary(app *spec.App, seat int) bool { return !app.Floats() && !app.HasSeat(seat) }

// Holes are the seats below the highest that stay empty when want follows was (nil: a new app). Seats that an operator
// named go; then the highest go, or the holes fill, lowest first, until the number is right.
func Holes(was, want *spec.App, gone map[int]bool) []int {
	if was == nil || was.Floats() || want.Floats() || want.Instances <= 0 {
		return nil
	}
	seats := slices.DeleteFunc(was.Seats(), func(n int) bool { return gone[n] })
	seats = seats[:min(len(seats), want.Instances)]
	taken := map[int]bool{}
	for _, n := range seats {
		taken[n] = true
	}
	end := 0
	for n := 0; len(taken) < want.Instances; n++ {
		if !taken[n] {
			taken[n] = true
		}
	}
	for n := range taken {
		end = max(end, n+1)
	}
	var out []int
	for n := range end {
		if !taken[n] {
			out = append(out, n)
		}
	}
	return out
}
