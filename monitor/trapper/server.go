package trapper

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// patience is how long values may be refused before somebody has to look: a host of Zabbix is there once the discovery has
// found it, which is done every minute or so, and the server has read its configuration.
const patience = 10 * time.Minute

// settled is how long nothing must have been refused until all is well.
const settled = 2 * time.Minute

// maxNamed bounds the names in a log line.
const maxNamed = 10

// server is what the loop knows of one server or proxy. Only the loop touches it; send works on what it is given.
type server struct {
	nodes Server
	node  int // that answered last
	log   logrus.FieldLogger
	queue queue

	busy     bool // a packet is on its way
	failures int  // in a row
	retryAt  time.Time
	dropped  int // since it has been away

	refusing  time.Time // since when values are refused; zero: they are taken
	refusedAt time.Time // the last time
	warned    bool      // it was said which
	single    bool      // the values on their way go one by one: to see which are refused
}

func newServer(s Server, log logrus.FieldLogger) *server {
	return &server{nodes: s, log: log.WithField("component", "trapper").WithField("zabbix", s.String())}
}

func (s *server) push(values []value, limit int) {
	s.dropped += s.queue.push(values, limit)
}

// batch is one packet's worth of values. Singly they are sent one by one.
type batch struct {
	values []value
	node   int
	singly bool
}

// next is what to send now, or when to ask again; neither: nothing before there is more.
func (s *server) next(now time.Time) (time.Time, *batch) {
	if s.busy || len(s.queue.values) == 0 {
		return time.Time{}, nil
	}
	if now.Before(s.retryAt) {
		return s.retryAt, nil
	}
	s.busy = true
	s.single = !s.warned && !s.refusing.IsZero() && now.Sub(s.refusing) >= patience
	return time.Time{}, &batch{values: s.queue.take(), node: s.node, singly: s.single}
}

// send gives the values to the node that answered last, or else to the others, and hands in what became of it.
func (s *server) send(ctx context.Context, dial dial, b *batch, results chan<- result) {
	r := result{to: s}
	for n := range s.nodes {
		r.node = (b.node + n) % len(s.nodes)
		if r.ans, r.refused, r.err = give(ctx, dial, s.nodes[r.node], b); r.err == nil {
			break
		}
	}
	select {
	case results <- r:
	case <-ctx.Done():
	}
}

func give(ctx context.Context, dial dial, address string, b *batch) (answer, []string, error) {
	if !b.singly {
		a, err := exchange(ctx, dial, address, packet(b.values, time.Now()))
		return a, nil, err
	}
	var sum answer
	var refused []string
	for i := range b.values {
		a, err := exchange(ctx, dial, address, packet(b.values[i:i+1], time.Now()))
		if err != nil {
			return sum, nil, err
		}
		sum.processed, sum.failed = sum.processed+a.processed, sum.failed+a.failed
		if a.failed > 0 {
			refused = append(refused, b.values[i].host)
		}
	}
	return sum, refused, nil
}

// ended takes in how an attempt ended, and says of what changed.
func (s *server) ended(r result, now time.Time) {
	s.busy = false
	s.queue.done(r.err == nil)
	if r.err != nil {
		s.failures++
		s.retryAt = now.Add(backoff(s.failures))
		if s.failures == 1 {
			s.log.WithError(r.err).Warn("cannot tell Zabbix of the instances; their values are kept for it")
		}
		return
	}
	if s.failures > 0 {
		s.log.WithField("lost", s.dropped).Info("Zabbix takes values again")
	}
	s.node, s.failures, s.dropped, s.retryAt = r.node, 0, 0, time.Time{}
	s.refused(r, now)
}

// refused says once that values are refused, and when that lasts, of which hosts.
func (s *server) refused(r result, now time.Time) {
	log := s.log.WithField("taken", r.ans.processed).WithField("refused", r.ans.failed)
	if r.ans.failed > 0 {
		s.refusedAt = now
	}
	switch {
	case r.ans.failed == 0:
		// Another packet of the same round may have been refused a moment ago.
		if !s.refusing.IsZero() && now.Sub(s.refusedAt) >= settled {
			log.Info("Zabbix takes the values of all instances")
			s.refusing, s.warned = time.Time{}, false
		}
	case s.refusing.IsZero():
		s.refusing = now
		log.Info("Zabbix does not take the values of all instances: it has no host for some yet, which is normal until its next discovery")
	case s.single:
		s.warned = true
		named := r.refused[:min(len(r.refused), maxNamed)]
		if slices.Sort(named); len(r.refused) > maxNamed {
			named = append(slices.Clone(named), fmt.Sprintf("and %d more", len(r.refused)-maxNamed))
		}
		log.WithField("hosts", named).Warn("Zabbix goes on refusing the values of some instances: look whether it has these hosts, with the " +
			"template \"Berth instance\", monitored by the server or proxy that is told here, and whether the item allows this host")
	}
}
