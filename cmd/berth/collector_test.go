package main

import "testing"

func TestGarbageFor(t *testing.T) {
	for _, c := range []struct {
		live uint64 // MiB
		want int
	}{{0, mostGarbage}, {64, mostGarbage}, {300, mostGarbage}, {400, 225}, {600, 116}, {650, 100}, {5000, 100}} {
		if got := garbageFor(c.live << 20); got != c.want {
			t.Errorf("of %d MiB: %d, want %d", c.live, got, c.want)
		}
	}
}
