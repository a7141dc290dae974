package router

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// The table of network policies. Its fixed chains hand a packet to the chain that judges its container, by maps from addresses to
// chains. What leaves a container is judged in one base chain and what comes to one in another, behind it: "accept" ends a base
// chain, so that what one container sends to another on the same host is judged by the policies of both. What a host sends
// itself is not judged, as in Calico: its probes always reach its own containers.
const (
	fromForward = "from-container"         // on its way to elsewhere
	fromInput   = "from-container-to-host" // to the host itself
	toForward   = "to-container"
)

// The maps from addresses to chains.
const (
	egress4  = "egress4"
	egress6  = "egress6"
	ingress4 = "ingress4"
	ingress6 = "ingress6"
)

// closedCounter counts what is dropped from link-local addresses and from none.
const closedCounter = "link-local"

// Registers of one value.
const register = unix.NFT_REG_1

// sockBuffer is room for a transaction with tens of thousands of addresses, and for the kernel's answers.
const sockBuffer = 32 << 20

// largeBuffers makes a connection's buffers large.
func largeBuffers[C interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}](c C) error {
	return errors.Join(c.SetReadBuffer(sockBuffer), c.SetWriteBuffer(sockBuffer))
}

// policyTable describes the table and what is fixed in it.
type policyTable struct {
	table *nftables.Table
	maps  []*nftables.Set
	base  []*nftables.Chain
}

func (s system) policyTable() policyTable {
	t := policyTable{table: &nftables.Table{Family: nftables.TableFamilyINet, Name: s.policy}}
	for _, name := range []string{egress4, egress6, ingress4, ingress6} {
		key := nftables.TypeIPAddr
		if name == egress6 || name == ingress6 {
			key = nftables.TypeIP6Addr
		}
		t.maps = append(t.maps, &nftables.Set{Table: t.table, Name: name, KeyType: key, IsMap: true, DataType: nftables.TypeVerdict})
	}
	// Before Docker's and Berth's own rules of forwarding (iptables, priority 0): what is dropped here needs no further look.
	for _, c := range []struct {
		name string
		hook *nftables.ChainHook
		prio nftables.ChainPriority
	}{
		{fromForward, nftables.ChainHookForward, *nftables.ChainPriorityFilter - 10}, {fromInput, nftables.ChainHookInput, *nftables.ChainPriorityFilter - 10},
		{toForward, nftables.ChainHookForward, *nftables.ChainPriorityFilter - 9},
	} {
		t.base = append(t.base, &nftables.Chain{Table: t.table, Name: c.name, Type: nftables.ChainTypeFilter, Hooknum: c.hook, Priority: &c.prio})
	}
	return t
}

// isFixed says whether a chain is one of the fixed ones.
func (t policyTable) isFixed(name string) bool {
	return slices.ContainsFunc(t.base, func(c *nftables.Chain) bool { return c.Name == name })
}

// meta compares something that the kernel knows of the packet.
func meta(key expr.MetaKey, op expr.CmpOp, value ...byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: register}, &expr.Cmp{Op: op, Register: register, Data: value}}
}

// judged hands packets to the chain that the map has for the address.
func judged(m string, id uint32, family byte, offset, length uint32) []expr.Any {
	return append(meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, family),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Lookup{SourceRegister: register, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: m, SetID: id})
}

// baseRules are the rules of a fixed chain.
func (t policyTable) baseRules(chain string, closed bool) [][]expr.Any {
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	rules := [][]expr.Any{{ // what was allowed once goes on, with its answers and its errors
		&expr.Ct{Key: expr.CtKeySTATE, Register: register},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: make([]byte, 4)},
		accept,
	}}
	if chain == toForward {
		return append(rules, judged(ingress4, t.maps[2].ID, unix.NFPROTO_IPV4, 16, 4), judged(ingress6, t.maps[3].ID, unix.NFPROTO_IPV6, 24, 16))
	}
	if chain == fromInput {
		// Neighbour and listener discovery (RFC 4890, 4.4.1): without them there is no IPv6.
		for _, types := range [][2]byte{{130, 136}, {143, 143}} {
			rules = append(rules, append(meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, unix.IPPROTO_ICMPV6),
				&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
				&expr.Range{Op: expr.CmpOpEq, Register: register, FromData: types[:1], ToData: types[1:]}, accept))
		}
		if closed {
			rules = append(rules, closedTo([]byte{0xff, 0xc0}, []byte{0xfe, 0x80}), closedTo(slices.Repeat([]byte{0xff}, 16), make([]byte, 16)))
		}
	}
	return append(rules, judged(egress4, t.maps[0].ID, unix.NFPROTO_IPV4, 12, 4), judged(egress6, t.maps[1].ID, unix.NFPROTO_IPV6, 8, 16))
}

