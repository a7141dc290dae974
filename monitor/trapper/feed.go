package trapper

import (
	"context"
	"sync"
	"time"

	"github.com/berth-project/berth/monitor/zabbix"
)

// Feed sends this host's instances to Zabbix.
type Feed struct {
	o     Options
	table *zabbix.Table
	last  time.Time // of the newest sample that was read
}

// New checks the options.
func New(o Options) (*Feed, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Feed{o: o, table: zabbix.NewTable(o.Version)}, nil
}

// result is how an attempt to send ended.
type result struct {
	to  *server
	ans answer
	// refused are the hosts whose values were not taken, if the values were sent one by one.
	refused []string
	node    int // that answered
	err     error
}

// Run sends until ctx ends. What is not sent by then is lost.
func (f *Feed) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	results := make(chan result)
	var servers []*server
	for _, s := range f.o.Servers {
		servers = append(servers, newServer(s, f.o.Log))
	}
	f.o.Log.WithField("component", "trapper").WithField("zabbix", f.o.Servers).WithField("every", f.o.Every.String()).Info("telling Zabbix of each instance")
	ticker := time.NewTicker(f.o.Every)
	defer ticker.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		sample, sampled := f.o.Newest()
		if sample != nil && !f.last.IsZero() {
			sampled = nil // from the first one on, the ticker says when
		}
		due := time.Time{}
		for _, s := range servers {
			at, batch := s.next(time.Now())
			if batch != nil {
				wait.Go(func() { s.send(ctx, f.o.Dial, batch, results) })
			}
			if !at.IsZero() && (due.IsZero() || at.Before(due)) {
				due = at
			}
		}
		if !due.IsZero() {
			retry.Reset(time.Until(due))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-sampled:
			if f.first() {
				f.gather(servers)
				ticker.Reset(f.o.Every)
			}
		case <-ticker.C:
			f.gather(servers)
		case <-retry.C:
		case r := <-results:
			r.to.ended(r, time.Now())
		}
	}
}

// first says whether there is a sample.
func (f *Feed) first() bool {
	sample, _ := f.o.Newest()
	return sample != nil && !sample.At.IsZero()
}

// gather queues the values of the newest sample, if it is a new one.
func (f *Feed) gather(servers []*server) {
	sample, _ := f.o.Newest()
	if sample == nil || !sample.At.After(f.last) {
		return
	}
	f.last = sample.At
	state, _ := f.o.State.Get()
	all := values(state, sample, f.o.Host, f.table)
	for _, s := range servers {
		s.push(all, f.o.Buffer)
	}
}
