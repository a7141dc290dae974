package place

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/spec"
)

// TestSpareMoves: who leaves a host counts for the constraints no more, what others take is not counted twice, and why there is no more
// room is said with numbers.
func TestSpareMoves(t *testing.T) {
	at := func(host string) map[string]string { return map[string]string{"hostname": host, "rack": host[:1]} }
	hosts := func() []Known {
		return []Known{{Host: "a2", CPUs: 2, Mem: 1000, Fields: at("a2")}, {Host: "b1", CPUs: 1, Mem: 1000, Fields: at("b1")}}
	}
	app := func(constraints ...spec.Constraint) *spec.App {
		return &spec.App{ID: "/web", CPUs: 1, Mem: 100, Constraints: constraints}
	}
	held := app()
	held.Labels = map[string]string{spec.AppLabelMaxCPUs: "2"}
	for name, c := range map[string]struct {
		app     *spec.App
		running []string // of which those on a1 leave
		never   string
		n       int
		why     string
	}{
		"room for three":            {app: app(), running: []string{"a1", "a1", "a1"}, n: 3},
		"and no more":               {app: app(), running: []string{"a1", "a1", "a1", "a1"}, n: 3, why: "a2: cpus: 1 wanted, 0 free; b1: cpus: 1 wanted, 0 free"},
		"with headroom":             {app: held, running: []string{"a1", "a1"}, n: 1, why: "b1: cpus: 2 wanted, 1 free"},
		"a host that may not":       {app: app(), running: []string{"a1", "a1", "a1"}, never: "b1", n: 2, why: "b1: it may not"},
		"unique":                    {app: app(spec.Constraint{Field: "hostname", Operator: "UNIQUE"}), running: []string{"a1", "a2"}, n: 1},
		"unique, taken":             {app: app(spec.Constraint{Field: "hostname", Operator: "UNIQUE"}), running: []string{"a1", "a2", "b1"}, n: 0, why: "a2: constraint hostname UNIQUE: 1 instances are on \"a2\" already"},
		"a rack's only one":         {app: app(spec.Constraint{Field: "rack", Operator: "MAX_PER", Value: "1"}), running: []string{"a1", "b1"}, n: 1},
		"only this host":            {app: app(spec.Constraint{Field: "hostname", Operator: "LIKE", Value: "a1"}), running: []string{"a1"}, n: 0, why: `constraint hostname LIKE: "a2" against "a1"`},
		"together":                  {app: app(spec.Constraint{Field: "hostname", Operator: "CLUSTER"}), running: []string{"a1"}, n: 1},
		"together with what stays":  {app: app(spec.Constraint{Field: "rack", Operator: "CLUSTER"}), running: []string{"a1", "a1", "a2"}, n: 2},
		"together, and it does not": {app: app(spec.Constraint{Field: "hostname", Operator: "CLUSTER"}), running: []string{"a1", "a1"}, n: 0, why: `the others are on "a1"`},
	} {
		t.Run(name, func(t *testing.T) {
			tally := NewTally(c.app)
			var leaving []map[string]string
			for _, h := range c.running {
				tally.Add(at(h))
				if h == "a1" {
					leaving = append(leaving, at(h))
				}
			}
			before := tally.of(hostField)["a1"]
			n, why := NewSpare(hosts()).Moves(c.app, tally, leaving, func(host string) string {
				if host == c.never {
					return "it may not"
				}
				return ""
			})
			if n != c.n || !strings.Contains(strings.Join(why, "; "), c.why) || (c.why == "") != (len(why) == 0) {
				t.Errorf("%d %q, want %d %q", n, why, c.n, c.why)
			}
			if tally.of(hostField)["a1"] != before || tally.Removed() != 0 {
				t.Error("the tally is another one")
			}
		})
	}
}

// TestSpareReserves: what one app reserved is not another's, and is its own again.
func TestSpareReserves(t *testing.T) {
	web, db := &spec.App{ID: "/web", CPUs: 1}, &spec.App{ID: "/db", CPUs: 1}
	s := NewSpare([]Known{{Host: "a", CPUs: 2}})
	room := func(app *spec.App) int {
		n, _ := s.Moves(app, NewTally(app), []map[string]string{nil, nil, nil}, func(string) string { return "" })
		return n
	}
	s.Take(db, 1)
	s.Reserve(web, 1)
	if n := room(db); n != 0 {
		t.Errorf("room for %d", n)
	}
	s.Release(web.ID)
	if n := room(web); n != 1 {
		t.Errorf("room for %d", n)
	}
	if n, why := NewSpare(nil).Moves(web, NewTally(web), []map[string]string{nil}, nil); n != 0 || len(why) != 1 || why[0] != "none is known" {
		t.Error(n, why)
	}
}
