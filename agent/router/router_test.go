package router

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/agent/hostnet"
)

// memory is iptables in memory: "table chain" -> rules.
type memory struct {
	chains map[string][]string
	writes int
	fail   string // the chain whose changes fail
}

func newMemory(dockers bool) *memory {
	m := &memory{chains: map[string][]string{
		"filter FORWARD": {"-j DOCKER-ISOLATION-STAGE-1"}, "nat POSTROUTING": {"-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"},
	}}
	if dockers {
		m.docker()
	}
	return m
}

// docker is what a daemon does at its start.
func (m *memory) docker() {
	if _, ok := m.chains["filter DOCKER-USER"]; !ok {
		m.chains["filter DOCKER-USER"] = []string{"-j RETURN"}
	}
	m.chains["filter FORWARD"] = append([]string{"-j DOCKER-USER"}, slices.DeleteFunc(m.chains["filter FORWARD"], func(r string) bool { return r == "-j DOCKER-USER" })...)
}

func (m *memory) ChainExists(table, chain string) (bool, error) {
	_, ok := m.chains[table+" "+chain]
	return ok, nil
}

func (m *memory) NewChain(table, chain string) error {
	m.writes++
	m.chains[table+" "+chain] = nil
	return nil
}

func (m *memory) List(table, chain string) ([]string, error) {
	out := []string{"-N " + chain}
	for _, r := range m.chains[table+" "+chain] {
		out = append(out, "-A "+chain+" "+r)
	}
	return out, nil
}

func (m *memory) Insert(table, chain string, pos int, rule ...string) error {
	if chain == m.fail {
		return errors.New("no memory")
	}
	m.writes++
	m.chains[table+" "+chain] = slices.Insert(m.chains[table+" "+chain], pos-1, strings.Join(rule, " "))
	return nil
}

func (m *memory) DeleteById(table, chain string, id int) error {
	m.writes++
	m.chains[table+" "+chain] = slices.Delete(m.chains[table+" "+chain], id-1, id)
	return nil
}

func (m *memory) ClearAndDeleteChain(table, chain string) error {
	m.writes++
	delete(m.chains, table+" "+chain)
	return nil
}

const jumpForward, jumpNAT = "-m comment --comment berth -j BERTH-FORWARD", "-m comment --comment berth -j BERTH-NAT"

// testRouter has both its sides in memory.
func testRouter(m *memory) *Router {
	r := newRouter(m, Default)
	r.kernel = newWorld()
	return r
}

func wanted() hostnet.Rules {
	return hostnet.Rules{
		Filter: []hostnet.Rule{{"-i", "br-a", "-m", "conntrack", "-j", "ACCEPT"}, {"-o", "br-a", "-j", "ACCEPT"}},
		Alone:  []hostnet.Rule{{"-i", "br-a", "-j", "ACCEPT"}, {"-o", "br-a", "-j", "ACCEPT"}},
		NAT:    []hostnet.Rule{{"-d", "10.1.0.0/24", "-j", "RETURN"}, {"-s", "10.1.0.0/24", "-j", "MASQUERADE"}},
	}
}

func TestSet(t *testing.T) {
	m := newMemory(true)
	r := testRouter(m)
	if err := r.Set(t.Context(), wanted()); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"filter FORWARD":       {"-j DOCKER-USER", "-j DOCKER-ISOLATION-STAGE-1"},
		"filter DOCKER-USER":   {jumpForward, "-j RETURN"},
		"filter BERTH-FORWARD": {"-i br-a -m conntrack -j ACCEPT", "-o br-a -j ACCEPT"},
		"nat POSTROUTING":      {jumpNAT, "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"},
		"nat BERTH-NAT":        {"-d 10.1.0.0/24 -j RETURN", "-s 10.1.0.0/24 -j MASQUERADE"},
	}
	if d := cmp.Diff(want, m.chains); d != "" {
		t.Fatal(d)
	}
	m.writes = 0
	if err := r.Set(t.Context(), wanted()); err != nil || m.writes != 0 {
		t.Errorf("the second time: %v, %d writes", err, m.writes)
	}
	t.Run("an operator's rule before ours stays", func(t *testing.T) {
		_ = m.Insert("filter", "DOCKER-USER", 1, "-s 10.1.0.66/32 -j DROP")
		m.writes = 0
		if err := r.Set(t.Context(), wanted()); err != nil || m.writes != 0 {
			t.Errorf("%v, %d writes: %v", err, m.writes, m.chains["filter DOCKER-USER"])
		}
	})
	t.Run("a flush is mended", func(t *testing.T) {
		for c := range m.chains {
			m.chains[c] = nil
		}
		m.docker()
		m.chains["filter DOCKER-USER"] = []string{"-j RETURN", jumpForward}
		if err := r.Set(t.Context(), wanted()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want["filter DOCKER-USER"], m.chains["filter DOCKER-USER"]); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(want["filter BERTH-FORWARD"], m.chains["filter BERTH-FORWARD"]); d != "" {
			t.Error(d)
		}
	})
	t.Run("cleanup leaves others'", func(t *testing.T) {
		if err := r.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string][]string{"filter FORWARD": {"-j DOCKER-USER"}, "filter DOCKER-USER": {"-j RETURN"}, "nat POSTROUTING": {}}, m.chains); d != "" {
			t.Error(d)
		}
		m.writes = 0
		if err := r.Cleanup(t.Context()); err != nil || m.writes != 0 {
			t.Errorf("twice: %v, %d writes", err, m.writes)
		}
	})
}