// closedTo drops what containers send from the IPv6 addresses that begin so: link-local ones and the unspecified one, which the guard
// against spoofing lets through for the sake of discovery.
func closedTo(mask, begin []byte) []expr.Any {
	size := uint32(len(mask))
	return slices.Concat(
		meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, []byte(hostnet.LinkPrefix)...), meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, unix.NFPROTO_IPV6),
		[]expr.Any{
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: size},
			&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: size, Mask: mask, Xor: make([]byte, size)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: begin},
			&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: closedCounter}, &expr.Verdict{Kind: expr.VerdictDrop},
		})
}

// baseMark is what the rules of the fixed chains carry.
func baseMark(chain string, n int, closed bool) []byte {
	return fmt.Appendf(nil, "%s%s %d %v", policyVersion, chain, n, closed)
}

// ruleExprs are a rule as the kernel takes it.
func ruleExprs(r hostnet.FilterRule, sets map[string]uint32) []expr.Any {
	var out []expr.Any
	for _, m := range r.Matches {
		out = append(out, matchExprs(m, sets)...)
	}
	if r.Counter != "" {
		out = append(out, &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: r.Counter})
	}
	switch r.Verdict {
	case hostnet.Accept:
		return append(out, &expr.Verdict{Kind: expr.VerdictAccept})
	case hostnet.Enter:
		return append(out, &expr.Verdict{Kind: expr.VerdictJump, Chain: r.Chain})
	}
	return append(out, &expr.Verdict{Kind: expr.VerdictDrop})
}

// matchExprs are one condition. Those on addresses and ports stand behind those on family and protocol, which say where in the packet
// they are.
func matchExprs(m hostnet.Match, sets map[string]uint32) []expr.Any {
	op := expr.CmpOpEq
	if m.Not {
		op = expr.CmpOpNeq
	}
	payload := func(base expr.PayloadBase, offset, length uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
	}
	lookup := &expr.Lookup{SourceRegister: register, SetName: m.Set, SetID: sets[m.Set], Invert: m.Not}
	switch m.Field {
	case hostnet.PacketFamily:
		family := byte(unix.NFPROTO_IPV4)
		if m.Value == uint16(hostnet.IPv6) {
			family = unix.NFPROTO_IPV6
		}
		return meta(expr.MetaKeyNFPROTO, op, family)
	case hostnet.Protocol:
		return meta(expr.MetaKeyL4PROTO, op, byte(m.Value))
	case hostnet.ICMPType:
		return []expr.Any{payload(expr.PayloadBaseTransportHeader, 0, 1), &expr.Cmp{Op: op, Register: register, Data: []byte{byte(m.Value)}}}
	case hostnet.ICMPCode:
		return []expr.Any{payload(expr.PayloadBaseTransportHeader, 0, 2), &expr.Cmp{Op: op, Register: register, Data: binary.BigEndian.AppendUint16(nil, m.Value)}}
	case hostnet.SourceAddress, hostnet.DestinationAddress:
		return append(addressPayload(m), lookup)
	case hostnet.SourcePort:
		return []expr.Any{payload(expr.PayloadBaseTransportHeader, 0, 2), lookup}
	}
	return []expr.Any{payload(expr.PayloadBaseTransportHeader, 2, 2), lookup} // the destination port
}

func addressPayload(m hostnet.Match) []expr.Any {
	p := &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	if m.Family == hostnet.IPv6 {
		p.Offset, p.Len = 8, 16
	}
	if m.Field == hostnet.DestinationAddress {
		p.Offset += p.Len
	}
	return []expr.Any{p}
}

func openPolicies() (*nftables.Conn, error) {
	c, err := nftables.New(nftables.WithSockOptions(largeBuffers))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, nil
}

// changePolicies does all of the change in one transaction.
func (s system) changePolicies(c policyChange) error {
	conn, err := openPolicies()
	if err != nil {
		return err
	}
	t := s.policyTable()
	if c.remove {
		conn.AddTable(t.table) // so that removing it does not fail
		conn.DelTable(t.table)
	}
	if c.anew {
		if err := t.make(conn); err != nil {
			return err
		}
	}
	sets := map[string]uint32{}
	for _, set := range c.sets {
		id, err := t.changeSet(conn, set)
		if err != nil {
			return fmt.Errorf("change set %s: %w", set.Name, err)
		}
		sets[set.Name] = id
	}
	for _, name := range c.counters {
		conn.AddObj(t.counter(name))
	}
	for _, ch := range c.chains { // all of them first, as they name each other
		conn.AddChain(&nftables.Chain{Table: t.table, Name: ch.Name})
	}
	for _, ch := range c.chains {
		chain := &nftables.Chain{Table: t.table, Name: ch.Name}
		conn.FlushChain(chain)
		for i, mark := range ruleMarks(ch) {
			conn.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: ruleExprs(ch.Rules[i], sets), UserData: []byte(mark)})
		}
	}
	for i, e := range []entryChange{c.egress, c.ingress} {
		if err := t.changeEntries(conn, t.maps[2*i], t.maps[2*i+1], e); err != nil {
			return fmt.Errorf("change which containers are judged: %w", err)
		}
	}
	if c.close != nil {
		for _, chain := range t.base {
			conn.FlushChain(chain)
			for n, r := range t.baseRules(chain.Name, *c.close) {
				conn.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: r, UserData: baseMark(chain.Name, n, *c.close)})
			}
		}
	}
	for _, name := range c.oldChains {
		conn.FlushChain(&nftables.Chain{Table: t.table, Name: name}) // they name each other, sets and counters
	}
	for _, name := range c.oldChains {
		conn.DelChain(&nftables.Chain{Table: t.table, Name: name})
	}
	for _, name := range c.oldSets {
		conn.DelSet(&nftables.Set{Table: t.table, Name: name})
	}
	for _, name := range c.oldCounters {
		conn.DeleteObject(t.counter(name))
	}
	return conn.Flush()
}

