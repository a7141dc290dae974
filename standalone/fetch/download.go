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

	"golang.org/x/sys/unix"
)

// source is where a URI leads: an HTTP server, or a file of this host.
type source struct {
	uri  string
	url  *url.URL // nil: a file
	path string   // of the URL, or of the file
}

// source reads a URI. What Mesos leaves to a Hadoop client, and FTP, are not there.
func (f *Fetcher) source(uri string) (source, error) {
	uri = strings.TrimLeft(uri, " \t")
	u, err := url.Parse(uri)
	if err != nil {
		return source{}, errors.New("this is no URI")
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		if u.Host == "" {
			return source{}, errors.New("it names no server")
		}
		return source{uri: uri, url: u, path: u.Path}, nil
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return source{}, errors.New("a file:// URI names a file of this host")
		}
		return source{uri: uri, path: u.Path}, nil
	case "":
		if path.IsAbs(u.Path) {
			return source{uri: uri, path: u.Path}, nil
		}
		return source{}, errors.New("it is neither a URL nor an absolute path")
	}
	return source{}, fmt.Errorf("scheme %s is not supported; http, https and file are", u.Scheme)
}

func newTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true // the file as it is, also where a server calls a .gz "encoded"
	t.MaxIdleConnsPerHost = 1
	t.ResponseHeaderTimeout = time.Minute
	return t
}

func newClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("more than 10 redirects")
		}
		if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
			return fmt.Errorf("redirected to scheme %s", r.URL.Scheme)
		}
		return nil
	}}
}

// validators say which version of a file the cache has.
type validators struct{ ETag, LastModified string }

// errUnchanged: the server says that the cache has the newest version.
var errUnchanged = errors.New("unchanged")

// statusError is an answer other than the file.
type statusError struct{ code int }

func (e statusError) Error() string {
	return fmt.Sprintf("HTTP %d %s", e.code, http.StatusText(e.code))
}

// download writes the source to w. have is what the cache has; zero: nothing.
func (j *job) download(ctx context.Context, s source, have validators, w io.Writer) (validators, error) {
	if s.url == nil {
		return validators{}, j.local(ctx, s.path, w)
	}
	ctx, stalled := context.WithCancelCause(ctx)
	defer stalled(nil)
	watchdog := time.AfterFunc(j.o.Stall, func() { stalled(fmt.Errorf("nothing came for %v", j.o.Stall)) })
	defer watchdog.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.uri, nil)
	if err != nil {
		return validators{}, errors.New("this is no URI")
	}
	req.Header.Set("User-Agent", "berth-fetch")
	if have.ETag != "" {
		req.Header.Set("If-None-Match", have.ETag)
	}
	if have.LastModified != "" {
		req.Header.Set("If-Modified-Since", have.LastModified)
	}
	resp, err := j.client.Do(req)
	if err != nil {
		return validators{}, reason(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && have != validators{}:
		return have, errUnchanged
	case resp.StatusCode != http.StatusOK:
		return validators{}, statusError{resp.StatusCode}
	case resp.ContentLength > j.bytes:
		return validators{}, j.tooLarge()
	}
	done := int64(0)
	body := readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		if n > 0 {
			watchdog.Reset(j.o.Stall)
			done += int64(n)
			j.progress("fetching %s: %s", Redacted(s.uri), amount(done, resp.ContentLength))
		}
		return n, err
	})
	if err := j.bounded(ctx, w, body); err != nil {
		return validators{}, reason(ctx, err)
	}
	return validators{resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")}, nil
}

// reason is the context's own cause where that ended the download, and net/http's words without the URL in front.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

func amount(done, total int64) string {
	const mib = 1 << 20
	if total < 0 {
		return fmt.Sprintf("%d MiB", done/mib)
	}
	return fmt.Sprintf("%d of %d MiB", done/mib, total/mib)
}

func (j *job) tooLarge() error {
	return fmt.Errorf("the task's files are larger than the %d MiB that may be fetched", j.o.Bytes>>20)
}

// bounded copies what may still be downloaded.
func (j *job) bounded(ctx context.Context, w io.Writer, from io.Reader) error {
	counted := readerFunc(func(p []byte) (int, error) {
		n, err := from.Read(p)
		if j.bytes -= int64(n); j.bytes < 0 {
			return 0, j.tooLarge()
		}
		return n, err
	})
	return j.copy(ctx, w, counted)
}

// local copies a file of this host. It is opened through the folder that the operators allow, so a symbolic link below it
// leads no further.
func (j *job) local(ctx context.Context, name string, w io.Writer) error {
	name = filepath.Clean(name)
	for _, dir := range j.o.Roots {
		rel, err := filepath.Rel(dir, name)
		if err != nil || !filepath.IsLocal(rel) || rel == "." {
			continue
		}
		return j.localBelow(ctx, dir, rel, w)
	}
	return errors.New("this file of the host is not below an allowed host path")
}

func (j *job) localBelow(ctx context.Context, dir, rel string, w io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0) // a fifo must not hold us
	if err != nil {
		return err
	}
	defer f.Close()
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
		return errors.Join(err, errors.New("it is not a regular file"))
	}
	return j.bounded(ctx, w, f)
}
