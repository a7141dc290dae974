// Package zbxd is Zabbix's wire protocol: frames of the letters ZBXD, flags and a length, as agents, servers and senders
// exchange them, and what is in the frames of passive checks, as both Zabbix 6.0 and 7.0 ask them. Bytes come in, requests
// and bytes go out; connections and their times are the caller's.
package zbxd

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	magic = "ZBXD"

	// The flags of a frame.
	flagProtocol   = 0x01 // always set
	flagCompressed = 0x02 // the data are zlib's
	flagLarge      = 0x04 // the two lengths have eight bytes instead of four

	// HeaderSize is that of a frame that is not large.
	HeaderSize = len(magic) + 1 + 4 + 4
	largeSize  = len(magic) + 1 + 8 + 8
)

// ErrNoFrame is what Read says of bytes that do not begin as a frame does.
var ErrNoFrame = errors.New("the data do not begin with " + magic)

// Read reads one frame whose data have at most limit bytes, also when they come compressed.
func Read(r io.Reader, limit int) ([]byte, error) {
	var head [largeSize]byte
	if _, err := io.ReadFull(r, head[:HeaderSize]); err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	if string(head[:len(magic)]) != magic {
		return nil, ErrNoFrame
	}
	flags := head[len(magic)]
	if flags&flagProtocol == 0 || flags&^(flagProtocol|flagCompressed|flagLarge) != 0 {
		return nil, fmt.Errorf("the header has unknown flags %#02x", flags)
	}
	size, whole := lengths(head[:], false)
	if flags&flagLarge != 0 {
		if _, err := io.ReadFull(r, head[HeaderSize:]); err != nil {
			return nil, fmt.Errorf("read the large header: %w", err)
		}
		size, whole = lengths(head[:], true)
	}
	if size > uint64(limit) {
		return nil, fmt.Errorf("the data have %d bytes, at most %d are taken", size, limit)
	}
	if flags&flagCompressed != 0 && whole > uint64(limit) {
		return nil, fmt.Errorf("the data have %d bytes when unpacked, at most %d are taken", whole, limit)
	}
	data, err := body(r, int(size))
	if err != nil {
		return nil, fmt.Errorf("read %d bytes of data: %w", size, err)
	}
	if flags&flagCompressed == 0 {
		return data, nil
	}
	return unpack(data, int(whole))
}

// lengths are those of the data and, of compressed data, when unpacked.
func lengths(head []byte, large bool) (size, whole uint64) {
	at := len(magic) + 1
	if large {
		return binary.LittleEndian.Uint64(head[at:]), binary.LittleEndian.Uint64(head[at+8:])
	}
	return uint64(binary.LittleEndian.Uint32(head[at:])), uint64(binary.LittleEndian.Uint32(head[at+4:]))
}

// body reads size bytes. It takes memory for what comes and not for what was announced.
func body(r io.Reader, size int) ([]byte, error) {
	const trusted = 64 << 10
	if size <= trusted {
		data := make([]byte, size)
		_, err := io.ReadFull(r, data)
		return data, err
	}
	var b bytes.Buffer
	b.Grow(trusted)
	n, err := io.Copy(&b, io.LimitReader(r, int64(size)))
	if err == nil && n < int64(size) {
		err = io.ErrUnexpectedEOF
	}
	return b.Bytes(), err
}

// unpack gives compressed data back, which must have exactly the announced size.
func unpack(data []byte, size int) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpack the data: %w", err)
	}
	out, err := body(z, size)
	if err != nil {
		return nil, fmt.Errorf("unpack the data: %w", err)
	}
	var more [1]byte
	if n, err := io.ReadFull(z, more[:]); n > 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the data have more than the announced %d bytes when unpacked, or are damaged", size)
	}
	return out, nil
}

// Append appends data as a frame. They are never compressed: no agent or sender must be able to unpack them.
func Append(dst, data []byte) []byte {
	dst = append(dst, magic...)
	if uint64(len(data)) > math.MaxUint32 {
		dst = append(dst, flagProtocol|flagLarge)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(len(data)))
		dst = binary.LittleEndian.AppendUint64(dst, 0)
		return append(dst, data...)
	}
	dst = append(dst, flagProtocol)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(data)))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	return append(dst, data...)
}

// Frame is data as a frame.
func Frame(data []byte) []byte { return Append(make([]byte, 0, largeSize+len(data)), data) }
