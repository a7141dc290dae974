package instance

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/images/drift"
)

// archive is a tar file of lines "KIND PATH [CONTENT or LINK]".
func archive(t *testing.T, lines string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	kinds := map[string]byte{"dir": tar.TypeDir, "file": tar.TypeReg, "link": tar.TypeSymlink, "hard": tar.TypeLink, "fifo": tar.TypeFifo}
	for line := range strings.Lines(lines) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		h := &tar.Header{Typeflag: kinds[words[0]], Name: words[1], Mode: 0o640, Uid: 33}
		content := ""
		switch {
		case len(words) > 2 && words[0] == "file":
			content = strings.ReplaceAll(words[2], `\n`, "\n")
		case len(words) > 2:
			h.Linkname = words[2]
		}
		if err := put(w, h, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// TestFilter: of all files those that differ go into the image, with their owners, and secrets do not.
func TestFilter(t *testing.T) {
	changed := "/etc/shadow /etc/shop.conf /etc/berth /etc/berth/key /opt /opt/shop /opt/shop/a /opt/shop/b /opt/shop/to-base /opt/shop/key.pem /opt/shop/again.pem " +
		"/opt/shop/kept.pem /root/.netrc /var/log/shop /var/log/shop/x.log /run/x /opt/shop/pipe /opt/shop/current"
	look := &Look{mounts: []string{"/etc/berth"}, shadow: "root:*:1:::::\n"}
	for _, p := range strings.Fields(changed) {
		look.changes = append(look.changes, drift.Change{Kind: drift.Added, Path: p})
	}
	look.changes = append(look.changes, drift.Change{Kind: drift.Removed, Path: "/etc/gone"})
	c := &committer{look: look, o: CommitOptions{With: []string{"/opt/shop/kept.pem"}, Now: time.Unix(0, 0)}, leftOut: map[string]string{}}
	c.recipe = drift.Recipe{Image: "shop:2", LeftOut: c.leftOut}
	in := archive(t, `dir etc/
file etc/hosts not-changed
file etc/shadow root:$y$secret:2:::::\n
file etc/shop.conf listen=80
dir etc/berth/
file etc/berth/key secret
file etc/gone back-again
dir opt/
dir opt/shop/
file opt/shop/a content
hard opt/shop/b opt/shop/a
hard opt/shop/to-base etc/hosts
file opt/shop/key.pem -----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n
hard opt/shop/again.pem opt/shop/key.pem
file opt/shop/kept.pem -----BEGIN PRIVATE KEY-----\n
fifo opt/shop/pipe
link opt/shop/current a
file root/.netrc machine
file run/x 1
dir var/log/shop/
file var/log/shop/x.log line
`)
	var out bytes.Buffer
	if err := c.filter(in, &out); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	r := tar.NewReader(&out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		content, readErr := io.ReadAll(r)
		if err = errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		got[h.Name] = fmt.Sprintf("%c %d %s%s", h.Typeflag, h.Uid, content, h.Linkname)
	}
	if !strings.HasPrefix(got["usr/share/berth/recipe.md"], "0 0 # shop:2\n") {
		t.Errorf("recipe: %q", got["usr/share/berth/recipe.md"])
	}
	delete(got, "usr/share/berth/recipe.md")
	want := map[string]string{
		"etc/shadow": "0 33 root:*:2:::::\n", "etc/shop.conf": "0 33 listen=80", "opt/": "5 33 ", "opt/shop/": "5 33 ", "opt/shop/a": "0 33 content",
		"opt/shop/b": "1 33 opt/shop/a", "opt/shop/kept.pem": "0 33 -----BEGIN PRIVATE KEY-----\n", "opt/shop/current": "2 33 a", "var/log/shop/": "5 33 ",
		"usr/share/berth": "5 0 ",
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if got, want := slices.Sorted(maps.Keys(c.leftOut)), strings.Split("/etc/shadow: root,/opt/shop/again.pem,/opt/shop/key.pem,/opt/shop/pipe,/opt/shop/to-base,/root/.netrc", ","); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestGone: what was removed is taken away once, and not what every start makes anew.
func TestGone(t *testing.T) {
	look := &Look{mounts: []string{"/etc/berth"}}
	for _, p := range strings.Fields("/etc/a /etc/a/1 /etc/a/2 /etc/ab /run/x /tmp/y /usr/bin/less") {
		look.changes = append(look.changes, drift.Change{Kind: drift.Removed, Path: p})
	}
	c := &committer{look: look}
	got, err := c.gone()
	if want := []string{"/etc/a", "/etc/ab", "/usr/bin/less"}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
	for i := range 20_000 {
		look.changes = append(look.changes, drift.Change{Kind: drift.Removed, Path: fmt.Sprintf("/usr/share/%0100d", i)})
	}
	if _, err := c.gone(); err == nil {
		t.Error("more than a command line holds was taken")
	}
}

func TestTagged(t *testing.T) {
	for tag, want := range map[string]bool{
		"web:2": true, "registry.example.com:5000/team/web:2.0-1": true, "localhost/web:x": true, "berth/base:bookworm": true,
		"web": false, "registry:5000/web": false, "Web:2": false, "web:": false, "web:2@sha256:00": false, "-x:1": false, "web:2 ": false, "web:-2": false,
	} {
		if got := tagged.MatchString(tag); got != want {
			t.Errorf("%q: %v", tag, got)
		}
	}
}
