package place

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/berth-project/berth/spec"
)

// constraints are what the benchmarks place under. MAX_PER's value suits the number of instances: it holds none of them up for
// lack of racks, but nearly.
var constraints = []struct {
	name string
	of   func(instances int) []spec.Constraint
}{
	{"none", func(int) []spec.Constraint { return nil }},
	{"UNIQUE", func(int) []spec.Constraint { return []spec.Constraint{{Field: "hostname", Operator: "UNIQUE"}} }},
	{"GROUP_BY", func(int) []spec.Constraint { return []spec.Constraint{{Field: "rack", Operator: "GROUP_BY"}} }},
	{"MAX_PER", func(n int) []spec.Constraint {
		return []spec.Constraint{{Field: "rack", Operator: "MAX_PER", Value: fmt.Sprint(n/racks + 1)}}
	}},
}

const racks = 25

// hostsOf offers n hosts of three sizes, partly used already, in racks.
func hostsOf(n int) (*Fleet, map[string]spec.Offer) {
	f, offers := NewFleet(), make(map[string]spec.Offer, n)
	for i := range n {
		host := fmt.Sprintf("host-%05d", i)
		used := float64(i*7919%97) / 10
		o := spec.Offer{ID: fmt.Sprintf("o%d", i), AgentID: "agent-" + host, Host: host, CPUs: thousandths([]float64{16, 32, 64}[i%3] - used),
			Mem: []float64{65536, 131072, 262144}[i%3] - 1000*used, Disk: 500000, Ports: []spec.PortRange{{Begin: 31000, End: 32000}},
			Attributes: map[string]string{"rack": fmt.Sprintf("r%02d", i%racks)}}
		offers[o.ID] = o
		f.Ready(host, map[string]string{"p": ""})
		f.Add(o)
	}
	return f, offers
}

func intentsOf(app *spec.App, n int) []Intent {
	out := make([]Intent, n)
	for i := range out {
		out[i] = Intent{Seat: spec.SeatID{App: app.ID, Index: i}, App: app, Pool: "p"}
	}
	return out
}

// BenchmarkMatch is one match of all instances of one app, which begins without tasks. The offers that it used come back before
// the next.
func BenchmarkMatch(b *testing.B) {
	for _, hosts := range []int{1000, 5000, 10_000, 50_000} {
		f, offers := hostsOf(hosts)
		for _, n := range []int{300, 1200, 10_000} {
			for _, c := range constraints {
				b.Run(fmt.Sprintf("%s/hosts=%d/instances=%d", c.name, hosts, n), func(b *testing.B) {
					app := &spec.App{ID: "/web", CPUs: 0.1, Mem: 64, Constraints: c.of(n)}
					in := Input{Intents: intentsOf(app, n)}
					placed := 0
					b.ReportAllocs()
					for b.Loop() {
						r := f.Match(in)
						placed += len(r.Placements)
						b.StopTimer()
						for _, ids := range r.Taken {
							for _, id := range ids {
								f.Add(offers[id])
							}
						}
						b.StartTimer()
					}
					if want := n; c.name != "UNIQUE" && placed != want*b.N {
						b.Fatalf("%d of %d placed", placed/b.N, want)
					}
					b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placements/s")
				})
			}
		}
	}
}

// BenchmarkScan is the same question put to every host for every instance, with the same counters and without an order: what the
// order is for, on the machine that the others are measured on.
func BenchmarkScan(b *testing.B) {
	for _, hosts := range []int{1000, 10_000} {
		f, _ := hostsOf(hosts)
		for _, c := range constraints {
			b.Run(fmt.Sprintf("%s/hosts=%d/instances=20", c.name, hosts), func(b *testing.B) {
				app := &spec.App{ID: "/web", CPUs: 0.1, Mem: 64, Constraints: c.of(20)}
				in := Input{Intents: intentsOf(app, 20)}
				b.ReportAllocs()
				for b.Loop() {
					m := &matcher{fleet: f, in: in}
					d := m.newDemand(in.Intents[0])
					for range in.Intents {
						var best *slot
						for _, s := range f.slots {
							if m.reason(d, s) == "" && (best == nil || d.better(s, best)) {
								best = s
							}
						}
						d.tally.add(best.fields, 1)
					}
				}
				b.ReportMetric(float64(len(in.Intents)*b.N)/b.Elapsed().Seconds(), "placements/s")
			})
		}
	}
}

// better says whether a is to be taken before b: the more even group first, then the emptier of the app, then the fuller host.
func (d *demand) better(a, b *slot) bool {
	if x, y := d.even(a, b), d.even(b, a); x != y {
		return x
	}
	if x, y := d.load(a), d.load(b); x != y {
		return x < y
	}
	return a.entry().compare(b.entry()) < 0
}

// BenchmarkOffer is one offer that comes and one that goes.
func BenchmarkOffer(b *testing.B) {
	for _, hosts := range []int{1000, 50_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			f, offers := hostsOf(hosts)
			f.view.by("rack")
			list := slices.Collect(maps.Values(offers))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				o := list[i%len(list)]
				f.Drop(o.ID)
				f.Add(o)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "offers/s")
		})
	}
}
