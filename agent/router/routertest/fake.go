// Package routertest is a packet filter in memory, for tests of what uses agent/router.
package routertest

import (
	"context"
	"sync"

	"github.com/berth-project/berth/agent/hostnet"
)

// Fake keeps the last rules that were set. The zero Fake is empty and works.
type Fake struct {
	mu    sync.Mutex // guards all below
	rules hostnet.Rules
	sets  int
	err   error
}

// Set replaces the rules, or fails as Fail told it to.
func (f *Fake) Set(_ context.Context, r hostnet.Rules) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sets++
	if f.err == nil {
		f.rules = r
	}
	return f.err
}

// Cleanup forgets the rules.
func (f *Fake) Cleanup(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = hostnet.Rules{}
	return f.err
}

// Fail makes every following call fail with err; nil mends it.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Rules are the rules in force, and how often Set was called.
func (f *Fake) Rules() (hostnet.Rules, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules, f.sets
}
