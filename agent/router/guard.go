package router

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
)

// The guard against spoofing: a packet from a container's link passes when link, hardware address and source address are
// together in a set; everything else from such a link is dropped, also from one that no set knows (yet). Two tables are
// needed, as ARP has a family of its own. The rules never change while containers come and go, only the sets do.
const (
	guardChain = "antispoof"
	senders4   = "senders4" // link . MAC . IPv4 address
	senders6   = "senders6" // link . MAC . IPv6 address
	spoofed    = "spoofed"  // link -> how many packets were dropped lately
)

// guardVersion is part of each rule's mark, so that rules of another version of Berth are replaced.
const guardVersion = "berth antispoof 1."

// spoofedFor is how long a link's counter is shown after its last dropped packet, in milliseconds.
const spoofedFor = 24 * 60 * 60 * 1000

// Registers of the key: 16 bytes of the link's name, 8 for the hardware address, then the address.
const (
	linkRegister    = unix.NFT_REG32_00
	macRegister     = linkRegister + 4
	addressRegister = macRegister + 2
)

// guard is one of the two tables.
type guard struct {
	table *nftables.Table
	chain *nftables.Chain
	sets  []*nftables.Set
	count *nftables.Set
}

// guards describe the tables for the name.
func guards(name string) []guard {
	inet := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	arp := &nftables.Table{Family: nftables.TableFamilyARP, Name: name}
	four := nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr)
	six := nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIP6Addr)
	set := func(t *nftables.Table, name string, key nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{Table: t, Name: name, KeyType: key, Concatenation: true}
	}
	count := func(t *nftables.Table) *nftables.Set {
		return &nftables.Set{Table: t, Name: spoofed, KeyType: nftables.TypeIFName, Dynamic: true, HasTimeout: true, Timeout: spoofedFor * 1e6, Size: 65535}
	}
	return []guard{
		{
			table: inet, sets: []*nftables.Set{set(inet, senders4, four), set(inet, senders6, six)}, count: count(inet),
			// Before connection tracking: what is dropped leaves no trace there.
			chain: &nftables.Chain{Table: inet, Name: guardChain, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw},
		},
		{
			table: arp, sets: []*nftables.Set{set(arp, senders4, four)}, count: count(arp),
			// The hook "input", which for ARP is number 0.
			chain: &nftables.Chain{Table: arp, Name: guardChain, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityFilter},
		},
	}
}

// rules are the table's rules, in order.
func (g guard) rules() [][]expr.Any {
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	theirs := []expr.Any{ // not from a container's link
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: linkRegister},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: linkRegister, Data: []byte(hostnet.LinkPrefix)},
		accept,
	}
	drop := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: linkRegister},
		&expr.Dynset{SrcRegKey: linkRegister, SetName: spoofed, SetID: g.count.ID, Operation: uint32(unix.NFT_DYNSET_OP_UPDATE), Exprs: []expr.Any{&expr.Counter{}}},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
	if g.table.Family == nftables.TableFamilyARP {
		// The frame's sender and the one that the ARP message names must both be the container. Offsets are those of ARP for
		// IPv4 over Ethernet, which the first eight bytes less the operation say it is.
		known := slices.Concat(
			[]expr.Any{
				&expr.Payload{DestRegister: linkRegister, Base: expr.PayloadBaseNetworkHeader, Offset: 0, Len: 6},
				&expr.Cmp{Op: expr.CmpOpEq, Register: linkRegister, Data: []byte{0, 1, 8, 0, 6, 4}},
			},
			from(expr.PayloadBaseLLHeader, 6, 14, 4, g.sets[0]), from(expr.PayloadBaseNetworkHeader, 8, 14, 4, g.sets[0]), []expr.Any{accept},
		)
		return [][]expr.Any{theirs, known, drop}
	}
	family := func(f byte) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: linkRegister},
			&expr.Cmp{Op: expr.CmpOpEq, Register: linkRegister, Data: []byte{f}},
		}
	}
	four := slices.Concat(family(unix.NFPROTO_IPV4), from(expr.PayloadBaseLLHeader, 6, 12, 4, g.sets[0]), []expr.Any{accept})
	six := slices.Concat(family(unix.NFPROTO_IPV6), from(expr.PayloadBaseLLHeader, 6, 8, 16, g.sets[1]), []expr.Any{accept})
	return [][]expr.Any{theirs, four, six, drop}
}

// from matches when link, hardware address and address are together in the set.
func from(macBase expr.PayloadBase, macOffset, offset, length uint32, set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: linkRegister},
		&expr.Payload{DestRegister: macRegister, Base: macBase, Offset: macOffset, Len: 6},
		&expr.Payload{DestRegister: addressRegister, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Lookup{SourceRegister: linkRegister, SetName: set.Name, SetID: set.ID},
	}
}

// mark is what rule n of a guard carries.
func mark(n int) []byte { return fmt.Appendf(nil, "%s%d", guardVersion, n) }

// lookGuard says whether all rules are in their place, and who may send.
func lookGuard(name string) (whole bool, found map[sender]bool, err error) {
	c, err := nftables.New()
	if err != nil {
		return false, nil, fmt.Errorf("open nftables: %w", err)
	}
	whole, found = true, map[sender]bool{}
	for i, g := range guards(name) {
		ok, err := lookTable(c, g, i == 0, found)
		if err != nil {
			return false, nil, err
		}
		whole = whole && ok
	}
	return whole, found, nil
}