func TestSetBeforeDocker(t *testing.T) {
	m := newMemory(false)
	r := testRouter(m)
	if err := r.Set(t.Context(), wanted()); err != nil {
		t.Fatal(err)
	}
	if got := m.chains["filter FORWARD"][0]; got != jumpForward {
		t.Errorf("without Docker's chain FORWARD begins with %q", got)
	}
	if got := m.chains["filter BERTH-FORWARD"][0]; got != "-i br-a -j ACCEPT" {
		t.Errorf("without Docker's chains ours begins with %q", got)
	}
	m.docker()
	if err := r.Set(t.Context(), wanted()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"-j DOCKER-USER", "-j DOCKER-ISOLATION-STAGE-1"}, m.chains["filter FORWARD"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{jumpForward, "-j RETURN"}, m.chains["filter DOCKER-USER"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"-i br-a -m conntrack -j ACCEPT", "-o br-a -j ACCEPT"}, m.chains["filter BERTH-FORWARD"]); d != "" {
		t.Error(d)
	}
}

func TestSetGoesOnAfterAFailure(t *testing.T) {
	m := newMemory(true)
	m.fail = forwardChain
	err := testRouter(m).Set(t.Context(), wanted())
	if err == nil || !strings.Contains(err.Error(), "BERTH-FORWARD") {
		t.Errorf("got %v", err)
	}
	if len(m.chains["nat BERTH-NAT"]) != 2 {
		t.Error("NAT was not set")
	}
	if slices.Contains(m.chains["filter DOCKER-USER"], jumpForward) {
		t.Error("an incomplete chain is entered")
	}
}

func TestChainNames(t *testing.T) {
	for name, want := range map[string]string{"berth": "BERTH-FORWARD", "berth-test": "BERTH-FORWARD-BERTH-TEST", "a-very-long-name-of-a-test": "BERTH-FORWARD-"} {
		got := newRouter(nil, name).forward
		if len(got) > maxChain || !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), func(s string) string { return s })
		have := rapid.SliceOf(rapid.SampledFrom([]string{"a", "b", "c", "d", "x"})).Draw(t, "have")
		want := rules.Draw(t, "want")
		now, removing := slices.Clone(have), false
		for _, s := range Difference(have, want) {
			if s.Insert {
				if removing {
					t.Fatal("adds after removing")
				}
				now = slices.Insert(now, s.At-1, s.Rule)
			} else {
				removing = true
				if now[s.At-1] != s.Rule {
					t.Fatalf("removes %q as %q", now[s.At-1], s.Rule)
				}
				now = slices.Delete(now, s.At-1, s.At)
			}
		}
		if !slices.Equal(now, want) {
			t.Fatalf("got %v", now)
		}
		if slices.Equal(have, want) && len(Difference(have, want)) > 0 {
			t.Fatal("changes although nothing differs")
		}
	})
}

func TestDockerBridges(t *testing.T) {
	m := newMemory(true)
	m.chains["filter FORWARD"] = append(m.chains["filter FORWARD"], "-o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-o docker0 -j DOCKER", "-i docker0 ! -o docker0 -j ACCEPT")
	m.chains["filter DOCKER-BRIDGE"] = []string{"-o br-0123456789ab -j DOCKER", "-o docker0 -j DOCKER"}
	got, err := testRouter(m).DockerBridges()
	if want := []string{"br-0123456789ab", "docker0"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
