package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"
)

// Format is the version of the records' layout that this program reads and writes. Fields that may be missing can be added
// to records without a new format; anything that an older program would misread needs one, with a migration.
const Format = 2

// migration turns format n into n+1, inside the one transaction that also writes the new format number.
type migration func(tx *bolt.Tx) error

// migrations are the steps by the format they start from. Format 1 is the first. Format 2 added groups, the changes of the
// tree and pods: nothing is rewritten, but a program of format 1 would take pods for apps and lose the groups.
func migrations() map[int]migration {
	return map[int]migration{1: func(*bolt.Tx) error { return nil }}
}

// openFormat makes a new file ours, accepts the present format, migrates an older one after copying the file, and refuses
// everything else without touching it.
func openFormat(db *bolt.DB, path string, steps map[int]migration, log logrus.FieldLogger) error {
	format, empty, err := readFormat(db)
	if err != nil {
		return err
	}
	switch {
	case empty:
		return db.Update(func(tx *bolt.Tx) error { return writeFormat(tx) })
	case format == Format:
		return addBuckets(db)
	case format > Format:
		return fmt.Errorf("its format is %d and this berth knows formats up to %d: start the newer berth that wrote it, or restore the copy that it made before migrating (%s)",
			format, Format, copyName(path, Format))
	}
	backup := copyName(path, format)
	if err := copyFile(db, backup); err != nil {
		return fmt.Errorf("copy to %s before migrating from format %d: %w", backup, format, err)
	}
	if err := migrate(db, format, steps); err != nil {
		return fmt.Errorf("migrate from format %d (nothing was changed, a copy is in %s): %w", format, backup, err)
	}
	if log != nil {
		log.WithField("file", path).Infof("migrated the state from format %d to %d; the file as it was is %s", format, Format, backup)
	}
	return nil
}

// readFormat finds the format number; empty means that the file has no bucket at all.
func readFormat(db *bolt.DB) (format int, empty bool, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		if k, _ := tx.Cursor().First(); k == nil {
			empty = true
			return nil
		}
		meta := tx.Bucket([]byte(bucketMeta))
		if meta == nil || meta.Get([]byte(keyFormat)) == nil {
			return errors.New("it is a bbolt file of something else: it has no format record")
		}
		if err := json.Unmarshal(meta.Get([]byte(keyFormat)), &format); err != nil {
			return fmt.Errorf("decode record %q in bucket %q: %w", keyFormat, bucketMeta, err)
		}
		return nil
	})
	return format, empty, err
}

// laterBuckets came to format 2 when there were files of it already. Such a file has nothing to put there, and an older program
// does not look there, so that needs no new format.
func laterBuckets() []string { return []string{bucketBlocks, bucketAddresses, bucketDrains} }

// addBuckets makes the later ones. Any other that is missing was lost.
func addBuckets(db *bolt.DB) error {
	missing := false
	err := db.View(func(tx *bolt.Tx) error {
		missing = slices.ContainsFunc(laterBuckets(), func(name string) bool { return tx.Bucket([]byte(name)) == nil })
		return nil
	})
	if err != nil || !missing {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range laterBuckets() {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return fmt.Errorf("create bucket %q: %w", name, err)
			}
		}
		return nil
	})
}

func writeFormat(tx *bolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return fmt.Errorf("create bucket %q: %w", name, err)
		}
	}
	b, err := json.Marshal(Format)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyFormat), b)
}

func migrate(db *bolt.DB, from int, steps map[int]migration) error {
	return db.Update(func(tx *bolt.Tx) error {
		for n := from; n < Format; n++ {
			step := steps[n]
			if step == nil {
				return fmt.Errorf("this berth has no way from format %d (it can migrate from %v)", n, slices.Sorted(maps.Keys(steps)))
			}
			if err := step(tx); err != nil {
				return fmt.Errorf("step from format %d: %w", n, err)
			}
		}
		return writeFormat(tx)
	})
}

func copyName(path string, format int) string { return fmt.Sprintf("%s.format-%d", path, format) }

// copyFile writes a consistent copy under a name that does not exist yet or is an earlier copy of the same; the rename
// keeps half a copy from looking like a whole one.
func copyFile(db *bolt.DB, to string) error {
	half := to + ".part"
	if err := db.View(func(tx *bolt.Tx) error { return tx.CopyFile(half, fileMode) }); err != nil {
		return errors.Join(err, os.Remove(half))
	}
	f, err := os.OpenFile(half, os.O_RDWR, fileMode)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(half, to)
}
