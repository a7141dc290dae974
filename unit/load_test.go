package unit

import (
	"slices"
	"strings"
	"testing"
)

// TestDropIns: the order is that of the base names, the nearest folder has the name, and /dev/null takes one away.
func TestDropIns(t *testing.T) {
	u := machine(`
-- /lib/systemd/system/my-app@.service
[Unit]
Description=%i of %p on %H, %j
[Service]
ExecStart=/bin/app %i
Environment=A=1
Nice=1
-- /etc/systemd/system/old@.service -> /lib/systemd/system/my-app@.service
-- /lib/systemd/system/my-app@.service.d/20-template.conf
[Service]
Nice=2
-- /etc/systemd/system/my-app@x.service.d/10-own.conf
[Service]
Environment=A=2 B=3
ExecStart=
ExecStart=/bin/other %I
-- /etc/systemd/system/service.d/30-kind.conf
[Service]
UMask=027
-- /etc/systemd/system/my-@.service.d/15-family.conf
[Service]
User=family
-- /lib/systemd/system/my-app@x.service.d/10-own.conf
[Service]
Nice=9
-- /etc/systemd/system/my-app@x.service.d/20-template.conf -> /dev/null
-- /lib/systemd/system/old@x.service.d/40-alias.conf
[Service]
Group=alias
-- /etc/systemd/system/my-app@x.service.d/50-not
[Service]
Nice=19
`).Unit("old@x.service")
	if u.Load != Loaded || u.Name != "my-app@x.service" || !slices.Contains(u.Names, "old@x.service") {
		t.Fatalf("%s %s %v %s", u.Name, u.Load, u.Names, u.Problem)
	}
	s := u.Service
	if got := strings.Join(u.DropIns, " "); got != "/etc/systemd/system/my-app@x.service.d/10-own.conf /etc/systemd/system/my-@.service.d/15-family.conf "+
		"/etc/systemd/system/service.d/30-kind.conf /lib/systemd/system/old@x.service.d/40-alias.conf" {
		t.Errorf("drop-ins: %s", got)
	}
	if u.Description != "x of my-app on web1.example.org, app" || *s.Nice != 1 || s.UMask != 0o27 || s.User != "family" || s.Group != "alias" ||
		!slices.Equal(s.Environment, []string{"A=2", "B=3"}) || len(s.ExecStart) != 1 || s.ExecStart[0].Path != "/bin/other" {
		t.Errorf("%q %+v", u.Description, s)
	}
}

func TestLoadStates(t *testing.T) {
	s := machine(`
-- /lib/systemd/system/empty.service
-- /lib/systemd/system/loop.service -> loop2.service
-- /lib/systemd/system/loop2.service -> loop.service
-- /lib/systemd/system/dangling.service -> gone.service
-- /usr/lib/systemd/system/both.service
[Service]
ExecStart=/bin/usr
-- /etc/systemd/system/both.service
[Service]
ExecStart=/bin/etc
-- /lib/systemd/system/tab.service
[Service]
  ExecStart = /bin/tab \
# a comment in between
; and another
   a \
  b
`)
	for name, want := range map[string]LoadState{
		"empty.service": Masked, "gone.service": NotFound, "dangling.service": NotFound, "a b": NotFound, "x": NotFound, "both.service": Loaded,
		"multi-user.target": Loaded, "default.target": Loaded, "sysinit.target": Loaded, "my.target": NotFound, "@x.service": NotFound,
	} {
		if u := s.Unit(name); u.Load != want {
			t.Errorf("%s is %s, want %s: %s", name, u.Load, want, u.Problem)
		}
	}
	if u := s.Unit("loop.service"); u.Load == Loaded {
		t.Errorf("a loop of links is loaded")
	}
	if u := s.Unit("both.service"); u.Path != "/etc/systemd/system/both.service" {
		t.Errorf("from %s", u.Path)
	}
	if c := s.Unit("tab.service").Service.ExecStart[0]; !slices.Equal(c.Args, []string{"/bin/tab", "a", "b"}) {
		t.Errorf("%q", c.Args)
	}
	if again := s.Unit("both.service"); again != s.Unit("both.service") {
		t.Error("a unit is read twice")
	}
}

// TestForeignRoot: a tree that is not mounted at "/" has absolute links, and on a merged machine /lib is one.
func TestForeignRoot(t *testing.T) {
	s := machine(`
-- /etc/os-release
ID=rocky
ID_LIKE="rhel centos fedora"
-- /lib -> usr/lib
-- /usr/lib/systemd/system/httpd.service
[Service]
ExecStart=/usr/sbin/httpd
-- /etc/systemd/system/multi-user.target.wants/httpd.service -> /lib/systemd/system/httpd.service
-- /etc/systemd/system/web.service -> /lib/systemd/system/httpd.service
-- /etc/localtime -> ../usr/share/zoneinfo/Europe/Vienna
`)
	u := s.Unit("web.service")
	if u.Name != "httpd.service" || u.Path != "/usr/lib/systemd/system/httpd.service" || s.FileState("httpd.service") != Enabled {
		t.Errorf("%s from %s, %s", u.Name, u.Path, s.FileState("httpd.service"))
	}
	if s.zone() != "Europe/Vienna" {
		t.Errorf("zone %s", s.zone())
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"nginx": "nginx.service", "a.b": "a.b.service", "x.timer": "x.timer", "/srv/my data": `srv-my\x20data.mount`, "/dev/sda": "dev-sda.device", "php8.2-fpm": "php8.2-fpm.service",
	} {
		if got := Complete(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, text := range []string{"a-b", "/x y/", "..", "ä", `\x2d`, ""} {
		if got := Unescape(Escape(text)); got != text {
			t.Errorf("%q: escaped %q, back %q", text, Escape(text), got)
		}
	}
	if template, instance := Template("a@b@c.service"); template != "a@.service" || instance != "b@c" {
		t.Errorf("%s %s", template, instance)
	}
}
