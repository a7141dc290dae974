package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// The bounds of a rate: below the first a single large packet takes seconds, the second is what the kernel can count in
// bytes with 32 bits.
const (
	minRate = 64_000
	maxRate = 32_000_000_000
)

// ParseRate reads a rate as tc does: "10Mbit", "500kbit", "1.5Gbit", or bits a second.
func ParseRate(text string) (uint64, error) {
	lower := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), "bit")
	unit := 1.0
	for suffix, times := range map[string]float64{"k": 1e3, "m": 1e6, "g": 1e9} {
		if number, ok := strings.CutSuffix(lower, suffix); ok {
			lower, unit = number, times
			break
		}
	}
	n, err := strconv.ParseFloat(lower, 64)
	if err != nil || n*unit != n*unit {
		return 0, fmt.Errorf("read rate: %q is none such as 10Mbit", text)
	}
	if n *= unit; n < minRate || n > maxRate {
		return 0, fmt.Errorf("read rate: %q is not between 64kbit and 32Gbit", text)
	}
	return uint64(n) / 8 * 8, nil // the kernel counts bytes
}
