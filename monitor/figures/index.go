package figures

import "strconv"

// Key is what identifies an instance on its host.
type Key struct {
	App  string
	Seat int
}

// String is "APP.SEAT".
func (k Key) String() string { return k.App + "." + strconv.Itoa(k.Seat) }

// Index is a snapshot in which instances are found. It never changes.
type Index struct {
	*Snapshot
	byKey map[Key]*Instance
}

// NewIndex indexes a snapshot.
func NewIndex(s *Snapshot) *Index {
	x := &Index{Snapshot: s, byKey: make(map[Key]*Instance, len(s.Instances))}
	for i := range s.Instances {
		x.byKey[s.Instances[i].Key()] = &s.Instances[i]
	}
	return x
}

// Find is the instance of an app and seat; nil without one.
func (x *Index) Find(app string, seat int) *Instance { return x.byKey[Key{app, seat}] }

// Key is what identifies it.
func (i *Instance) Key() Key { return Key{i.App, i.Seat} }
