package spec

import "testing"

func TestParseRate(t *testing.T) {
	for text, want := range map[string]uint64{
		"10Mbit": 10_000_000, "1.5gbit": 1_500_000_000, "500k": 500_000, " 64000 ": 64_000, "100001bit": 100_000,
		"": 0, "fast": 0, "10": 0, "-1Mbit": 0, "33Gbit": 0, "1e400": 0, "nan": 0, "10MbitMbit": 0,
	} {
		got, err := ParseRate(text)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
	}
}
