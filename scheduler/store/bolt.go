package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	fileMode   fs.FileMode = 0o600
	folderMode fs.FileMode = 0o700
)

// BoltOptions tune the file backend; the zero value has useful defaults.
type BoltOptions struct {
	// LockTimeout is how long Open waits for another process to let go of the file; 0: 3 s.
	LockTimeout time.Duration
	// Log gets one line for each thing an operator should know (modes tightened, format migrated); nil: none.
	Log logrus.FieldLogger
}

// Bolt is the state in one bbolt file on this machine.
type Bolt struct {
	db   *bolt.DB
	path string
}

var _ Store = (*Bolt)(nil)

// Open opens the file, creating it (and its folder) when missing. Only one process can have it open.
func Open(path string, opts BoltOptions) (*Bolt, error) {
	if opts.LockTimeout == 0 {
		opts.LockTimeout = 3 * time.Second
	}
	created, err := prepare(path, opts.Log)
	if err != nil {
		return nil, fmt.Errorf("prepare state file %s: %w", path, err)
	}
	// The freelist as a map and not written at each commit: a commit then costs the changed pages only, and opening scans the file once.
	db, err := bolt.Open(path, fileMode, &bolt.Options{Timeout: opts.LockTimeout, FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open state file %s: %s holds its lock; only one scheduler can use a state folder at a time, so stop that one or choose another folder: %w",
			path, lockHolder(path), err)
	}
	if err != nil {
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	if err := openFormat(db, path, migrations(), opts.Log); err != nil {
		return nil, errors.Join(fmt.Errorf("open state file %s: %w", path, err), db.Close())
	}
	if created { // the file's name must survive a power failure as its contents do
		if err := syncFolder(filepath.Dir(path)); err != nil {
			return nil, errors.Join(fmt.Errorf("sync folder of state file %s: %w", path, err), db.Close())
		}
	}
	return &Bolt{db: db, path: path}, nil
}

// prepare sees to the modes before there is anything in the file: private SSH keys will be.
func prepare(path string, log logrus.FieldLogger) (created bool, err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, folderMode); err != nil {
		return false, err
	}
	info, err := os.Stat(folder)
	if err != nil {
		return false, err
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return false, fmt.Errorf("everybody may write in folder %s and so replace the state: take that away (chmod o-w %s)", folder, folder)
	}
	info, err = os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("not a regular file")
	}
	if info.Mode().Perm()&^fileMode != 0 {
		if log != nil {
			log.WithField("file", path).Warnf("the state file had mode %04o and holds private keys: made it %04o", info.Mode().Perm(), fileMode)
		}
		return false, os.Chmod(path, fileMode)
	}
	return false, nil
}

func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads the whole state.
func (b *Bolt) Load(ctx context.Context) (*State, error) {
	s := NewState()
	err := b.db.View(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			bucket := tx.Bucket([]byte(name))
			if bucket == nil {
				return fmt.Errorf("bucket %q is missing", name)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := bucket.ForEach(func(k, v []byte) error { return s.decode(name, string(k), v) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load state from %s: %w", b.path, err)
	}
	s.sortVersions()
	return s, nil
}

// Commit writes t in one bbolt transaction, synced to the disk.
func (b *Bolt) Commit(ctx context.Context, t Txn) error {
	changes, err := t.encoded()
	if err := errors.Join(ctx.Err(), err); err != nil {
		return fmt.Errorf("commit to %s: %w", b.path, err)
	}
	if len(changes) == 0 {
		return nil
	}
	if err := b.db.Update(func(tx *bolt.Tx) error { return apply(boltRecords{tx}, changes) }); err != nil {
		return fmt.Errorf("commit to %s: %w", b.path, err)
	}
	return nil
}

// Close lets go of the file.
func (b *Bolt) Close() error {
	if err := b.db.Close(); err != nil {
		return fmt.Errorf("close state file %s: %w", b.path, err)
	}
	return nil
}

// boltRecords is a writable transaction; openFormat has made all buckets.
type boltRecords struct{ tx *bolt.Tx }

func (r boltRecords) get(bucket, key string) []byte {
	return r.tx.Bucket([]byte(bucket)).Get([]byte(key))
}

func (r boltRecords) put(bucket, key string, value []byte) error {
	b := r.tx.Bucket([]byte(bucket))
	b.FillPercent = pageFill
	return b.Put([]byte(key), value)
}

// pageFill is how full pages are left when they are split. Large batches are of new records that lie together; a commit takes as long
// as the disk needs for the pages that it changes, so they are packed better than bbolt's half, with room for the updates that follow.
const pageFill = 0.8

func (r boltRecords) delete(bucket, key string) error {
	return r.tx.Bucket([]byte(bucket)).Delete([]byte(key))
}

func (r boltRecords) keys(bucket, prefix string) []string {
	var keys []string
	c := r.tx.Bucket([]byte(bucket)).Cursor()
	for k, _ := c.Seek([]byte(prefix)); k != nil && len(k) >= len(prefix) && string(k[:len(prefix)]) == prefix; k, _ = c.Next() {
		keys = append(keys, string(k))
	}
	return keys
}
