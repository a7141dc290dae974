package scheduler

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

func TestKeyring(t *testing.T) {
	for name, x := range map[string]struct {
		random      io.Reader
		want, ready int
	}{
		"some":          {rand.Reader, 3, 3},
		"none":          {rand.Reader, 0, 0},
		"no randomness": {iotest.ErrReader(errors.New("none")), 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				k := newKeyring(x.random)
				go k.run(ctx)
				k.want(x.want)
				synctest.Wait()
				seen := map[string]bool{}
				for key := k.take(); key != nil; key = k.take() {
					seen[string(key)] = true
				}
				if len(seen) != x.ready {
					t.Errorf("%d different keys lie ready, want %d", len(seen), x.ready)
				}
			})
		})
	}
}
