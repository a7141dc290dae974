//go:build slow

package scheduler

import "testing"

// TestManyBreaks is TestBreaks with as many schedules as a release should have seen.
func TestManyBreaks(t *testing.T) { breakRounds(t, 1000) }
