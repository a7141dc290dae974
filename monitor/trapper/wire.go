package trapper

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/monitor/zbxd"
	"github.com/berth-project/berth/spec"
)

const (
	// maxBatch and maxPacket bound one packet; zabbix_sender sends as many values at a time.
	maxBatch  = 250
	maxPacket = 1 << 20
	maxAnswer = 64 << 10

	dialTimeout     = 5 * time.Second
	exchangeTimeout = 15 * time.Second
)

// value is one for the trapper item of a host of Zabbix's.
type value struct {
	host string
	at   time.Time
	data []byte // JSON; it never changes
}

// overhead is about what a value needs in a packet, and in the queue, beside its data.
const overhead = 200

func (v *value) size() int { return len(v.data) + len(v.host) + overhead }

// packet is the frame of some values.
func packet(values []value, now time.Time) []byte {
	size := 0
	for i := range values {
		size += values[i].size() + len(values[i].data)/8 // its quotes are escaped
	}
	dst := append(make([]byte, 0, size), `{"request":"sender data","data":[`...)
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = zbxd.AppendString(append(dst, `{"host":`...), []byte(v.host))
		dst = append(dst, `,"key":"`+spec.ZabbixFigures+`","value":`...)
		dst = zbxd.AppendString(dst, v.data)
		dst = appendClock(dst, v.at)
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	return zbxd.Frame(append(appendClock(dst, now), '}'))
}

func appendClock(dst []byte, at time.Time) []byte {
	dst = strconv.AppendInt(append(dst, `,"clock":`...), at.Unix(), 10)
	return strconv.AppendInt(append(dst, `,"ns":`...), int64(at.Nanosecond()), 10)
}

// answer is what became of a packet.
type answer struct{ processed, failed int }

// parseAnswer reads {"response":"success","info":"processed: 1; failed: 2; total: 3; seconds spent: 0.000055"}.
func parseAnswer(data []byte) (answer, error) {
	var in struct {
		Response string `json:"response"`
		Info     string `json:"info"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	if in.Response != "success" {
		return answer{}, fmt.Errorf("it answers %q: %.200s", in.Response, in.Info)
	}
	out := answer{-1, -1}
	for part := range strings.SplitSeq(in.Info, ";") {
		name, number, _ := strings.Cut(part, ":")
		n, err := strconv.Atoi(strings.TrimSpace(number))
		switch name = strings.TrimSpace(name); {
		case err != nil || n < 0: // the seconds
		case name == "processed":
			out.processed = n
		case name == "failed":
			out.failed = n
		}
	}
	if out.processed < 0 || out.failed < 0 {
		return answer{}, fmt.Errorf("the answer %.200q does not say how many values were taken", in.Info)
	}
	return out, nil
}

type dial = func(ctx context.Context, network, address string) (net.Conn, error)

// exchange sends one packet and reads the answer.
func exchange(ctx context.Context, dial dial, address string, frame []byte) (answer, error) {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := dial(dialing, "tcp", address)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	release := context.AfterFunc(ctx, func() { c.Close() })
	defer release()
	_ = c.SetDeadline(time.Now().Add(exchangeTimeout)) // a connection without deadlines is ended by ctx only
	if _, err := c.Write(frame); err != nil {
		return answer{}, fmt.Errorf("send to %s: %w", address, err)
	}
	data, err := zbxd.Read(c, maxAnswer)
	if err != nil {
		return answer{}, fmt.Errorf("no answer of %s (is this host among its allowed ones?): %w", address, err)
	}
	out, err := parseAnswer(data)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", address, err)
	}
	return out, nil
}
