package fetch

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// zipped packs entries "name=content" and "name->target".
func zipped(t testing.TB, entries ...string) []byte {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Method: zip.Deflate}
		name, content, link := strings.Cut(e, "->")
		if link {
			h.SetMode(os.ModeSymlink | 0o777)
		} else {
			name, content, _ = strings.Cut(e, "=")
			h.SetMode(0o755)
		}
		h.Name = name
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func piped(t *testing.T, data []byte, command string) []byte {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		t.Skipf("no %s on this machine", command)
	}
	cmd := exec.Command(command, "-c")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unpack puts an archive in the sandbox by way of the cache, so that the archive itself is not in it.
func unpack(t *testing.T, o Options, name string, data []byte) (*rig, error) {
	t.Helper()
	url, _ := serve(t, map[string][]byte{"/" + name: data})
	r := newRig(t, o)
	return r, r.fetch(Item{URI: url + "/" + name, Extract: true, Cache: true})
}

func TestWrappings(t *testing.T) {
	plain := tarball(t, "a=1")
	for name, data := range map[string]func(t *testing.T) []byte{
		"x.tar": func(*testing.T) []byte { return plain }, "x.tgz": func(t *testing.T) []byte { return gz(t, plain) },
		"x.tar.bz2": func(t *testing.T) []byte { return piped(t, plain, "bzip2") }, "x.tbz2": func(t *testing.T) []byte { return piped(t, plain, "bzip2") },
		"x.tar.xz": func(t *testing.T) []byte { return piped(t, plain, "xz") }, "x.TXZ": func(t *testing.T) []byte { return piped(t, plain, "xz") },
		"x.zip": func(t *testing.T) []byte { return zipped(t, "a=1") }, "misnamed.tar.gz": func(*testing.T) []byte { return plain },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := unpack(t, Options{}, name, data(t))
			if err != nil {
				t.Fatal(err)
			}
			r.want("a 755 1")
		})
	}
	t.Run("broken xz", func(t *testing.T) {
		broken := piped(t, bytes.Repeat(plain, 50), "xz")
		_, err := unpack(t, Options{}, "x.tar.xz", append(broken[:12], 0xff, 0xff))
		if err == nil {
			t.Error("got no error")
		}
	})
}

func TestEntries(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []string
		want    []string
		fault   string
	}{
		{"folders are made", []string{"a/b/c=1"}, []string{"a/", "a/b/", "a/b/c 755 1"}, ""},
		{"the slash in front goes", []string{"/a=1", "./b=2"}, []string{"a 755 1", "b 755 2"}, ""},
		{"the later one wins", []string{"a=1", "a=2", "b->a", "b=3"}, []string{"a 755 2", "b 755 3"}, ""},
		{"links inside", []string{"d/f=1", "d/l->f", "m->d/l", "d/up->../m"}, []string{"d/", "d/f 755 1", "d/l -> f", "d/up -> ../m", "m -> d/l"}, ""},
		{"out by name", []string{"../x=1"}, nil, "not a path in the sandbox"},
		{"out in the middle", []string{"a/../../x=1"}, nil, "not a path in the sandbox"},
		{"out by an absolute link", []string{"l->/tmp"}, nil, "not in the sandbox"},
		{"out by a relative link", []string{"d/l->../../x"}, []string(nil), "not in the sandbox"},
		{"out by links of links", []string{"p/q/", "p/q/r->../..", "s->p/q/r/..", "s/box2=1"}, []string{"p/", "p/q/", "p/q/r -> ../..", "s -> p/q/r/.."}, "escapes"},
		{"over a full folder", []string{"d/f=1", "d=2"}, []string{"d/", "d/f 755 1"}, "directory not empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, kind := range []string{"x.tar", "x.zip"} {
				data := tarball(t, c.entries...)
				if kind == "x.zip" {
					if c.name == "out by links of links" {
						continue // zip's folders are written in another way
					}
					data = zipped(t, c.entries...)
				}
				r, err := unpack(t, Options{}, kind, data)
				if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("%s: got %v", kind, err)
				}
				if c.fault == "" || c.want != nil {
					r.want(c.want...)
				} else {
					r.tree()
				}
			}
		})
	}
	t.Run("hard links", func(t *testing.T) {
		r, err := unpack(t, Options{}, "x.tar", tarball(t, "a=1", "b=>a"))
		if err != nil {
			t.Fatal(err)
		}
		r.want("a 755 1", "b 755 1")
		if _, err := unpack(t, Options{}, "x.tar", tarball(t, "b=>../../../etc/passwd")); err == nil {
			t.Error("a hard link leads out")
		}
	})
	t.Run("devices", func(t *testing.T) {
		if _, err := unpack(t, Options{}, "x.tar", tarball(t, "dev:null")); err == nil || !strings.Contains(err.Error(), "only files") {
			t.Errorf("got %v", err)
		}
	})
}

func TestBombs(t *testing.T) {
	zeros := strings.Repeat("0", 4<<20)
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("f%d=", i))
	}
	small := Options{Unpacked: 1 << 20, Entries: 100}
	for _, c := range []struct {
		name, fault string
		data        []byte
	}{
		{"x.tgz", "larger than 1 MiB", gz(t, tarball(t, "a="+zeros))},
		{"y.zip", "larger than 1 MiB", zipped(t, "a="+zeros)},
		{"z.gz", "larger than 1 MiB", gz(t, []byte(zeros))},
		{"many.tgz", "more than 100 files", gz(t, tarball(t, many...))},
		{"many.zip", "more than 100 files", zipped(t, many...)},
		{"headers.tgz", "larger than 1 MiB", gz(t, bytes.Repeat(globalHeader(t), 5<<10))},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := unpack(t, small, c.name, c.data)
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v", err)
			}
			r.tree()
		})
	}
}

// globalHeader is an entry that makes no file.
func globalHeader(t *testing.T) []byte {
	t.Helper()
	b := tarball(t, "x=")[:512]
	b[156] = 'g'
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// FuzzExtract: whatever an archive holds, nothing is written outside the sandbox, and the bounds hold.
func FuzzExtract(f *testing.F) {
	for _, e := range [][]string{{"a=1"}, {"../x=1"}, {"d/", "d/l->../..", "d/l/x=1"}, {"b=>a"}, {"l->/", "l/etc=1"}} {
		f.Add("x.tar", tarball(f, e...))
		f.Add("x.tgz", gz(f, tarball(f, e...)))
		f.Add("x.zip", zipped(f, e...))
	}
	f.Add("x.gz", gz(f, []byte("text")))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		k := kindOf(name)
		if k == none || bytes.HasPrefix(data, []byte("\xfd7zXZ")) { // xz is a process a file
			return
		}
		outside := t.TempDir()
		box := filepath.Join(outside, "box")
		at := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(box, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, data, 0o600); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(box)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		from, err := os.Open(at)
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		o := Options{CacheDir: outside, Unpacked: 1 << 20, Entries: 100, Log: quiet()}.withDefaults()
		j := &job{Fetcher: &Fetcher{o: o}, root: root, unpacked: o.Unpacked, entries: o.Entries, tell: func(string) {}}
		_ = j.extract(t.Context(), from, k, "archive.tar.gz")
		if all, err := os.ReadDir(outside); err != nil || len(all) != 1 {
			t.Errorf("written outside: %v, %v", all, err)
		}
	})
}
