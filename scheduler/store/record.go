package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/berth-project/berth/spec"
)

// Buckets of format 2. Keys are the ids as text, values are JSON; a record's key always equals the id inside its value.
const (
	bucketMeta        = "meta"
	bucketApps        = "apps"
	bucketGroups      = "groups"
	bucketVersions    = "versions"
	bucketChanges     = "changes"
	bucketTasks       = "tasks"
	bucketSeats       = "seats"
	bucketLeases      = "leases"
	bucketBlocks      = "blocks"
	bucketAddresses   = "addresses"
	bucketDrains      = "drains"
	bucketDeployments = "deployments"
	bucketFailures    = "failures"
	bucketDelays      = "delays"
)

// Keys of bucketMeta.
const (
	keyFormat    = "format"
	keyFramework = "framework-id"
	keyFence     = "fence-after"
	keySequence  = "sequence"
)

// versionSeparator ends the app's id in a version's key; it sorts before all text, so that one app's versions lie together.
const versionSeparator = "\x00"

// versionTime has a fixed width, so that keys sort by time.
const versionTime = "2006-01-02T15:04:05.000000000Z"

func buckets() []string {
	return []string{bucketMeta, bucketApps, bucketGroups, bucketVersions, bucketChanges, bucketTasks, bucketSeats, bucketLeases, bucketBlocks, bucketAddresses, bucketDrains, bucketDeployments, bucketFailures, bucketDelays}
}

func versionKey(a *spec.App) string {
	return string(a.ID) + versionSeparator + a.Version.UTC().Format(versionTime)
}

func changeKey(c spec.TreeChange) string { return c.Version.UTC().Format(versionTime) }

// records is the little of a backend's transaction that applying a Txn needs.
type records interface {
	get(bucket, key string) []byte // nil: no such record
	put(bucket, key string, value []byte) error
	delete(bucket, key string) error
	keys(bucket, prefix string) []string // sorted
}

// apply performs the changes in order; after an error the backend's transaction must be dropped.
func apply(r records, changes []op) error {
	for _, o := range changes {
		if err := applyOne(r, o); err != nil {
			return fmt.Errorf("write %s %q: %w", o.bucket, o.key, err)
		}
	}
	return nil
}

func applyOne(r records, o op) error {
	switch o.kind {
	case opPut:
		return r.put(o.bucket, o.key, o.value)
	case opDelete:
		return r.delete(o.bucket, o.key)
	case opDropApp:
		return deleteAll(r, o.bucket, r.keys(o.bucket, o.key+versionSeparator))
	case opTrim:
		prefix := o.key + versionSeparator
		if o.bucket == bucketChanges { // one list for the whole tree
			prefix = ""
		}
		keys := r.keys(o.bucket, prefix)
		return deleteAll(r, o.bucket, keys[:max(0, len(keys)-MaxVersions)])
	case opRaise:
		return raise(r, o)
	default:
		return fmt.Errorf("unknown kind of change %d", o.kind)
	}
}

func deleteAll(r records, bucket string, keys []string) error {
	for _, k := range keys {
		if err := r.delete(bucket, k); err != nil {
			return err
		}
	}
	return nil
}

func raise(r records, o op) error {
	var stored, wanted uint64
	if old := r.get(o.bucket, o.key); old != nil {
		if err := json.Unmarshal(old, &stored); err != nil {
			return fmt.Errorf("decode the stored number: %w", err)
		}
	}
	if err := json.Unmarshal(o.value, &wanted); err != nil {
		return err
	}
	if wanted < stored {
		return nil
	}
	return r.put(o.bucket, o.key, o.value)
}

// decode adds one record to the state. Records must come in key order within a bucket.
func (s *State) decode(bucket, key string, value []byte) error {
	if err := s.decodeRecord(bucket, key, value); err != nil {
		return fmt.Errorf("decode record %q in bucket %q: %w", key, bucket, err)
	}
	return nil
}

