package scheduler

import (
	"context"
	"crypto/ed25519"
	"io"
)

// keyring makes keys ahead, beside the loop: one takes longer than all the rest of a launch.
type keyring struct {
	random io.Reader
	ready  chan ed25519.PrivateKey
	wanted chan int
}

// keysAhead bounds the keys that lie ready.
const keysAhead = 4096

// newKeyring draws on a source that more than one goroutine may read.
func newKeyring(random io.Reader) *keyring {
	return &keyring{random: random, ready: make(chan ed25519.PrivateKey, keysAhead), wanted: make(chan int, 1)}
}

// want asks for n keys to lie ready, without waiting for them.
func (k *keyring) want(n int) {
	if n = min(n, keysAhead); n <= len(k.ready) {
		return
	}
	select {
	case k.wanted <- n:
	default: // it is making some
	}
}

// take is a key that lies ready, nil if none does.
func (k *keyring) take() ed25519.PrivateKey {
	select {
	case key := <-k.ready:
		return key
	default:
		return nil
	}
}

// run makes what is wanted until ctx ends.
func (k *keyring) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-k.wanted:
			for len(k.ready) < n && ctx.Err() == nil {
				_, key, err := ed25519.GenerateKey(k.random)
				if err != nil {
					break // who needs one makes it, and says so
				}
				k.ready <- key // there is room: nobody else puts any in
			}
		}
	}
}
