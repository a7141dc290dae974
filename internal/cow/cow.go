// Package cow holds maps that one owner changes and many read: the owner's Map, and Views of it, each the Map as it was when
// it was taken. A View costs a copy of the parts that changed since the last one, not of everything. Values are shared: they
// must not be changed after they were set.
package cow

import (
	"hash/maphash"
	"iter"
)

// parts is how many pieces a Map is split into: a change copies one of them.
const parts = 256

// Map is the owner's. It must not be used by several goroutines.
type Map[K comparable, V any] struct {
	view  View[K, V]
	owned [parts]bool // this part was copied since the last View and may be written
	dirty bool        // any of them
}

// View is a Map as it was at one moment. The zero View is empty. It never changes; any number of goroutines may read it.
type View[K comparable, V any] struct{ *root[K, V] }

type root[K comparable, V any] struct {
	seed maphash.Seed
	part [parts]map[K]V
	size int
}

// New makes an empty Map.
func New[K comparable, V any]() *Map[K, V] {
	return &Map[K, V]{view: View[K, V]{&root[K, V]{seed: maphash.MakeSeed()}}}
}

func (r *root[K, V]) index(k K) int { return int(maphash.Comparable(r.seed, k) % parts) }

// own makes the part of k writable.
func (m *Map[K, V]) own(k K) map[K]V {
	if !m.dirty { // the last View keeps its table of parts
		next := *m.view.root
		m.view.root, m.dirty = &next, true
	}
	i := m.view.index(k)
	if !m.owned[i] {
		was := m.view.part[i]
		part := make(map[K]V, len(was)+1)
		for k, v := range was {
			part[k] = v
		}
		m.view.part[i], m.owned[i] = part, true
	}
	return m.view.part[i]
}

// Set puts a value.
func (m *Map[K, V]) Set(k K, v V) {
	part := m.own(k)
	if _, ok := part[k]; !ok {
		m.view.size++
	}
	part[k] = v
}

// Delete removes a key; one that is not there costs nothing.
func (m *Map[K, V]) Delete(k K) {
	if _, ok := m.view.Get(k); ok {
		delete(m.own(k), k)
		m.view.size--
	}
}

// Get is the present value.
func (m *Map[K, V]) Get(k K) (V, bool) { return m.view.Get(k) }

// View is the Map as it is now. Without a change since the last call it is the same View.
func (m *Map[K, V]) View() View[K, V] {
	if m.dirty {
		m.dirty, m.owned = false, [parts]bool{}
	}
	return m.view
}

// Get is a key's value.
func (v View[K, V]) Get(k K) (value V, ok bool) {
	if v.root == nil {
		return value, false
	}
	value, ok = v.part[v.index(k)][k]
	return value, ok
}

// Len is the number of keys.
func (v View[K, V]) Len() int {
	if v.root == nil {
		return 0
	}
	return v.size
}

// All are the keys and values, in no order.
func (v View[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if v.root == nil {
			return
		}
		for _, part := range v.part {
			for k, value := range part {
				if !yield(k, value) {
					return
				}
			}
		}
	}
}

// Same says that nothing changed between two Views of one Map.
func (v View[K, V]) Same(o View[K, V]) bool { return v.root == o.root }