// lookTable looks at one table. The senders of the first are taken for both: they are always changed together.
func lookTable(c *nftables.Conn, g guard, collect bool, found map[sender]bool) (bool, error) {
	if _, err := c.ListTableOfFamily(g.table.Name, g.table.Family); err != nil {
		return false, nil // the library has no error of its own for "there is none"
	}
	rules, err := c.GetRules(g.table, g.chain)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("list rules against spoofing: %w", err)
	}
	want := g.rules()
	whole := len(rules) == len(want)
	for i, r := range rules {
		whole = whole && bytes.Equal(r.UserData, mark(i))
	}
	for _, s := range append(slices.Clone(g.sets), g.count) {
		have, err := c.GetSetByName(g.table, s.Name)
		if err != nil {
			return false, nil
		}
		if !collect || s == g.count {
			continue
		}
		elements, err := c.GetSetElements(have)
		if err != nil {
			return false, fmt.Errorf("list senders: %w", err)
		}
		for _, e := range elements {
			if who, ok := decodeSender(e.Key); ok {
				found[who] = true
			}
		}
	}
	return whole, nil
}

// atOnce is how many elements fit one message with room to spare.
const atOnce = 500

// makeGuard makes everything anew in one transaction: nothing passes unchecked in between. Senders that there were stay.
func (s system) makeGuard() error {
	_, have, err := lookGuard(s.table)
	if err != nil {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	for _, g := range guards(s.table) {
		c.AddTable(g.table)
		c.DelTable(g.table)
		c.AddTable(g.table)
		c.AddChain(g.chain)
		for _, set := range append(slices.Clone(g.sets), g.count) {
			if err := c.AddSet(set, nil); err != nil {
				return fmt.Errorf("make set %s: %w", set.Name, err)
			}
		}
		for i, r := range g.rules() {
			c.AddRule(&nftables.Rule{Table: g.table, Chain: g.chain, Exprs: r, UserData: mark(i)})
		}
		who := make([]sender, 0, len(have))
		for w := range have {
			who = append(who, w)
		}
		if err := g.elements(who, c.SetAddElements); err != nil {
			return err
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("make the guard against spoofing: %w", err)
	}
	return nil
}

// hasGuard says whether there is any of it.
func (s system) hasGuard() (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return false, fmt.Errorf("list nftables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == s.table }), nil
}

func (s system) removeGuard() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	for _, g := range guards(s.table) {
		c.AddTable(g.table) // so that removing it does not fail
		c.DelTable(g.table)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove the guard against spoofing: %w", err)
	}
	return nil
}

func (s system) addSenders(who []sender) error {
	return s.change(who, (*nftables.Conn).SetAddElements)
}

func (s system) removeSenders(who []sender) error {
	return s.change(who, (*nftables.Conn).SetDeleteElements)
}

// change adds or removes senders in both tables, in one transaction.
func (s system) change(who []sender, do func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	for _, g := range guards(s.table) {
		if err := g.elements(who, func(set *nftables.Set, e []nftables.SetElement) error { return do(c, set, e) }); err != nil {
			return err
		}
	}
	return c.Flush()
}

// elements hands each set its elements.
func (g guard) elements(who []sender, do func(*nftables.Set, []nftables.SetElement) error) error {
	for i, set := range g.sets {
		var es []nftables.SetElement
		for _, w := range who {
			if w.address.Is6() == (i == 1) {
				key, err := w.key()
				if err != nil {
					return err
				}
				es = append(es, nftables.SetElement{Key: key})
			}
		}
		for part := range slices.Chunk(es, atOnce) {
			if err := do(set, part); err != nil {
				return fmt.Errorf("change set %s: %w", set.Name, err)
			}
		}
	}
	return nil
}

// key is the sender as the registers hold it.
func (w sender) key() ([]byte, error) {
	mac, err := net.ParseMAC(w.mac)
	if err != nil || len(mac) != 6 || len(w.link) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("name sender: %q with %q on link %q cannot be", w.address, w.mac, w.link)
	}
	key := make([]byte, unix.IFNAMSIZ+8, unix.IFNAMSIZ+8+16)
	copy(key, w.link)
	copy(key[unix.IFNAMSIZ:], mac)
	return append(key, w.address.AsSlice()...), nil
}

func decodeSender(key []byte) (sender, bool) {
	if len(key) < unix.IFNAMSIZ+8 {
		return sender{}, false
	}
	a, ok := netip.AddrFromSlice(key[unix.IFNAMSIZ+8:])
	return sender{link: binaryutil.String(key[:unix.IFNAMSIZ]), mac: net.HardwareAddr(key[unix.IFNAMSIZ : unix.IFNAMSIZ+6]).String(), address: a}, ok
}

// Spoofed says how many packets of each link were dropped because they named another sender. A link's count begins anew
// when it has been honest for a day.
func (r *Router) Spoofed() (map[string]uint64, error) { return r.kernel.spoofed() }

func (s system) spoofed() (map[string]uint64, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	out := map[string]uint64{}
	for _, g := range guards(s.table) {
		if _, err := c.ListTableOfFamily(g.table.Name, g.table.Family); err != nil {
			continue // no guard was made yet
		}
		elements, err := c.GetSetElements(g.count)
		if err != nil {
			return nil, fmt.Errorf("read how many packets were dropped: %w", err)
		}
		for _, e := range elements {
			if e.Counter != nil {
				out[binaryutil.String(e.Key)] += e.Counter.Packets
			}
		}
	}
	return out, nil
}