func (s *State) decodeRecord(bucket, key string, value []byte) error {
	switch bucket {
	case bucketMeta:
		return s.decodeMeta(key, value)
	case bucketApps:
		a, err := record[*spec.App](key, value, func(a *spec.App) string { return string(a.ID) })
		return keep(s.Apps, spec.AppID(key), a, err)
	case bucketGroups:
		g, err := record[*spec.Group](key, value, func(g *spec.Group) string { return string(g.ID) })
		return keep(s.Groups, spec.AppID(key), g, err)
	case bucketChanges:
		c, err := record[spec.TreeChange](key, value, changeKey)
		if err == nil {
			s.Changes = append(s.Changes, c)
		}
		return err
	case bucketVersions:
		a, err := record[*spec.App](key, value, versionKey)
		if err == nil {
			s.Versions[a.ID] = append(s.Versions[a.ID], a)
		}
		return err
	case bucketTasks:
		t, err := record[*spec.Task](key, value, func(t *spec.Task) string { return t.ID })
		return keep(s.Tasks, key, t, err)
	case bucketSeats:
		seat, err := record[spec.Seat](key, value, func(s spec.Seat) string { return s.ID.String() })
		return keep(s.Seats, seat.ID, seat, err)
	case bucketLeases:
		l, err := record[spec.Lease](key, value, func(l spec.Lease) string { return l.Address.String() })
		return keep(s.Leases, l.Address, l, err)
	case bucketBlocks:
		b, err := record[spec.Block](key, value, func(b spec.Block) string { return b.Prefix.String() })
		return keep(s.Blocks, b.Prefix, b, err)
	case bucketAddresses:
		a, err := record[spec.HostAddress](key, value, func(a spec.HostAddress) string { return a.Host })
		return keep(s.Addresses, a.Host, a, err)
	case bucketDrains:
		d, err := record[spec.HostDrain](key, value, func(d spec.HostDrain) string { return d.Host })
		return keep(s.Drains, d.Host, d, err)
	case bucketDeployments:
		d, err := record[*spec.Deployment](key, value, func(d *spec.Deployment) string { return d.ID })
		return keep(s.Deployments, key, d, err)
	case bucketFailures:
		f, err := record[*spec.TaskFailure](key, value, func(f *spec.TaskFailure) string { return string(f.App) })
		return keep(s.Failures, spec.AppID(key), f, err)
	case bucketDelays:
		d, err := record[Delay](key, value, func(Delay) string { return key })
		return keep(s.Delays, spec.AppID(key), d, err)
	default:
		return fmt.Errorf("no such bucket")
	}
}

func (s *State) decodeMeta(key string, value []byte) error {
	switch key {
	case keyFormat: // looked at before, by whoever opened the backend
		return nil
	case keyFramework:
		return json.Unmarshal(value, &s.FrameworkID)
	case keyFence:
		return json.Unmarshal(value, &s.FenceAfter)
	case keySequence:
		return json.Unmarshal(value, &s.Sequence)
	default:
		return fmt.Errorf("unknown key")
	}
}

// record decodes one value and holds its id against the key: a record under a wrong key would be stored twice later.
func record[T any](key string, value []byte, id func(T) string) (T, error) {
	var v *T
	if err := json.Unmarshal(value, &v); err != nil {
		return *new(T), err
	}
	if v == nil {
		return *new(T), fmt.Errorf("the value is null")
	}
	if got := id(*v); got != key {
		return *new(T), fmt.Errorf("the value is that of %q", got)
	}
	return *v, nil
}

func keep[K comparable, V any](m map[K]V, key K, value V, err error) error {
	if err == nil {
		m[key] = value
	}
	return err
}

// sortVersions puts every app's versions in order of time, whatever order the records came in.
func (s *State) sortVersions() {
	for _, versions := range s.Versions {
		slices.SortStableFunc(versions, func(a, b *spec.App) int { return a.Version.Compare(b.Version) })
	}
}