func (t policyTable) counter(name string) *nftables.NamedObj {
	return &nftables.NamedObj{Table: t.table, Name: name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}}
}

// make makes the table with its maps and its fixed chains, which are empty yet.
func (t policyTable) make(conn *nftables.Conn) error {
	conn.AddTable(t.table)
	conn.AddObj(t.counter(closedCounter))
	for _, m := range t.maps {
		if err := conn.AddSet(m, nil); err != nil {
			return fmt.Errorf("make map %s: %w", m.Name, err)
		}
	}
	for _, chain := range t.base {
		conn.AddChain(chain)
	}
	return nil
}

// changeSet gives the id by which rules of the same transaction know a new set.
func (t policyTable) changeSet(conn *nftables.Conn, c setChange) (uint32, error) {
	set := &nftables.Set{Table: t.table, Name: c.Name, Interval: true}
	switch c.Family {
	case hostnet.IPv4:
		set.KeyType = nftables.TypeIPAddr
	case hostnet.IPv6:
		set.KeyType = nftables.TypeIP6Addr
	default:
		set.KeyType = nftables.TypeInetService
	}
	if c.make {
		if err := conn.AddSet(set, nil); err != nil {
			return 0, err
		}
	}
	for part := range slices.Chunk(intervals(c.fewer), atOnce) {
		if err := conn.SetDeleteElements(set, part); err != nil {
			return 0, err
		}
	}
	for part := range slices.Chunk(intervals(c.FilterSet), atOnce) {
		if err := conn.SetAddElements(set, part); err != nil {
			return 0, err
		}
	}
	return set.ID, nil
}

// intervals are the ranges as the kernel keeps them: where each begins, and where it has ended. The last possible one has no end.
func intervals(s hostnet.FilterSet) []nftables.SetElement {
	var out []nftables.SetElement
	for _, r := range s.Addresses {
		out = append(out, nftables.SetElement{Key: r.From.AsSlice()})
		if end := r.To.Next(); end.IsValid() {
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	for _, p := range s.Ports {
		out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, p.From)})
		if p.To < math.MaxUint16 {
			out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, p.To+1), IntervalEnd: true})
		}
	}
	return out
}

// fromIntervals reads what intervals made.
func fromIntervals(name string, key nftables.SetDatatype, elements []nftables.SetElement) hostnet.FilterSet {
	out := hostnet.FilterSet{Name: name}
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		if d := bytes.Compare(a.Key, b.Key); d != 0 {
			return d
		}
		if a.IntervalEnd { // one range ends where the next begins
			return -1
		}
		return 1
	})
	for i, e := range elements {
		if e.IntervalEnd {
			continue
		}
		var end []byte // nil: the last possible one
		if i+1 < len(elements) && elements[i+1].IntervalEnd {
			end = elements[i+1].Key
		}
		if key.Name == nftables.TypeInetService.Name {
			p := spec.PolicyPorts{From: binary.BigEndian.Uint16(e.Key), To: math.MaxUint16}
			if end != nil {
				p.To = binary.BigEndian.Uint16(end) - 1
			}
			out.Ports = append(out.Ports, p)
			continue
		}
		from, _ := netip.AddrFromSlice(e.Key)
		r := spec.AddressRange{From: from, To: spec.RangeOf(netip.PrefixFrom(from, 0)).To}
		if to, ok := netip.AddrFromSlice(end); ok {
			r.To = to.Prev()
		}
		if out.Family = hostnet.IPv4; from.Is6() {
			out.Family = hostnet.IPv6
		}
		out.Addresses = append(out.Addresses, r)
	}
	return out
}

// changeEntries changes which chain judges which address. The chain's name is in the element's comment, too: the library does not
// read verdicts.
func (t policyTable) changeEntries(conn *nftables.Conn, four, six *nftables.Set, c entryChange) error {
	elements := func(of map[netip.Addr]string, six bool) []nftables.SetElement {
		var out []nftables.SetElement
		for a, chain := range of {
			if a.Is6() == six {
				out = append(out, nftables.SetElement{Key: a.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}, Comment: chain})
			}
		}
		return out
	}
	for _, m := range []*nftables.Set{four, six} {
		for part := range slices.Chunk(elements(c.fewer, m == six), atOnce) {
			if err := conn.SetDeleteElements(m, part); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(elements(c.more, m == six), atOnce) {
			if err := conn.SetAddElements(m, part); err != nil {
				return err
			}
		}
	}
	return nil
}
