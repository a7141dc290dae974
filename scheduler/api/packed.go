package api

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// packer makes one gzip member out of pieces that were compressed apart. A deflate stream is a row of blocks; a piece ends at
// a byte's border, refers to nothing outside of itself and never has the mark of the last block, so pieces can stand behind
// each other in any order (RFC 1951). Only the check sum at the end is made anew for each answer.
type packer struct{ w *flate.Writer }

// gzipHead is the head of a member without a name and a time (RFC 1952); 255: of an unknown system.
const gzipHead = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// lastBlock is an empty block with the mark of the last one.
const lastBlock = "\x03\x00"

type packing struct {
	to     *answer
	pack   *packer
	sum    uint32
	length uint32
}

func (p *packer) begin(to *answer) *packing {
	to.add([]byte(gzipHead))
	return &packing{to: to, pack: p}
}

func (p *packing) add(x *part, bare bool) {
	raw, packed := x.raw, &x.packed
	if bare {
		raw, packed = x.raw[1:], &x.bare
	}
	if *packed == nil {
		*packed = p.pack.deflate(raw)
	}
	p.to.add(*packed)
	p.sum = crc32.Update(p.sum, crc32.IEEETable, raw)
	p.length += uint32(len(raw))
}

func (p *packing) end() {
	tail := binary.LittleEndian.AppendUint32([]byte(lastBlock), p.sum)
	p.to.add(binary.LittleEndian.AppendUint32(tail, p.length))
}

// deflate compresses a piece by itself. A buffer never fails.
func (p *packer) deflate(raw []byte) []byte {
	var buf bytes.Buffer
	if p.w == nil {
		p.w, _ = flate.NewWriter(&buf, flate.BestSpeed) // fails only for an unknown level
	} else {
		p.w.Reset(&buf)
	}
	_, _ = p.w.Write(raw)
	_ = p.w.Flush()
	return bytes.Clone(buf.Bytes())
}
