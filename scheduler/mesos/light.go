package mesos

import (
	"encoding/binary"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// The numbers of fields in Mesos's protobufs (include/mesos/v1/scheduler/scheduler.proto and mesos.proto).
const (
	eventType    = 1
	eventUpdate  = 5
	updateStatus = 1
	statusData   = 3
)

// updateOf decodes an UPDATE in protobuf form without its `data`: that is the output of docker inspect, 11 KB of the record's 12, which
// nobody reads but the generated decoder would copy. It changes the record. ok is false, and the record as it was, when the record is
// anything else, or an update that is not put together as masters do: the generated decoder is for those.
func updateOf(record []byte) (e *scheduler.Event, ok bool, err error) {
	kind, update := uint64(0), []byte(nil)
	for rest := record; len(rest) > 0; {
		f, ok := nextField(rest)
		switch {
		case ok && f.number == eventType && f.content == nil:
			kind = f.value
		case ok && f.number == eventUpdate && f.content != nil && update == nil:
			update = f.content
		default:
			return nil, false, nil
		}
		rest = rest[f.size:]
	}
	status, ok := nextField(update)
	if !ok || kind != uint64(scheduler.Event_UPDATE) || status.number != updateStatus || status.content == nil || status.size != len(update) {
		return nil, false, nil
	}
	e = &scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{}}
	return e, true, e.Update.Status.Unmarshal(withoutData(status.content))
}

// withoutData moves what is before a status's `data`, which is little, to what is behind it.
func withoutData(status []byte) []byte {
	for at := 0; at < len(status); {
		f, ok := nextField(status[at:])
		if !ok {
			break
		}
		if f.number == statusData {
			copy(status[f.size:], status[:at])
			return status[f.size:]
		}
		at += f.size
	}
	return status
}

// wireField is one field of an encoded message.
type wireField struct {
	number, size int // with its key
	value        uint64
	content      []byte // not nil: of one with a length
}

// nextField reads the field that a message begins with; false when there is none that can be read.
func nextField(msg []byte) (f wireField, ok bool) {
	key, n := binary.Uvarint(msg)
	if n <= 0 || key>>3 == 0 || key>>3 > 1<<29-1 {
		return f, false
	}
	f.number, f.size = int(key>>3), n
	switch key & 7 {
	case 0:
		f.value, n = binary.Uvarint(msg[f.size:])
		if n <= 0 {
			return f, false
		}
		f.size += n
	case 1:
		f.size += 8
	case 2:
		length, n := binary.Uvarint(msg[f.size:])
		if n <= 0 || length > uint64(len(msg)-f.size-n) {
			return f, false
		}
		f.size += n
		f.content = msg[f.size : f.size+int(length) : f.size+int(length)]
		f.size += int(length)
	case 5:
		f.size += 4
	default:
		return f, false
	}
	return f, f.size <= len(msg)
}
