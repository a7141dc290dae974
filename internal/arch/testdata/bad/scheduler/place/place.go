// Package place decides, well.
package place

import "time"

// Due takes now.
func Due(now, at time.Time) bool { return !now.Before(at) }
