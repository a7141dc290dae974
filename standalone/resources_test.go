package standalone

import (
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"pgregory.net/rapid"
)

func drawBundle(r *rapid.T, name string) bundle {
	b := bundle{
		cpus: rapid.Int64Range(0, 8000).Draw(r, name+" cpus"), mem: rapid.Int64Range(0, 1<<20).Draw(r, name+" mem"),
		disk: rapid.Int64Range(0, 1<<20).Draw(r, name+" disk"),
	}
	for _, p := range rapid.SliceOfN(rapid.Uint64Range(31000, 31040), 0, 6).Draw(r, name+" ports") {
		b.ports = join(b.ports, []span{{p, p + 3}})
	}
	return b
}

func equal(a, b bundle) bool {
	return a.cpus == b.cpus && a.mem == b.mem && a.disk == b.disk && spansText(a.ports) == spansText(b.ports)
}

func TestBundles(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := drawBundle(r, "a"), drawBundle(r, "b")
		sum := a.plus(b)
		if !sum.contains(a) || !sum.contains(b) {
			r.Fatalf("%v and %v are not in their sum %v", a, b, sum)
		}
		if rest := a.minus(b); !a.contains(rest) || spansText(cut(b.ports, rest.ports)) != spansText(b.ports) {
			r.Fatalf("%v minus %v is %v", a, b, rest)
		}
		if a.contains(b) {
			if back := a.minus(b).plus(b); !equal(back, a) {
				r.Fatalf("%v minus and plus %v is %v", a, b, back)
			}
		}
		read, err := parseLabel(a.label())
		if err != nil || !equal(read, a) {
			r.Fatalf("%q was read as %v, %v", a.label(), read, err)
		}
		wire, err := fromResources(a.resources("berth"))
		if err != nil || !equal(wire, a) {
			r.Fatalf("%v came back as %v, %v", a, wire, err)
		}
	})
}

func TestFromResourcesRefuses(t *testing.T) {
	for name, r := range map[string]mesos.Resource{
		"negative":  {Name: "cpus", Scalar: &mesos.Value_Scalar{Value: -1}},
		"gpus":      {Name: "gpus", Scalar: &mesos.Value_Scalar{Value: 1}},
		"backwards": {Name: "ports", Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 2, End: 1}}}},
		"no port":   {Name: "ports", Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 1, End: 1 << 40}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if b, err := fromResources([]mesos.Resource{r}); err == nil {
				t.Errorf("got %v", b)
			}
		})
	}
}

func FuzzParseLabel(f *testing.F) {
	f.Add("cpus=100;mem=64000;disk=0;ports=31000-31001,31005-31005")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := parseLabel(text)
		if err != nil {
			return
		}
		if again, err := parseLabel(b.label()); err != nil || !equal(again, b) {
			t.Errorf("%q was read as %v, then as %v, %v", text, b, again, err)
		}
	})
}
