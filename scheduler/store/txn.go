package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-project/berth/spec"
)

// maxKey is the longest record key, in bytes; bbolt's limit.
const maxKey = 32768

type opKind int

const (
	opPut     opKind = iota
	opDelete         // one key
	opDropApp        // all versions of the app whose id is the key
	opTrim           // all but the newest MaxVersions of the app whose id is the key, or of the changes of the tree
	opRaise          // put, unless the stored number is already larger
)

type op struct {
	kind   opKind
	bucket string
	key    string
	value  []byte
	late   any // what value is encoded from at the commit; nil: it is
}

// Txn is an ordered batch of changes; the zero Txn is empty and ready. Tasks, seats and leases, of which there are many, are encoded
// by the commit, and must not be changed any more once they are put; the others when they are put. A value that cannot be
// encoded makes Commit fail with everything else in the Txn.
type Txn struct {
	ops  []op
	errs []error
}

// Empty says that there is nothing to commit.
func (t Txn) Empty() bool { return len(t.ops) == 0 && len(t.errs) == 0 }

// Len is the number of changes.
func (t Txn) Len() int { return len(t.ops) }

// Append adds other's changes after t's own.
func (t *Txn) Append(other Txn) {
	t.ops = append(t.ops, other.ops...)
	t.errs = append(t.errs, other.errs...)
}

// PutApp stores the app as wanted now.
func (t *Txn) PutApp(a *spec.App) { t.put(opPut, bucketApps, string(a.ID), a) }

// DeleteApp removes the app, and its versions when asked.
func (t *Txn) DeleteApp(id spec.AppID, versions bool) {
	t.add(opDelete, bucketApps, string(id), nil)
	if versions {
		t.add(opDropApp, bucketVersions, string(id), nil)
	}
}

// AddVersion stores a as one of its app's versions, in the order of App.Version. The same Version again replaces it; beyond
// MaxVersions the oldest are dropped.
func (t *Txn) AddVersion(a *spec.App) {
	if !validKey(string(a.ID)) { // checked apart, as the id is only a part of the record's key
		t.fail(bucketVersions, string(a.ID), errBadKey)
		return
	}
	t.put(opPut, bucketVersions, versionKey(a), a)
	t.add(opTrim, bucketVersions, string(a.ID), nil)
}

// PutGroup stores the group.
func (t *Txn) PutGroup(g *spec.Group) { t.put(opPut, bucketGroups, string(g.ID), g) }

// DeleteGroup forgets the group.
func (t *Txn) DeleteGroup(id spec.AppID) { t.add(opDelete, bucketGroups, string(id), nil) }

// AddChange stores a change of the tree; beyond MaxVersions the oldest are dropped.
func (t *Txn) AddChange(c spec.TreeChange) {
	t.put(opPut, bucketChanges, changeKey(c), c)
	t.add(opTrim, bucketChanges, bucketChanges, nil)
}

// PutTask stores the task.
func (t *Txn) PutTask(task *spec.Task) { t.putLate(bucketTasks, task.ID, task) }

// DeleteTask forgets the task.
func (t *Txn) DeleteTask(id string) { t.add(opDelete, bucketTasks, id, nil) }

// PutSeat stores the seat.
func (t *Txn) PutSeat(s spec.Seat) { t.putLate(bucketSeats, s.ID.String(), &s) }

// DeleteSeat forgets the seat, with its host keys.
func (t *Txn) DeleteSeat(id spec.SeatID) { t.add(opDelete, bucketSeats, id.String(), nil) }

// PutLease stores the lease of its address.
func (t *Txn) PutLease(l spec.Lease) {
	if !l.Address.IsValid() {
		t.fail(bucketLeases, "", fmt.Errorf("lease of seat %s has no address", l.Seat))
		return
	}
	t.putLate(bucketLeases, l.Address.String(), &l)
}

// DeleteLease frees the address.
func (t *Txn) DeleteLease(a netip.Addr) { t.add(opDelete, bucketLeases, a.String(), nil) }

// PutBlock stores that the block is its host's.
func (t *Txn) PutBlock(b spec.Block) {
	if !b.Prefix.IsValid() {
		t.fail(bucketBlocks, "", fmt.Errorf("block of host %s has no prefix", b.Host))
		return
	}
	t.put(opPut, bucketBlocks, b.Prefix.String(), b)
}

// DeleteBlock makes the block nobody's.
func (t *Txn) DeleteBlock(p netip.Prefix) { t.add(opDelete, bucketBlocks, p.String(), nil) }

