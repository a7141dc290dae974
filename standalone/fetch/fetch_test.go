package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
)

func quiet() logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

// rig is a fetcher with a sandbox inside a folder that must stay as it is.
type rig struct {
	*Fetcher
	t            *testing.T
	outside, box string
	told         []string
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	r := &rig{t: t, outside: t.TempDir()}
	r.box = filepath.Join(r.outside, "box")
	if err := os.Mkdir(r.box, 0o755); err != nil {
		t.Fatal(err)
	}
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	o.Log = quiet()
	var err error
	if r.Fetcher, err = New(o); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) fetch(items ...Item) error {
	return r.Fetch(r.t.Context(), r.box, items, func(text string) { r.told = append(r.told, text) })
}

// tree lists what is in the sandbox: "path mode content" or "path -> target".
func (r *rig) tree() []string {
	var out []string
	err := filepath.WalkDir(r.box, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == r.box {
			return err
		}
		name, _ := filepath.Rel(r.box, path)
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			out = append(out, name+"/")
		case info.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			out = append(out, name+" -> "+to)
		default:
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out = append(out, fmt.Sprintf("%s %o %s", name, info.Mode().Perm(), text))
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if all, _ := os.ReadDir(r.outside); len(all) != 1 {
		r.t.Errorf("something was written beside the sandbox: %v", all)
	}
	return out
}

func (r *rig) want(want ...string) {
	r.t.Helper()
	if d := cmp.Diff(want, r.tree()); d != "" {
		r.t.Errorf("(-want +got)\n%s", d)
	}
}

// tarball packs entries "name=content", "name/", "name->target", "name=>hard link".
func tarball(t testing.TB, entries ...string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Mode: 0o4755, Typeflag: tar.TypeReg}
		content := ""
		switch {
		case strings.Contains(e, "=>"):
			h.Name, h.Linkname, _ = strings.Cut(e, "=>")
			h.Typeflag = tar.TypeLink
		case strings.Contains(e, "->"):
			h.Name, h.Linkname, _ = strings.Cut(e, "->")
			h.Typeflag = tar.TypeSymlink
		case strings.HasPrefix(e, "dev:"):
			h.Name, h.Typeflag = e[4:], tar.TypeChar
		case strings.HasSuffix(e, "/"):
			h.Name, h.Typeflag = e, tar.TypeDir
		default:
			h.Name, content, _ = strings.Cut(e, "=")
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// serve answers every path with its content, and counts.
func serve(t *testing.T, files map[string][]byte) (url string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Path)
		content, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%d-%x"`, len(content), content[:min(8, len(content))]))
		http.ServeContent(w, r, r.URL.Path, time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func TestFetch(t *testing.T) {
	url, _ := serve(t, map[string][]byte{
		"/plain.txt": []byte("text"), "/run.sh": []byte("#!/bin/sh"), "/app.tar.gz": gz(t, tarball(t, "bin/", "bin/app=code", "lib->bin")),
		"/app.tar": tarball(t, "a=1"), "/one.gz": gz(t, []byte("one")),
	})
	for _, c := range []struct {
		name  string
		items []Item
		want  []string
	}{
		{"a file, with a query", []Item{{URI: url + "/plain.txt?x=1", Extract: true}}, []string{"plain.txt 644 text"}},
		{"executable", []Item{{URI: url + "/run.sh", Executable: true}}, []string{"run.sh 755 #!/bin/sh"}},
		{"executable wins over extract", []Item{{URI: url + "/one.gz", Executable: true, Extract: true, OutputFile: "x"}}, []string{"x 755 " + string(gz(t, []byte("one")))}},
		{"an archive, which stays", []Item{{URI: url + "/app.tar", Extract: true}}, []string{"a 755 1", "app.tar 644 " + string(tarball(t, "a=1"))}},
		{"one that is not unpacked", []Item{{URI: url + "/app.tar"}}, []string{"app.tar 644 " + string(tarball(t, "a=1"))}},
		{"from the cache without itself", []Item{{URI: url + "/app.tar.gz", Extract: true, Cache: true}}, []string{"bin/", "bin/app 755 code", "lib -> bin"}},
		{"gzipped", []Item{{URI: url + "/one.gz", Extract: true, Cache: true}}, []string{"one 644 one"}},
		{"destPath", []Item{{URI: url + "/plain.txt", OutputFile: "sub/deep/t"}}, []string{"sub/", "sub/deep/", "sub/deep/t 644 text"}},
		{"the last of one name wins", []Item{{URI: url + "/plain.txt"}, {URI: url + "/run.sh", OutputFile: "plain.txt"}}, []string{"plain.txt 644 #!/bin/sh"}},
		{"a link of an archive does not lead anybody", []Item{{URI: url + "/app.tar.gz", Extract: true, Cache: true}, {URI: url + "/plain.txt", OutputFile: "lib"}}, []string{"bin/", "bin/app 755 code", "lib 644 text"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Options{})
			if err := r.fetch(c.items...); err != nil {
				t.Fatal(err)
			}
			r.want(c.want...)
			if len(r.told) == 0 || !strings.HasPrefix(r.told[0], "fetching "+url) {
				t.Errorf("told %q", r.told)
			}
		})
	}
}

func TestFailuresNameTheURI(t *testing.T) {
	url, _ := serve(t, map[string][]byte{"/big": bytes.Repeat([]byte("x"), 3<<20), "/broken.tar.gz": []byte("\x1f\x8bno"), "/empty.zip": nil})
	dead := httptest.NewServer(nil)
	dead.Close()
	hang := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("begin")) //nolint:errcheck // the client goes away
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer hang.Close()
	away := httptest.NewServer(http.RedirectHandler("ftp://x/y", http.StatusFound))
	defer away.Close()
	for _, c := range []struct{ name, uri, dest, want string }{
		{"missing", url + "/none", "", "failed to fetch '" + url + "/none': HTTP 404 Not Found"},
		{"nobody there", dead.URL + "/x", "", "connection refused"},
		{"too large", url + "/big", "", "larger than the 2 MiB that may be fetched"},
		{"stalled", hang.URL + "/x", "", "nothing came for 50ms"},
		{"redirected away", away.URL + "/x", "", "redirected to scheme ftp"},
		{"scheme", "hdfs://nn/x", "", "scheme hdfs is not supported"},
		{"no path", url + "/", "", "no file name"},
		{"relative", "x.tgz", "", "neither a URL nor an absolute path"},
		{"out of the sandbox", url + "/big", "../x", "'../x' is not a path in the sandbox"},
		{"absolute", url + "/big", "/etc/x", "not a path in the sandbox"},
		{"no archive", url + "/broken.tar.gz", "", "unpack it"},
		{"empty archive", url + "/empty.zip", "", "it is empty"},
		{"password", "http://u:secret@127.0.0.1:1/x", "", "'http://u:xxxxx@127.0.0.1:1/x'"},
		{"file", "file:///etc/passwd", "", "not below an allowed host path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Options{Bytes: 2 << 20, Stall: 50 * time.Millisecond})
			err := r.fetch(Item{URI: c.uri, Extract: true, OutputFile: c.dest})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v", err)
			}
			r.tree()
		})
	}
	t.Run("given up", func(t *testing.T) {
		r := newRig(t, Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("killed")
		err := r.Fetch(ctx, r.box, []Item{{URI: hang.URL + "/x"}}, func(string) { cancel(cause) })
		if !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLocalFiles(t *testing.T) {
	dir := t.TempDir()
	allowed := filepath.Join(dir, "allowed")
	if err := errors.Join(os.Mkdir(allowed, 0o755), os.WriteFile(filepath.Join(allowed, "f"), []byte("ok"), 0o600),
		os.WriteFile(filepath.Join(dir, "secret"), []byte("no"), 0o600),
		os.Symlink("../secret", filepath.Join(allowed, "link")), os.Symlink("f", filepath.Join(allowed, "near"))); err != nil {
		t.Fatal(err)
	}
	for uri, good := range map[string]bool{
		"file://" + allowed + "/f": true, "file://localhost" + allowed + "/f": true, allowed + "/near": true,
		"file://" + allowed + "/link": false, "file://" + allowed + "/../secret": false, "file://" + allowed: false,
		"file://" + allowed + "/none": false, "file://elsewhere/f": false, "file://" + dir + "/secret": false,
	} {
		r := newRig(t, Options{Roots: []string{allowed}})
		if err := r.fetch(Item{URI: uri, OutputFile: "got", Cache: true}); (err == nil) != good {
			t.Errorf("%s: %v", uri, err)
		}
		if good {
			r.want("got 644 ok")
		}
	}
}

func TestCache(t *testing.T) {
	files := map[string][]byte{"/a": []byte("1234"), "/b": []byte("5678"), "/c": []byte("9")}
	url, asked := serve(t, files)
	dir := t.TempDir()
	r := newRig(t, Options{CacheDir: dir, CacheBytes: 8})
	get := func(name string) string {
		t.Helper()
		if err := r.fetch(Item{URI: url + name, Cache: true}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(r.box, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	count := func() int {
		t.Helper()
		all, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if first, second := get("/a"), get("/a"); first != "1234" || second != first || len(*asked) != 2 || count() != 2 {
		t.Errorf("asked %v, %d files", *asked, count())
	}
	files["/a"] = []byte("new!")
	if get("/a") != "new!" {
		t.Error("a newer version counts")
	}
	get("/b")
	old := time.Now().Add(-time.Hour)
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if text, _ := os.ReadFile(path); string(text) == "5678" {
			return os.Chtimes(path, old, old)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	get("/c") // one byte too much: the one not used for longest goes
	if count() != 4 {
		t.Errorf("%d files", count())
	}
	t.Run("without its server", func(t *testing.T) {
		r := newRig(t, Options{CacheDir: dir, Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("down") })})
		if err := r.fetch(Item{URI: url + "/a", Cache: true}); err != nil {
			t.Error(err)
		}
		r.want("a 644 new!")
		if err := r.fetch(Item{URI: url + "/b", Cache: true}); err == nil || !strings.HasSuffix(err.Error(), ": down") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("withdrawn", func(t *testing.T) {
		delete(files, "/a")
		if err := newRig(t, Options{CacheDir: dir}).fetch(Item{URI: url + "/a", Cache: true}); err == nil {
			t.Error("what is gone at its server is not served")
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOneDownloadForAll(t *testing.T) {
	begun, release := make(chan struct{}, 10), make(chan struct{})
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		n++
		begun <- struct{}{}
		<-release
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, "x")
	}))
	defer s.Close()
	dir := t.TempDir()
	first := newRig(t, Options{CacheDir: dir})
	done := make(chan error)
	for range 3 {
		box := t.TempDir()
		go func() {
			done <- first.Fetch(t.Context(), box, []Item{{URI: s.URL + "/f", Cache: true}}, func(string) {})
		}()
	}
	<-begun
	close(release)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d downloads", n)
	}
}
