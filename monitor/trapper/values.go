package trapper

import (
	"slices"
	"time"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/monitor/zbxd"
	"github.com/berth-project/berth/spec"
)

// values are those of one sample: one for each seat whose task has its container here.
//
// A seat's history is one line, wherever the seat runs, so at any time one host only may write it. That is the host whose
// document gives the seat a task that runs there: the scheduler begins no second one before the first has ended or its host is
// given up. So what only waits for its container says nothing yet, as its predecessor may still run on another host. A seat whose
// address is taken from this host is another host's. Temporary seats are no hosts of Zabbix, and neither is what Berth has not placed.
func values(state spec.HostState, snap *figures.Snapshot, host string, table *zabbix.Table) []value {
	doc := state.Document
	tasks := make(map[string]*spec.HostSeat, len(doc.Seats))
	for i := range doc.Seats {
		tasks[doc.Seats[i].TaskID] = &doc.Seats[i]
	}
	var out []value
	for n := range snap.Instances {
		i := &snap.Instances[n]
		seat := tasks[i.Task]
		if !i.Managed || i.Started.IsZero() || seat == nil || seat.Temporary {
			continue
		}
		if seat.Address.IsValid() && slices.Contains(doc.Withdrawn, seat.Address) {
			continue
		}
		out = append(out, value{host: seat.Seat.ZabbixHost(doc.Cluster), at: snap.At, data: encode(i, host, table)})
	}
	return out
}

// encode is what one instance's trapper item gets: its figures, and what else of it changes in its life.
func encode(i *figures.Instance, host string, table *zabbix.Table) []byte {
	dst := []byte{'{'}
	for _, text := range [][2]string{{"host", host}, {"address", i.Address}, {"version", i.Version}, {"task", i.Task}} {
		dst = zbxd.AppendString(dst, []byte(text[0]))
		dst = append(zbxd.AppendString(append(dst, ':'), []byte(text[1])), ',')
	}
	begin := len(dst)
	dst = table.AppendInstance(dst, i)
	return slices.Delete(dst, begin, begin+1) // its own brace
}

// queue holds what a server has not taken yet, oldest first, up to a number of bytes.
type queue struct {
	values []value
	bytes  int
	// sending is how many of the first are on their way.
	sending int
}

// push appends values, and drops the oldest, but not those on their way, when there is too much. It says how many.
func (q *queue) push(values []value, limit int) (dropped int) {
	q.values = append(q.values, values...)
	for i := range values {
		q.bytes += values[i].size()
	}
	for q.bytes > limit && len(q.values) > q.sending+dropped {
		q.bytes -= q.values[q.sending+dropped].size()
		dropped++
	}
	q.values = slices.Delete(q.values, q.sending, q.sending+dropped)
	return dropped
}

// take marks the oldest values as on their way, as many as a packet may have.
func (q *queue) take() []value {
	bytes := 0
	for q.sending < len(q.values) && q.sending < maxBatch {
		if bytes += q.values[q.sending].size(); bytes > maxPacket && q.sending > 0 {
			break
		}
		q.sending++
	}
	return slices.Clone(q.values[:q.sending])
}

// done ends what take began: the values have arrived, or stay.
func (q *queue) done(arrived bool) {
	if arrived {
		for i := range q.values[:q.sending] {
			q.bytes -= q.values[i].size()
		}
		q.values = slices.Delete(q.values, 0, q.sending)
	}
	q.sending = 0
}

// backoff is how long to wait after the n-th failure in a row, from 1.
func backoff(n int) time.Duration {
	return min(time.Second<<min(n-1, 6), time.Minute)
}