// PutAddress stores where the host says that others reach it.
func (t *Txn) PutAddress(a spec.HostAddress) { t.put(opPut, bucketAddresses, a.Host, a) }

// DeleteAddress forgets it.
func (t *Txn) DeleteAddress(host string) { t.add(opDelete, bucketAddresses, host, nil) }

// PutDrain stores that the host is to be emptied.
func (t *Txn) PutDrain(d spec.HostDrain) { t.put(opPut, bucketDrains, d.Host, d) }

// DeleteDrain ends that.
func (t *Txn) DeleteDrain(host string) { t.add(opDelete, bucketDrains, host, nil) }

// PutDeployment stores the deployment.
func (t *Txn) PutDeployment(d *spec.Deployment) { t.put(opPut, bucketDeployments, d.ID, d) }

// DeleteDeployment forgets the deployment.
func (t *Txn) DeleteDeployment(id string) { t.add(opDelete, bucketDeployments, id, nil) }

// PutFailure stores the app's last task failure.
func (t *Txn) PutFailure(f *spec.TaskFailure) { t.put(opPut, bucketFailures, string(f.App), f) }

// DeleteFailure forgets the app's last task failure.
func (t *Txn) DeleteFailure(app spec.AppID) { t.add(opDelete, bucketFailures, string(app), nil) }

// PutDelay stores the app's launch delay.
func (t *Txn) PutDelay(app spec.AppID, d Delay) { t.put(opPut, bucketDelays, string(app), d) }

// DeleteDelay ends the app's launch delay.
func (t *Txn) DeleteDelay(app spec.AppID) { t.add(opDelete, bucketDelays, string(app), nil) }

// SetFrameworkID stores the id that the engine gave; "" forgets it, so that the next subscription is a new framework.
func (t *Txn) SetFrameworkID(id string) { t.put(opPut, bucketMeta, keyFramework, id) }

// SetFenceAfter stores the longest fence time that hosts may still go by.
func (t *Txn) SetFenceAfter(d time.Duration) { t.put(opPut, bucketMeta, keyFence, d) }

// SetSequence stores the newest host document version. It only grows: a smaller number than the stored one is not taken.
func (t *Txn) SetSequence(n uint64) { t.put(opRaise, bucketMeta, keySequence, n) }

func (t *Txn) put(kind opKind, bucket, key string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		t.fail(bucket, key, err)
		return
	}
	t.add(kind, bucket, key, b)
}

// putLate stores what nobody changes any more. What the same Txn stores or deletes again later is not encoded at all.
func (t *Txn) putLate(bucket, key string, value any) {
	t.append(op{kind: opPut, bucket: bucket, key: key, late: value})
}

func (t *Txn) add(kind opKind, bucket, key string, value []byte) {
	t.append(op{kind: kind, bucket: bucket, key: key, value: value})
}

func (t *Txn) append(o op) {
	// A version's key holds its app's id, checked by AddVersion, and the separator that ids must not hold.
	if !validKey(o.key) && (o.kind != opPut || o.bucket != bucketVersions) {
		t.fail(o.bucket, o.key, errBadKey)
		return
	}
	t.ops = append(t.ops, o)
}

func (t *Txn) fail(bucket, key string, err error) {
	t.errs = append(t.errs, encodeError(bucket, key, err))
}

func encodeError(bucket, key string, err error) error {
	return fmt.Errorf("encode %s %q: %w", bucket, key, err)
}

// encoded are the changes with their values, without those that later ones make void.
func (t Txn) encoded() ([]op, error) {
	type record struct{ bucket, key string }
	last := make(map[record]int, len(t.ops))
	for i, o := range t.ops {
		last[record{o.bucket, o.key}] = i
	}
	out, errs := make([]op, 0, len(t.ops)), t.errs
	for i, o := range t.ops {
		if o.late != nil {
			if last[record{o.bucket, o.key}] != i {
				continue
			}
			var err error
			if o.value, err = json.Marshal(o.late); err != nil {
				errs = append(errs, encodeError(o.bucket, o.key, err))
			}
		}
		out = append(out, o)
	}
	return out, errors.Join(errs...)
}

var errBadKey = errors.New("the id is empty, too long, or not plain UTF-8 text")

// validKey keeps ids to what every backend takes and what JSON gives back unchanged.
func validKey(key string) bool {
	return key != "" && len(key) <= maxKey/2 && utf8.ValidString(key) && !strings.Contains(key, versionSeparator)
}
