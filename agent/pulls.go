package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

const (
	// pullsAtOnce bounds the images under way: each has several layers of its own under way.
	pullsAtOnce = 2
	// pullTimeout bounds one image. Its layers that are whole stay, so that the next try goes on from there.
	pullTimeout = 45 * time.Minute
	// tellAfter is how often a host says how far an image is.
	tellAfter = 2 * time.Second
	// maxNote bounds what is told of a failure.
	maxNote = 500
)

// puller has the engine pull the images that the document names. Its own loop holds its state; others give jobs and read results.
type puller struct {
	engine      Engine
	credentials func(ctx context.Context, image string) (docker.Credentials, error)
	log         logrus.FieldLogger
	wanted      watch.Value[[]spec.ImagePull]
	results     watch.Value[[]spec.PullResult]
	told        chan spec.PullResult
	slots       chan struct{}
}

func newPuller(o Options) *puller {
	return &puller{engine: o.Engine, credentials: o.Credentials, log: o.Log, told: make(chan spec.PullResult), slots: make(chan struct{}, pullsAtOnce)}
}

// give hands over what is wanted now. A pull that is no longer wanted ends.
func (p *puller) give(wanted []spec.ImagePull) {
	if old, _ := p.wanted.Get(); !slices.Equal(old, wanted) {
		p.wanted.Set(wanted)
	}
}

// run works until ctx ends.
func (p *puller) run(ctx context.Context) error {
	results, cancels := map[uint64]spec.PullResult{}, map[uint64]context.CancelFunc{}
	var pulls sync.WaitGroup
	defer func() {
		for _, cancel := range cancels {
			cancel()
		}
		pulls.Wait()
	}()
	for {
		wanted, changed := p.wanted.Get()
		for n, cancel := range cancels {
			if !slices.ContainsFunc(wanted, func(w spec.ImagePull) bool { return w.Number == n }) {
				cancel()
				delete(cancels, n)
				delete(results, n)
			}
		}
		for _, w := range wanted {
			if cancels[w.Number] == nil {
				one, cancel := context.WithTimeout(ctx, pullTimeout)
				cancels[w.Number] = cancel
				results[w.Number] = spec.PullResult{Number: w.Number, State: spec.Pulling}
				pulls.Go(func() { p.pull(ctx, one, w) })
			}
		}
		var out []spec.PullResult
		for _, w := range wanted {
			out = append(out, results[w.Number])
		}
		if old, _ := p.results.Get(); !slices.Equal(old, out) {
			p.results.Set(out)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case r := <-p.told:
			if cancels[r.Number] != nil {
				results[r.Number] = r
			}
		}
	}
}

// tell passes a result on to the loop, which forgets those that nobody wants any more.
func (p *puller) tell(ctx context.Context, r spec.PullResult) {
	select {
	case p.told <- r:
	case <-ctx.Done():
	}
}

// pull fetches one image and says how it goes. one is the pull's own context, ctx the loop's.
func (p *puller) pull(ctx, one context.Context, w spec.ImagePull) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-one.Done(): // nobody wants it any more, or others took all the time
		p.tell(ctx, spec.PullResult{Number: w.Number, State: spec.PullFailed, Note: "other images took too long"})
		return
	}
	r := spec.PullResult{Number: w.Number, State: spec.PullDone}
	log := p.log.WithField("image", w.Image)
	there, err := p.engine.ImageExists(one, w.Image)
	if err == nil && there && !w.Refresh {
		r.Note = "it was there"
		p.tell(ctx, r)
		return
	}
	if err == nil {
		log.Info("pulling an image ahead of its use")
		err = p.fetch(ctx, one, w)
	}
	if err != nil {
		r.State, r.Note = spec.PullFailed, shortened(err)
		log.WithError(err).Warn("image not pulled")
	}
	p.tell(ctx, r)
}

func (p *puller) fetch(ctx, one context.Context, w spec.ImagePull) error {
	as, err := p.credentials(one, w.Image)
	if err != nil {
		return err
	}
	last := time.Now()
	return p.engine.PullWatched(one, w.Image, as, func(got, of int64) {
		if now := time.Now(); now.Sub(last) >= tellAfter && of > 0 {
			last = now
			p.tell(ctx, spec.PullResult{Number: w.Number, State: spec.Pulling, Note: fmt.Sprintf("%d of %d MB", got/1e6, of/1e6)})
		}
	})
}

// shortened is an error in a line of bounded length.
func shortened(err error) string {
	text := oneLine(err)
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote], "") + "..."
	}
	return text
}
