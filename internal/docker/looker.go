package docker

import "context"

// looker inspects containers side by side, each by one inspection at a time. The engine answers for a container only when
// it has done with it: one whose address cannot be released (its IPAM plugin is gone) takes 15 seconds to end, and must
// not keep the end of another from being seen.
type looker struct {
	ctx    context.Context //nolint:containedctx // of one connection
	source Source
	slots  chan struct{}
	found  chan found
	busy   map[string]bool // id -> an event came since the inspection began
}

// found is the result of one inspection.
type found struct {
	id  string
	c   Container
	err error
}

func newLooker(ctx context.Context, s Source) *looker {
	return &looker{ctx: ctx, source: s, slots: make(chan struct{}, lookers), found: make(chan found), busy: map[string]bool{}}
}

// at begins an inspection, or has the one under way repeated.
func (l *looker) at(id string) {
	if _, busy := l.busy[id]; busy {
		l.busy[id] = true
		return
	}
	l.busy[id] = false
	go func() {
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		case <-l.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, lookTimeout)
		defer cancel()
		c, err := l.source.Inspect(ctx, id)
		select {
		case l.found <- found{id, c, err}:
		case <-l.ctx.Done():
		}
	}()
}

// done is said when a result has been received. It says whether the result is later than everything that events have told.
func (l *looker) done(id string) bool {
	again := l.busy[id]
	delete(l.busy, id)
	if again {
		l.at(id)
	}
	return !again
}
