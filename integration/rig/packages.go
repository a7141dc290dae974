package rig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// packagesKept is how long a package stays in the cache after its last use.
const packagesKept = 30 * 24 * time.Hour

// packages is a proxy that apt in an instance is told of. It keeps what it fetches in a folder of the machine, so that a test installs
// hundreds of packages without asking a mirror twice, and the instances need no way out.
type packages struct {
	folder string

	mu     sync.Mutex // guards what is below
	locked map[string]*sync.Mutex
}

// Packages serves Debian packages to the instances of this Berth until the test ends, and returns the shell command that tells apt in an
// instance so.
func (b *Berth) Packages() string {
	b.t.Helper()
	cache := must(os.UserCacheDir())(b.t, "find the cache folder")
	p := &packages{folder: filepath.Join(cache, "berth", "debs"), locked: map[string]*sync.Mutex{}}
	if err := p.prune(time.Now().Add(-packagesKept)); err != nil {
		b.t.Fatalf("look through %s: %v", p.folder, err)
	}
	// The pool's first address is the bridge's: the instances reach it, and nobody else.
	l := must(net.Listen("tcp", net.JoinHostPort(b.CIDR.Addr().Next().String(), "0")))(b.t, "listen on the pool's bridge")
	server := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with the listener
	b.t.Cleanup(func() { server.Close() })
	return fmt.Sprintf(`printf '%%s\n' 'Acquire::http::Proxy "http://%s";' 'Acquire::Languages "none";' >/etc/apt/apt.conf.d/95rig && apt-get -q update`, l.Addr())
}

// prune removes what nobody used since then.
func (p *packages) prune(since time.Time) error {
	err := filepath.WalkDir(p.folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil || info.ModTime().After(since) {
			return err
		}
		return os.Remove(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ServeHTTP answers apt. A package, and an index that is named by its digest, never changes; anything else is asked for each time, and
// the cache helps only when the mirror does not answer.
func (p *packages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Scheme != "http" || r.URL.Host == "" || strings.Contains(r.URL.Path, "..") {
		http.Error(w, "only GET of http://", http.StatusBadRequest)
		return
	}
	name := filepath.Join(p.folder, r.URL.Host, filepath.FromSlash(r.URL.Path))
	defer p.lock(name)()
	forever := strings.HasSuffix(name, ".deb") || strings.Contains(name, "/by-hash/")
	_, err := os.Stat(name)
	if err != nil || !forever {
		if code, fetched := p.fetch(r, name); fetched != nil && err != nil {
			http.Error(w, fetched.Error(), code)
			return
		}
	}
	if now := time.Now(); forever && os.Chtimes(name, now, now) != nil {
		http.Error(w, "the cache lost "+name, http.StatusInternalServerError)
		return
	}
	http.ServeFile(w, r, name)
}

// lock keeps others from fetching the same file.
func (p *packages) lock(name string) (unlock func()) {
	p.mu.Lock()
	l := p.locked[name]
	if l == nil {
		l = new(sync.Mutex)
		p.locked[name] = l
	}
	p.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// fetch asks the mirror, and returns the answer's code if that is an error.
func (p *packages) fetch(r *http.Request, name string) (int, error) {
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.URL.String(), nil)
	if err != nil {
		return http.StatusBadRequest, err
	}
	resp, err := http.DefaultClient.Do(ask)
	if err != nil {
		return http.StatusBadGateway, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("%s: %s", r.URL, resp.Status)
	}
	if err := keep(name, resp.Body); err != nil {
		return http.StatusBadGateway, fmt.Errorf("keep %s: %w", r.URL, err)
	}
	return http.StatusOK, nil
}

// keep writes a file so that it is there whole or not at all.
func keep(name string, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(name), ".part-")
	if err != nil {
		return err
	}
	_, err = io.Copy(part, content)
	err = errors.Join(err, part.Close())
	if err == nil {
		err = os.Rename(part.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(part.Name()))
	}
	return err
}
