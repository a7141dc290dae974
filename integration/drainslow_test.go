//go:build integration && slow

package integration

import "testing"

// TestAHundredStopsInOrder is TestOutOfTheCatalogBeforeTERM, a hundred times.
func TestAHundredStopsInOrder(t *testing.T) {
	if ordered, all := stopInOrder(t, 10, 10); ordered != all || all != 100 {
		t.Errorf("%d of %d stops in order, want 100", ordered, all)
	} else {
		t.Logf("out of the catalog before TERM: %d of %d", ordered, all)
	}
}
