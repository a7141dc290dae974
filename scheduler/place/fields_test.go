package place

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// TestHasFields: it says what a comparison with Fields would, also where an attribute has the name of one of Marathon's own.
func TestHasFields(t *testing.T) {
	name := rapid.SampledFrom([]string{"hostname", "@zone", "@region", "rack", "disk"})
	value := rapid.SampledFrom([]string{"", "a", "b"})
	attributes := rapid.MapOf(name, value)
	rapid.Check(t, func(t *rapid.T) {
		o := spec.Offer{Host: value.Draw(t, "host"), Region: value.Draw(t, "region"), Zone: value.Draw(t, "zone"), Attributes: attributes.Draw(t, "attributes")}
		fields := Fields(o)
		if !HasFields(o, fields) {
			t.Fatalf("%v are not the fields of %+v", fields, o)
		}
		other := o
		other.Attributes = attributes.Draw(t, "others")
		if got, want := HasFields(o, Fields(other)), maps.Equal(fields, Fields(other)); got != want {
			t.Fatalf("%v are the fields of %+v: got %t, want %t", Fields(other), o, got, want)
		}
	})
}
