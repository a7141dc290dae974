package place

import (
	"cmp"
	"slices"
	"strings"
)

// entry is a slot where the order holds it. What it is sorted by is a copy, so that a search stays within few lines of memory.
type entry struct {
	cpus, mem float64 // free
	tie       uint64  // a digest of the agent's id: hosts alike are taken in an order that does not depend on history
	slot      *slot
}

func (a entry) compare(b entry) int {
	switch {
	case a.cpus != b.cpus:
		return cmp.Compare(a.cpus, b.cpus)
	case a.mem != b.mem:
		return cmp.Compare(a.mem, b.mem)
	case a.tie != b.tie:
		return cmp.Compare(a.tie, b.tie)
	case a.slot == b.slot || a.slot == nil || b.slot == nil:
		return 0
	}
	return strings.Compare(a.slot.key, b.slot.key)
}

// order holds slots sorted by what they have free, the fullest first, in blocks: a change moves the entries of one block only,
// so it costs nearly the same for a thousand hosts and for fifty thousand.
type order struct {
	blocks []block
	n      int
}

// block is a stretch of the order. mem, disk and gpus are not less than what any slot in it has: a want of more skips it whole.
type block struct {
	entries         []entry
	mem, disk, gpus float64
	maintained      bool // for some a maintenance may be announced, or they are drained
}

const blockSize = 128

// find is where e is, or would be.
func (o *order) find(e entry) (b, i int, found bool) {
	lo, hi := 0, len(o.blocks) // the last block that does not begin after e
	for lo < hi {
		if mid := (lo + hi) / 2; o.blocks[mid].entries[0].compare(e) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	b = max(0, lo-1)
	if b >= len(o.blocks) {
		return b, 0, false
	}
	i, found = slices.BinarySearchFunc(o.blocks[b].entries, e, entry.compare)
	return b, i, found
}

func (o *order) add(s *slot) {
	e := s.entry()
	b, i, found := o.find(e)
	if found {
		return
	}
	o.n++
	if b == len(o.blocks) {
		o.blocks = append(o.blocks, block{entries: make([]entry, 0, 8)})
	}
	blk := &o.blocks[b]
	blk.entries = slices.Insert(blk.entries, i, e)
	blk.reach(s)
	if len(blk.entries) > blockSize {
		o.split(b)
	}
}

func (o *order) split(b int) {
	old := o.blocks[b].entries
	half := len(old) / 2
	right := block{entries: append(make([]entry, 0, blockSize+1), old[half:]...)}
	left := block{entries: old[:half:cap(old)]}
	clear(old[half:])
	for _, blk := range []*block{&left, &right} {
		for _, e := range blk.entries {
			blk.reach(e.slot)
		}
	}
	o.blocks[b] = left
	o.blocks = slices.Insert(o.blocks, b+1, right)
}

// remove takes out a slot, which must have the same resources free as when it was added.
func (o *order) remove(s *slot) bool {
	b, i, found := o.find(s.entry())
	if !found {
		return false
	}
	o.n--
	blk := &o.blocks[b]
	if blk.entries = slices.Delete(blk.entries, i, i+1); len(blk.entries) == 0 {
		o.blocks = slices.Delete(o.blocks, b, b+1)
	}
	return true
}

// reach raises the bounds to what the slot has.
func (b *block) reach(s *slot) {
	b.mem, b.disk, b.gpus = max(b.mem, s.free.Mem), max(b.disk, s.free.Disk), max(b.gpus, s.free.GPUs)
	b.maintained = b.maintained || !s.merged.Unavailable.From.IsZero() || s.host.drained != ""
}

// after calls f with the slots behind e in order until f says false. Blocks in which nobody has enough of what w wants are left out.
func (o *order) after(e entry, w want, f func(*slot) bool) {
	if len(o.blocks) == 0 {
		return
	}
	b, i, found := o.find(e)
	if found {
		i++
	}
	for ; b < len(o.blocks); b, i = b+1, 0 {
		blk := &o.blocks[b]
		if blk.mem+slack < w.mem || blk.disk+slack < w.disk || blk.gpus+slack < w.gpus {
			continue
		}
		for ; i < len(blk.entries); i++ {
			if !f(blk.entries[i].slot) {
				return
			}
		}
	}
}

// want is what an instance needs of a host.
type want struct{ cpus, mem, disk, gpus float64 }
