package store

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"

	"github.com/berth-project/berth/spec"
)

func tempFile(t *testing.T) string { return filepath.Join(t.TempDir(), "state", "berth.db") }

func mustOpen(t *testing.T, path string) *Bolt {
	t.Helper()
	b, err := Open(path, BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// tamper changes the closed file behind the store's back.
func tamper(t *testing.T, path string, f func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, fileMode, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func setFormat(text string) func(tx *bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucketMeta))
		if err != nil {
			return err
		}
		return b.Put([]byte(keyFormat), []byte(text))
	}
}

func TestModesAreTight(t *testing.T) {
	path := tempFile(t)
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	checkMode(t, path, fileMode)
	checkMode(t, filepath.Dir(path), folderMode)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	var text strings.Builder
	log.SetOutput(&text)
	b, err := Open(path, BoltOptions{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	checkMode(t, path, fileMode)
	if !strings.Contains(text.String(), "0644") {
		t.Errorf("nothing was said: %q", text.String())
	}
}

func checkMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %04o, want %04o", path, got, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    string
	}{
		{"a folder that everybody may write in", func(t *testing.T, path string) {
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.Chmod(filepath.Dir(path), 0o777)); err != nil {
				t.Fatal(err)
			}
		}, "chmod o-w"},
		{"a folder instead of a file", func(t *testing.T, path string) {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"a file in place of the folder", func(t *testing.T, path string) {
			if err := os.WriteFile(filepath.Dir(path), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a directory"},
		{"something else", func(t *testing.T, path string) {
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(strings.Repeat("no database", 9999)), 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "invalid database"},
		{"another program's bbolt file", func(t *testing.T, path string) {
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			tamper(t, path, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
		}, "a bbolt file of something else"},
		{"a newer format", func(t *testing.T, path string) {
			_ = mustOpen(t, path).Close()
			tamper(t, path, setFormat("7"))
		}, "its format is 7 and this berth knows formats up to 2: start the newer berth"},
		{"a format that is no number", func(t *testing.T, path string) {
			_ = mustOpen(t, path).Close()
			tamper(t, path, setFormat("{"))
		}, `decode record "format" in bucket "meta"`},
		{"an older format without a way", func(t *testing.T, path string) {
			_ = mustOpen(t, path).Close()
			tamper(t, path, setFormat("0"))
		}, "this berth has no way from format 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := tempFile(t)
			c.prepare(t, path)
			b, err := Open(path, BoltOptions{LockTimeout: time.Second})
			if err == nil {
				_ = b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTheLockNamesItsHolder(t *testing.T) {
	path := tempFile(t)
	mustOpen(t, path)
	_, err := Open(path, BoltOptions{LockTimeout: 60 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "holds its lock; only one scheduler") || !strings.Contains(err.Error(), "process") {
		t.Fatalf("got %v", err)
	}
}

func TestFlockHolder(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  WRITE 11 08:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 12 08:01:177 0 EOF
2: -> FLOCK  ADVISORY  WRITE 13 08:01:77 0 EOF
3: FLOCK  ADVISORY  WRITE 0 08:01:77 0 EOF
4: FLOCK  ADVISORY  WRITE 14 08:01:77 0 EOF
short
`
	for inode, want := range map[uint64]string{77: "14", 177: "12", 7: ""} {
		if got := flockHolder(locks, inode); got != want {
			t.Errorf("inode %d: got %q, want %q", inode, got, want)
		}
	}
	if got := lockHolder("/no/such/file"); !strings.Contains(got, "another process") {
		t.Errorf("got %q", got)
	}
}

func TestMigrationKeepsACopy(t *testing.T) {
	for name, fault := range map[string]error{"good": nil, "failing": errors.New("half way")} {
		t.Run(name, func(t *testing.T) {
			path := tempFile(t)
			b := mustOpen(t, path)
			var txn Txn
			txn.PutTask(&spec.Task{ID: "t"})
			if err := errors.Join(b.Commit(t.Context(), txn), b.Close()); err != nil {
				t.Fatal(err)
			}
			tamper(t, path, setFormat("0"))
			db, err := bolt.Open(path, fileMode, &bolt.Options{Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			log := logrus.New()
			log.SetOutput(io.Discard)
			err = openFormat(db, path, map[int]migration{1: func(*bolt.Tx) error { return nil }, 0: func(tx *bolt.Tx) error {
				return errors.Join(fault, tx.Bucket([]byte(bucketTasks)).Put([]byte("new"), []byte(`{"ID":"new"}`)))
			}}, log)
			if !errors.Is(err, fault) || (err != nil) != (fault != nil) {
				t.Fatalf("got %v", err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			checkMode(t, path+".format-0", fileMode)
			tamper(t, path+".format-0", func(tx *bolt.Tx) error { return sameFile(tx, "0", 1) })
			if fault != nil {
				tamper(t, path, func(tx *bolt.Tx) error { return sameFile(tx, "0", 1) })
				return
			}
			s, err := mustOpen(t, path).Load(t.Context())
			if err != nil || len(s.Tasks) != 2 {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
}

func sameFile(tx *bolt.Tx, format string, tasks int) error {
	if got := string(tx.Bucket([]byte(bucketMeta)).Get([]byte(keyFormat))); got != format {
		return errors.New("format " + got)
	}
	if got := tx.Bucket([]byte(bucketTasks)).Stats().KeyN; got != tasks {
		return errors.New("the tasks are not as they were")
	}
	return nil
}

func TestLoadNamesTheBadRecord(t *testing.T) {
	for _, c := range []struct{ name, bucket, key, value, want string }{
		{"not JSON", bucketTasks, "t", "{", `decode record "t" in bucket "tasks"`},
		{"null", bucketTasks, "t", "null", "null"},
		{"null for a value", bucketSeats, "/a.0", "null", "null"},
		{"wrong key", bucketTasks, "t", `{"ID":"u"}`, `"u"`},
		{"wrong seat", bucketSeats, "/a.0", `{"ID":{"App":"/a","Index":1}}`, `"/a.1"`},
		{"wrong address", bucketLeases, "10.0.0.1", `{"Address":"10.0.0.2"}`, `"10.0.0.2"`},
		{"wrong block", bucketBlocks, "10.0.0.0/26", `{"Prefix":"10.0.0.0/27"}`, `"10.0.0.0/27"`},
		{"wrong type", bucketApps, "/a", `{"ID":"/a","CPUs":"much"}`, `decode record "/a" in bucket "apps"`},
		{"unknown meta", bucketMeta, "x", `1`, "unknown key"},
		{"bad sequence", bucketMeta, keySequence, `-1`, `"sequence"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := tempFile(t)
			b := mustOpen(t, path)
			_ = b.Close()
			tamper(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte(c.bucket)).Put([]byte(c.key), []byte(c.value)) })
			b = mustOpen(t, path)
			if s, err := b.Load(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.bucket) {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
	t.Run("a bucket is missing that was not there in the beginning", func(t *testing.T) {
		path, block := tempFile(t), spec.Block{Prefix: netip.MustParsePrefix("10.0.0.0/26"), Host: "h1"}
		_ = mustOpen(t, path).Close()
		tamper(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(bucketBlocks)) })
		b := mustOpen(t, path)
		var txn Txn
		txn.PutBlock(block)
		if err := b.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		if s, err := b.Load(t.Context()); err != nil || len(s.Blocks) != 1 || s.Blocks[block.Prefix] != block {
			t.Errorf("got %+v, %v", s, err)
		}
	})
	t.Run("a bucket is missing", func(t *testing.T) {
		path := tempFile(t)
		_ = mustOpen(t, path).Close()
		tamper(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(bucketSeats)) })
		if _, err := mustOpen(t, path).Load(t.Context()); err == nil || !strings.Contains(err.Error(), bucketSeats) {
			t.Errorf("got %v", err)
		}
	})
}

func TestADamagedSequenceIsNotOverwritten(t *testing.T) {
	path := tempFile(t)
	_ = mustOpen(t, path).Close()
	tamper(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Put([]byte(keySequence), []byte("x")) })
	var txn Txn
	txn.PutTask(&spec.Task{ID: "t"})
	txn.SetSequence(5)
	b := mustOpen(t, path)
	if err := b.Commit(t.Context(), txn); err == nil || !strings.Contains(err.Error(), keySequence) {
		t.Errorf("got %v", err)
	}
	if err := b.db.View(func(tx *bolt.Tx) error { return sameFile(tx, "2", 0) }); err != nil {
		t.Errorf("half of the transaction is there: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range buckets() {
		f.Add(b, "/a", []byte(`{"ID":"/a"}`))
	}
	f.Add(bucketVersions, "/a\x002026-03-01T12:00:00.000000000Z", []byte(`{"ID":"/a","Version":"2026-03-01T12:00:00Z"}`))
	f.Add(bucketSeats, "/a.1", []byte(`{"ID":{"App":"/a","Index":1}}`))
	f.Add(bucketLeases, "10.0.0.1", []byte(`{"Address":"10.0.0.1"}`))
	f.Add(bucketBlocks, "10.0.0.0/26", []byte(`{"Prefix":"10.0.0.0/26","Host":"h"}`))
	f.Add(bucketFailures, "/a", []byte(`{"App":"/a"}`))
	f.Add(bucketDelays, "/a", []byte(`{"Delay":1}`))
	f.Add(bucketMeta, keySequence, []byte(`18446744073709551615`))
	f.Fuzz(func(t *testing.T, bucket, key string, value []byte) {
		s := NewState()
		if err := s.decode(bucket, key, value); err != nil {
			if !strings.Contains(err.Error(), "bucket") {
				t.Errorf("the error does not name the record: %v", err)
			}
			return
		}
		// What is accepted can be stored again, and comes back as the same.
		again := NewState()
		for _, a := range s.Apps {
			rewrite(t, again, bucket, key, a)
		}
		for _, task := range s.Tasks {
			rewrite(t, again, bucket, key, task)
		}
		for _, seat := range s.Seats {
			rewrite(t, again, bucket, key, seat)
		}
		for _, l := range s.Leases {
			rewrite(t, again, bucket, key, l)
		}
		for _, b := range s.Blocks {
			rewrite(t, again, bucket, key, b)
		}
	})
}

func rewrite(t *testing.T, s *State, bucket, key string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.decode(bucket, key, b); err != nil {
		t.Fatal(err)
	}
}
