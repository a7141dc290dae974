// Package push sends a host's figures to a StatsD or a Graphite server, once a measurement, under the names of package series:
//
//	berth.instances.prod.web.0.container_cpu_usage_seconds_total       an app's seat, wherever it runs
//	berth.containers.HOST.redis.0.container_memory_rss_bytes           a container that is nobody's seat
//	berth.instances.prod.web.0.container_network_receive_bytes_total.eth0
//	berth.hosts.HOST.load1
//
// A server that is slow or away costs nothing but its own figures: what could not be sent before the next measurement is left out.
package push

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/series"
)

// Protocol is how figures are sent.
type Protocol string

// The protocols.
const (
	StatsD   Protocol = "StatsD"   // UDP, every figure as a gauge: counters are shown as they are
	Graphite Protocol = "Graphite" // TCP, the plain text protocol
)

const (
	dialTimeout = 5 * time.Second
	sendTimeout = 10 * time.Second // for all of one measurement
	maxPacket   = 1400             // bytes of a datagram; fits an Ethernet frame
	pace        = time.Millisecond // between datagrams, as what arrives in a burst is dropped
)

// Newest gives the newest snapshot, and a channel that closes when it is no longer the newest.
type Newest func() (*figures.Snapshot, <-chan struct{})

// Options of Run; all but Dial are needed.
type Options struct {
	Protocol Protocol
	Address  string // HOST:PORT
	Newest   Newest
	Log      logrus.FieldLogger
}

// Run sends every measurement until ctx ends. A trouble is logged when it begins and when it is over.
func Run(ctx context.Context, o Options) error {
	s := sender{Options: o, log: o.Log.WithFields(logrus.Fields{"output": string(o.Protocol), "address": o.Address})}
	defer s.disconnect()
	var sent time.Time
	for {
		snapshot, changed := o.Newest()
		if snapshot.At.After(sent) {
			sent = snapshot.At
			s.tell(s.send(ctx, snapshot))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

type sender struct {
	Options
	log    logrus.FieldLogger
	conn   net.Conn
	buf    []byte
	failed bool
}

func (s *sender) tell(err error) {
	switch {
	case err != nil && !s.failed:
		s.log.WithError(err).Warn("Cannot send figures; each measurement is tried once")
	case err == nil && s.failed:
		s.log.Info("Figures are sent again")
	}
	s.failed = err != nil
}

// send sends one measurement. A connection that fails is made anew with the next.
func (s *sender) send(ctx context.Context, snapshot *figures.Snapshot) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	conn := s.conn
	release := context.AfterFunc(ctx, func() { conn.Close() }) // so that the end need not wait for a server that is slow
	err := conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	if err == nil {
		if s.Protocol == StatsD {
			err = s.datagrams(ctx, snapshot)
		} else {
			s.buf = Lines(s.buf[:0], Graphite, snapshot)
			_, err = conn.Write(s.buf)
		}
	}
	release()
	if err != nil && ctx.Err() == nil {
		s.disconnect()
		s.conn = nil
		return fmt.Errorf("send to %s %s: %w", s.Protocol, s.Address, err)
	}
	return nil
}

func (s *sender) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	network := "tcp"
	if s.Protocol == StatsD {
		network = "udp"
	}
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, network, s.Address)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.Protocol, err)
	}
	s.conn = c
	return nil
}

func (s *sender) disconnect() {
	if s.conn != nil {
		s.conn.Close()
	}
}

// datagrams sends as many whole lines in each as fit.
func (s *sender) datagrams(ctx context.Context, snapshot *figures.Snapshot) error {
	s.buf = Lines(s.buf[:0], StatsD, snapshot)
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for rest := s.buf; len(rest) > 0; {
		var packet []byte
		packet, rest = cut(rest)
		if _, err := s.conn.Write(packet); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	return nil
}

// cut takes whole lines that fit into a datagram, without the last line's end.
func cut(lines []byte) (packet, rest []byte) {
	if len(lines) <= maxPacket {
		return lines[:len(lines)-1], nil
	}
	end := strings.LastIndexByte(string(lines[:maxPacket]), '\n')
	if end < 0 { // no line is that long; so that this ends in any case
		return nil, nil
	}
	return lines[:end], lines[end+1:]
}

// Lines appends all figures of a snapshot, a line each. What only has labels to tell is left out.
func Lines(dst []byte, p Protocol, s *figures.Snapshot) []byte {
	paths := make(map[*figures.Instance]string, len(s.Instances)+1)
	host := word(s.Host.Name)
	paths[nil] = "berth.hosts." + host + "."
	for n := range s.Instances {
		paths[&s.Instances[n]] = path(&s.Instances[n], host)
	}
	at := strconv.FormatInt(s.At.Unix(), 10)
	for _, f := range series.Families() {
		if f.Kind == series.Info {
			continue
		}
		name := strings.TrimPrefix(strings.TrimPrefix(f.Name, "berth_"), "host_")
		f.Each(s, func(i *figures.Instance, value float64, labels ...string) {
			if math.IsNaN(value) || math.IsInf(value, 0) {
				return
			}
			dst = append(append(dst, paths[i]...), name...)
			for _, label := range labels {
				dst = append(append(dst, '.'), word(label)...)
			}
			if p == StatsD {
				dst = strconv.AppendFloat(append(dst, ':'), value, 'f', -1, 64)
				dst = append(dst, "|g\n"...)
				return
			}
			dst = strconv.AppendFloat(append(dst, ' '), value, 'f', -1, 64)
			dst = append(append(append(dst, ' '), at...), '\n')
		})
	}
	return dst
}

// path is where an instance's figures are.
func path(i *figures.Instance, host string) string {
	var b strings.Builder
	if i.Managed {
		b.WriteString("berth.instances")
	} else {
		b.WriteString("berth.containers." + host)
	}
	for segment := range strings.SplitSeq(strings.Trim(i.App, "/"), "/") {
		b.WriteByte('.')
		b.WriteString(word(segment))
	}
	b.WriteByte('.')
	b.WriteString(strconv.Itoa(i.Seat))
	b.WriteByte('.')
	return b.String()
}

// maxWord bounds one part of a path; Graphite makes a folder's name of it.
const maxWord = 200

// word is a text as one part of a path.
func word(text string) string {
	if len(text) > maxWord {
		text = text[:maxWord]
	}
	if text == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, text)
}
