package router

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/berth-project/berth/agent/hostnet"
)

// lookPolicies reads the table back.
func (s system) lookPolicies() (policyFacts, error) {
	f := policyFacts{
		sets: map[string]hostnet.FilterSet{}, chains: map[string][]string{}, counters: map[string]bool{},
		egress: map[netip.Addr]string{}, ingress: map[netip.Addr]string{},
	}
	conn, err := openPolicies()
	if err != nil {
		return f, err
	}
	t := s.policyTable()
	if f.there, err = t.there(conn); err != nil || !f.there {
		return f, err
	}
	if err := t.lookChains(conn, &f); err != nil {
		return f, err
	}
	if err := t.lookSets(conn, &f); err != nil {
		return f, err
	}
	objects, err := conn.GetNamedObjects(t.table)
	if err != nil {
		return f, fmt.Errorf("list counters: %w", err)
	}
	for _, o := range objects {
		if n, ok := o.(*nftables.NamedObj); ok && n.Name != closedCounter {
			f.counters[n.Name] = true
		}
	}
	return f, nil
}

// hasPolicies says whether there is the table.
func (s system) hasPolicies() (bool, error) {
	conn, err := openPolicies()
	if err != nil {
		return false, err
	}
	return s.policyTable().there(conn)
}

func (t policyTable) there(conn *nftables.Conn) (bool, error) {
	tables, err := conn.ListTablesOfFamily(t.table.Family)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(have *nftables.Table) bool { return have.Name == t.table.Name }), nil
}

// lookChains reads the marks of all rules.
func (t policyTable) lookChains(conn *nftables.Conn, f *policyFacts) error {
	chains, err := conn.ListChainsOfTableFamily(t.table.Family)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	fixed := map[string]bool{} // -> whether link-local addresses are closed
	for _, chain := range chains {
		if chain.Table.Name != t.table.Name {
			continue
		}
		rules, err := conn.GetRules(t.table, chain)
		if err != nil {
			return fmt.Errorf("list rules of chain %s: %w", chain.Name, err)
		}
		if !t.isFixed(chain.Name) {
			marks := make([]string, len(rules))
			for i, r := range rules {
				marks[i] = string(r.UserData)
			}
			f.chains[chain.Name] = marks
			continue
		}
		for _, closed := range []bool{false, true} {
			if t.isBase(chain.Name, rules, closed) {
				fixed[chain.Name] = closed
			}
		}
	}
	f.closed = fixed[fromInput]
	f.whole = len(fixed) == len(t.base)
	for _, closed := range fixed {
		f.whole = f.whole && closed == f.closed
	}
	return nil
}

// isBase says whether the rules are those of the fixed chain.
func (t policyTable) isBase(chain string, rules []*nftables.Rule, closed bool) bool {
	if len(rules) != len(t.baseRules(chain, closed)) {
		return false
	}
	for i, r := range rules {
		if !bytes.Equal(r.UserData, baseMark(chain, i, closed)) {
			return false
		}
	}
	return true
}

// lookSets reads all sets and maps.
func (t policyTable) lookSets(conn *nftables.Conn, f *policyFacts) error {
	sets, err := conn.GetSets(t.table)
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	maps := 0
	for _, set := range sets {
		elements, err := conn.GetSetElements(set)
		if err != nil {
			return fmt.Errorf("list elements of %s: %w", set.Name, err)
		}
		var to map[netip.Addr]string
		switch set.Name {
		case egress4, egress6:
			to = f.egress
		case ingress4, ingress6:
			to = f.ingress
		default:
			f.sets[set.Name] = fromIntervals(set.Name, set.KeyType, elements)
			continue
		}
		maps++
		for _, e := range elements {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				to[a] = e.Comment
			}
		}
	}
	f.whole = f.whole && maps == len(t.maps)
	return nil
}

// countPolicies reads all counters.
func (s system) countPolicies() (map[string]tally, error) {
	conn, err := openPolicies()
	if err != nil {
		return nil, err
	}
	objects, err := conn.GetNamedObjects(s.policyTable().table)
	if err != nil {
		return nil, err
	}
	out := map[string]tally{}
	for _, o := range objects {
		if n, ok := o.(*nftables.NamedObj); ok {
			if c, ok := n.Obj.(*expr.Counter); ok {
				out[n.Name] = tally{c.Packets, c.Bytes}
			}
		}
	}
	return out, nil
}
