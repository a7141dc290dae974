// Package watch holds one value that one owner sets and many read: each reader gets the newest value and a channel that
// closes at the next change. Values passed in must not be changed afterwards.
package watch

import "sync"

// Value is the holder. The zero Value holds T's zero value.
type Value[T any] struct {
	mu      sync.Mutex // guards value and changed
	value   T
	changed chan struct{}
}

// Set stores v and wakes all readers.
func (w *Value[T]) Set(v T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.value = v
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// Get returns the newest value, and a channel that closes when it is no longer the newest.
func (w *Value[T]) Get() (T, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.value, w.changed
}
