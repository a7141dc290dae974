// Package fetch downloads what a task's definition names into its sandbox, and unpacks archives there, as Mesos's fetcher
// does. In come a folder and URIs; out come files, or the reason why not. What is downloaded is not trusted: an archive
// never writes outside the folder, and everything has a bound.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Item is one URI of a task.
type Item struct {
	URI string
	// Extract unpacks the file in the sandbox when its name is an archive's; Executable makes it executable instead.
	Extract, Executable bool
	// Cache keeps the file for the next task that wants it.
	Cache bool
	// OutputFile is the file's path in the sandbox; "": the last part of the URI's path.
	OutputFile string
}

// Options configure a Fetcher. CacheDir and Log are required.
type Options struct {
	CacheDir   string
	CacheBytes int64 // what the cache may hold; default 2 GiB
	// Bytes bounds what one call of Fetch downloads (default 4 GiB), Unpacked what its archives may hold (default 4 x Bytes),
	// and Entries how many files they may have (default 200,000).
	Bytes, Unpacked int64
	Entries         int
	// Timeout bounds one call of Fetch (default 10 min), and Stall a download that brings nothing (default 1 min).
	Timeout, Stall time.Duration
	// Roots are the folders of the host below which file:// URIs may lie.
	Roots []string
	// Transport is the HTTP client's; nil: one that heeds the proxies of the environment.
	Transport http.RoundTripper
	Log       logrus.FieldLogger
}

func (o Options) withDefaults() Options {
	number := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	number(&o.CacheBytes, 2<<30)
	number(&o.Bytes, 4<<30)
	number(&o.Unpacked, 4*o.Bytes)
	if o.Entries == 0 {
		o.Entries = 200_000
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	return o
}

// Validate names everything that is wrong.
func (o Options) Validate() error {
	var errs []error
	if o.CacheDir == "" || o.Log == nil {
		errs = append(errs, errors.New("a cache folder and a log are needed"))
	}
	if o.CacheBytes < 0 || o.Bytes < 0 || o.Unpacked < 0 || o.Entries < 0 || o.Timeout < 0 || o.Stall < 0 {
		errs = append(errs, errors.New("bounds must not be negative"))
	}
	return errors.Join(errs...)
}

// Fetcher fetches for all tasks of a host; its methods may be called at the same time.
type Fetcher struct {
	o      Options
	client *http.Client
	cache  *cache
}

// New prepares a Fetcher and its cache folder, and removes what a killed predecessor left half written.
func New(o Options) (*Fetcher, error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("set up fetching: %w", err)
	}
	c, err := openCache(o.CacheDir, o.CacheBytes)
	if err != nil {
		return nil, err
	}
	return &Fetcher{o: o, client: newClient(o.Transport), cache: c}, nil
}

// Error says which URI could not be had, and why.
type Error struct {
	URI   string // without its password
	Cause error
}

func (e *Error) Error() string { return fmt.Sprintf("failed to fetch '%s': %v", e.URI, e.Cause) }

func (e *Error) Unwrap() error { return e.Cause }

// job is one call of Fetch: what is left of its bounds, and whom to tell.
type job struct {
	*Fetcher
	root     *os.Root
	bytes    int64 // left to download
	unpacked int64 // left to unpack
	entries  int
	tell     func(text string)
	told     time.Time
}

// tellEvery bounds how often progress is told.
const tellEvery = 5 * time.Second

// Fetch brings the items into dir, one after the other. It tells its progress now and then. An error is an *Error.
func (f *Fetcher) Fetch(ctx context.Context, dir string, items []Item, tell func(text string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.o.Timeout, fmt.Errorf("not done after %v", f.o.Timeout))
	defer cancel()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the sandbox: %w", err)
	}
	defer root.Close()
	j := &job{Fetcher: f, root: root, bytes: f.o.Bytes, unpacked: f.o.Unpacked, entries: f.o.Entries, tell: tell}
	for _, item := range items {
		if err := j.one(ctx, item); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return &Error{URI: Redacted(item.URI), Cause: err}
		}
	}
	return nil
}

// Redacted is a URI as people may see it: without its password.
func Redacted(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return uri
	}
	return u.Redacted()
}

func (j *job) progress(format string, args ...any) {
	if now := time.Now(); now.Sub(j.told) >= tellEvery {
		j.told = now
		j.tell(fmt.Sprintf(format, args...))
	}
}

func (j *job) one(ctx context.Context, item Item) error {
	s, err := j.source(item.URI)
	if err != nil {
		return err
	}
	name, err := outputName(item, s)
	if err != nil {
		return err
	}
	j.progress("fetching %s", Redacted(item.URI))
	k := none
	if item.Extract && !item.Executable {
		k = kindOf(name)
	}
	if item.Cache && s.url != nil {
		from, err := j.cached(ctx, s)
		if err != nil {
			return err
		}
		defer from.Close()
		if k != none { // an archive of the cache is not copied, as with Mesos
			return j.extract(ctx, from, k, name)
		}
		return j.write(name, item.Executable, func(w io.Writer) error { return j.copy(ctx, w, from) })
	}
	err = j.write(name, item.Executable, func(w io.Writer) error { _, err := j.download(ctx, s, validators{}, w); return err })
	if err != nil || k == none {
		return err
	}
	from, err := j.root.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	return j.extract(ctx, from, k, name)
}

// outputName is the file's path in the sandbox.
func outputName(item Item, s source) (string, error) {
	name := item.OutputFile
	if name == "" {
		name = path.Base(s.path)
		if s.path == "" || strings.HasSuffix(s.path, "/") {
			return "", errors.New("its path has no file name; give one with destPath")
		}
	}
	if name = filepath.Clean(name); name == "." || !filepath.IsLocal(name) {
		return "", fmt.Errorf("'%s' is not a path in the sandbox", name)
	}
	return name, nil
}

// write makes a new file in the sandbox. A file of that name gives way: it may be a link that an archive has made.
func (j *job) write(name string, executable bool, fill func(io.Writer) error) error {
	if err := j.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := j.root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := j.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	return errors.Join(fill(f), f.Chmod(mode), f.Close())
}

// copy copies until the end of from, or of the call.
func (j *job) copy(ctx context.Context, w io.Writer, from io.Reader) error {
	_, err := io.Copy(w, readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return from.Read(p)
	}))
	return err
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
