package fetch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// cache holds downloaded files by URI: "<sha256 of the URI>" and, beside it, what the server said of its version.
type cache struct {
	dir  string
	most int64
	mu   sync.Mutex
	busy map[string]*turn // guarded by mu: URIs that somebody fetches
}

// turn is taken by whoever fetches a URI into the cache; the others wait, and then find it there.
type turn struct {
	taken   chan struct{} // one place
	waiting int           // guarded by cache.mu
}

const (
	versionSuffix = ".version"
	newPattern    = ".new-*"
)

func openCache(dir string, most int64) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of fetched files: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, newPattern))
	if err != nil {
		return nil, fmt.Errorf("look for leftovers of fetched files: %w", err)
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("remove a leftover of fetched files: %w", err)
		}
	}
	return &cache{dir: dir, most: most, busy: map[string]*turn{}}, nil
}

// enter waits for the URI's turn.
func (c *cache) enter(ctx context.Context, key string) (leave func(), err error) {
	c.mu.Lock()
	t := c.busy[key]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		c.busy[key] = t
	}
	t.waiting++
	c.mu.Unlock()
	gone := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(c.busy, key)
		}
	}
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, context.Cause(ctx)
	}
}

// cached opens the URI's file in the cache, brought there or brought up to date first. The server is asked each time whether
// the file is still the newest; when it cannot be asked, what is there serves.
func (j *job) cached(ctx context.Context, s source) (*os.File, error) {
	sum := sha256.Sum256([]byte(s.uri))
	key := hex.EncodeToString(sum[:])
	leave, err := j.cache.enter(ctx, key)
	if err != nil {
		return nil, err
	}
	defer leave()
	at := filepath.Join(j.cache.dir, key)
	have := readVersion(at)
	f, err := os.Open(at)
	if err != nil {
		have = validators{}
	}
	err = j.refresh(ctx, s, at, have)
	status := statusError{}
	switch {
	case err == nil:
		if f != nil {
			f.Close()
		}
		if f, err = os.Open(at); err != nil {
			return nil, err
		}
	case errors.Is(err, errUnchanged):
	case f != nil && ctx.Err() == nil && (!errors.As(err, &status) || status.code >= 500):
		j.o.Log.WithError(err).WithField("uri", Redacted(s.uri)).Warn("cannot ask for a newer version of a cached file; using what is there")
	default:
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(at, now, now) // the least recently used goes first
	j.cache.trim()
	return f, nil // an open file stays readable when the cache drops it
}

// refresh downloads the file beside the old one and puts it in its place.
func (j *job) refresh(ctx context.Context, s source, at string, have validators) error {
	f, err := os.CreateTemp(j.cache.dir, newPattern)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // without effect once it is renamed
	got, err := j.download(ctx, s, have, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	version, err := json.Marshal(got)
	if err != nil {
		return err
	}
	// The version goes first and comes last: a crash in between costs a download, never a wrong file.
	if err := os.Remove(at + versionSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(f.Name(), at); err != nil {
		return err
	}
	return os.WriteFile(at+versionSuffix, version, 0o600)
}

func readVersion(at string) validators {
	var v validators
	text, err := os.ReadFile(at + versionSuffix)
	if err != nil || json.Unmarshal(text, &v) != nil {
		return validators{}
	}
	return v
}

// trim removes the files that were not used for longest until the rest fits.
func (c *cache) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return // it is tried again after the next file
	}
	var files []os.FileInfo
	var sum int64
	for _, e := range entries {
		if i, err := e.Info(); err == nil && i.Mode().IsRegular() && !strings.Contains(e.Name(), ".") {
			files = append(files, i)
			sum += i.Size()
		}
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, i := range files {
		if sum <= c.most {
			return
		}
		at := filepath.Join(c.dir, i.Name())
		_ = os.Remove(at + versionSuffix)
		if os.Remove(at) == nil {
			sum -= i.Size()
		}
	}
}
