package drift_test

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/images/drift"
	"github.com/berth-project/berth/images/recipe"
)

const status = `Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2
Conffiles:
 /etc/bash.bashrc 89269e1298235f1b12b4c16e4065ad0d
 /etc/old 89269e1298235f1b12b4c16e4065ad0d obsolete
Description: shell
 .
 Package: not-one

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: half
Status: install reinstreq half-installed
Architecture: all
Version: 2:1.0~rc1-1
`

func TestStatus(t *testing.T) {
	owners := drift.NewOwners([]drift.Change{{Kind: drift.Changed, Path: "/etc/bash.bashrc"}})
	got := drift.Status(status, owners)
	drift.MarkAuto(got, "Package: half\nArchitecture: all\nAuto-Installed: 1\n\nPackage: bash\nAuto-Installed: 0\n")
	want := []drift.Package{
		{Name: "bash", Version: "5.2.15-2", Arch: "amd64", Format: drift.Deb},
		{Name: "half", Version: "2:1.0~rc1-1", Arch: "all", Format: drift.Deb, Auto: true},
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestReadRPM(t *testing.T) {
	owners := drift.NewOwners([]drift.Change{{Kind: drift.Added, Path: "/usr/sbin/housed"}})
	text := "P\tgpg-pubkey\t0:1-2\t(none)\nP\thoused\t0:1.2-1\tnoarch\nF\thoused\tcn\t/etc/housed.conf\nF\thoused\t\t/sbin/housed\nnonsense\n"
	got, err := drift.ReadRPM(bufio.NewScanner(strings.NewReader(text)), owners)
	if want := []drift.Package{{Name: "housed", Version: "1.2-1", Arch: "noarch", Format: drift.RPM}}; err != nil || !cmp.Equal(got, want) {
		t.Error(err, cmp.Diff(want, got))
	}
	if got := owners.Packages(drift.RPM, []drift.Change{{Path: "/usr/sbin/housed"}}); !cmp.Equal(got, []string{"housed"}) {
		t.Errorf("the link from /sbin into /usr was not seen: %v", got)
	}
}

func TestReadFindings(t *testing.T) {
	text := "??5?????? c /etc/housed/housed.conf\nmissing   c /etc/gone.conf (No such file or directory)\n.......T.    /usr/bin/touched\n" +
		"S.5....T.    /usr/bin/with space\nUnsatisfied dependencies for x\n.M....G..  g /var/log/x\n"
	want := []drift.Finding{
		{Path: "/etc/housed/housed.conf", Conffile: true}, {Path: "/etc/gone.conf", Conffile: true, Missing: true},
		{Path: "/usr/bin/with space"}, {Path: "/var/log/x"},
	}
	if got := drift.ReadFindings(text); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// world is an instance in which much was done.
func world() drift.Input {
	changes := []drift.Change{
		{Kind: drift.Changed, Path: "/etc"}, {Kind: drift.Changed, Path: "/etc/bash.bashrc"}, {Kind: drift.Added, Path: "/etc/berth"},
		{Kind: drift.Added, Path: "/etc/nginx"}, {Kind: drift.Added, Path: "/etc/nginx/mine.conf"}, {Kind: drift.Added, Path: "/etc/nginx/nginx.conf"},
		{Kind: drift.Changed, Path: "/etc/passwd"}, {Kind: drift.Added, Path: "/etc/rc2.d/S01nginx"}, {Kind: drift.Removed, Path: "/etc/rc2.d/S01cron"},
		{Kind: drift.Removed, Path: "/etc/rc6.d/K01cron"}, {Kind: drift.Added, Path: "/etc/systemd/system/multi-user.target.wants/nginx.service"},
		{Kind: drift.Changed, Path: "/usr/bin/ls"}, {Kind: drift.Removed, Path: "/usr/bin/nano"}, {Kind: drift.Added, Path: "/usr/sbin/nginx"},
		{Kind: drift.Added, Path: "/var/lib/nginx"}, {Kind: drift.Added, Path: "/var/lib/nginx/body"}, {Kind: drift.Added, Path: "/var/log/nginx/access.log"},
		{Kind: drift.Added, Path: "/srv/data"}, {Kind: drift.Added, Path: "/srv/data/x"},
	}
	owners := drift.NewOwners(changes)
	for file, p := range map[string]string{
		"/etc/bash.bashrc": "bash", "/etc/nginx": "nginx", "/etc/nginx/nginx.conf": "nginx", "/bin/ls": "coreutils", "/bin/nano": "nano",
		"/usr/sbin/nginx": "nginx", "/var/lib/nginx": "nginx", "/etc": "base-files", "/var/lib": "base-files",
	} {
		owners.Add(drift.Deb, p, file)
	}
	owners.AddConffile(drift.Deb, "bash", "/etc/bash.bashrc")
	owners.AddConffile(drift.Deb, "nginx", "/etc/nginx/gone.conf")
	owners.AddConffile(drift.Deb, "coreutils", "/etc/never.conf")
	return drift.Input{
		Changes: changes, Owners: owners, Mounts: []string{"/etc/berth", "/srv/data"},
		Before: []drift.Package{{Name: "bash", Version: "5.2", Format: drift.Deb}, {Name: "nano", Version: "7.2", Format: drift.Deb}, {Name: "openssl", Version: "3.0.9", Format: drift.Deb}},
		After: []drift.Package{
			{Name: "bash", Version: "5.2", Format: drift.Deb}, {Name: "openssl", Version: "3.0.11", Format: drift.Deb},
			{Name: "nginx", Version: "1.22", Format: drift.Deb}, {Name: "nginx-common", Version: "1.22", Format: drift.Deb, Auto: true},
		},
		Findings: []drift.Finding{
			{Path: "/bin/ls"}, {Path: "/etc/nginx/nginx.conf", Conffile: true}, {Path: "/etc/nginx/gone.conf", Conffile: true, Missing: true},
			{Path: "/etc/never.conf", Conffile: true, Missing: true}, // the image never had it
		},
		AccountsBefore: map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/bash\n"},
		AccountsAfter:  map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/bash\nwww:x:33:33::/:/bin/false\n"},
	}
}

func TestCompare(t *testing.T) {
	got := drift.Compare(world())
	want := drift.Drift{
		Packages: []drift.PackageChange{
			{Name: "nano", Format: drift.Deb, Kind: drift.Removed, From: "7.2"}, {Name: "nginx", Format: drift.Deb, Kind: drift.Installed, To: "1.22"},
			{Name: "nginx-common", Format: drift.Deb, Kind: drift.Installed, To: "1.22", Auto: true},
			{Name: "openssl", Format: drift.Deb, Kind: drift.Upgraded, From: "3.0.9", To: "3.0.11"},
		},
		Services: []drift.ServiceChange{{Name: "cron", Kind: drift.Disabled}, {Name: "nginx", Kind: drift.Enabled}},
		Accounts: []drift.AccountChange{{Name: "www", What: "user", Kind: drift.Added}},
		Files: []drift.File{
			{Path: "/etc/bash.bashrc", Kind: drift.Changed, Class: drift.Conffile, Packages: []string{"deb:bash"}},
			{Path: "/etc/nginx/gone.conf", Kind: drift.Removed, Class: drift.Conffile, Packages: []string{"deb:nginx"}},
			{Path: "/etc/nginx/mine.conf", Kind: drift.Added, Class: drift.ByHand},
			{Path: "/etc/nginx/nginx.conf", Kind: drift.Added, Class: drift.Conffile, Packages: []string{"deb:nginx"}},
			{Path: "/usr/bin/ls", Kind: drift.Changed, Class: drift.Altered, Packages: []string{"deb:coreutils"}},
			{Path: "/var/lib/nginx/body", Kind: drift.Added, Class: drift.Data},
		},
	}
	noise, explained := got.Count()
	if noise != 4 || explained != 9 {
		t.Errorf("%d noise, %d explained: %+v", noise, explained, got.Other)
	}
	got.Other = nil
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestLeave(t *testing.T) {
	for _, c := range []struct {
		path   string
		folder bool
		leave  bool
	}{
		{"/etc/nginx/nginx.conf", false, false}, {"/etc/berth/motd", false, true}, {"/etc/berth", true, true}, {"/run/berth/env/PATH", false, true},
		{"/var/log/nginx", true, false}, {"/var/log/nginx/access.log", false, true}, {"/var/cache/bind", true, false}, {"/var/lib/apt/lists/x", false, true},
		{"/root/.bash_history", false, true}, {"/home/a/.python_history", false, true}, {"/etc/ssh/ssh_host_rsa_key", false, true},
		{"/etc/ssh/sshd_config", false, false}, {"/var/lib/dpkg/status", false, false}, {"/var/lib/apt/extended_states", false, false},
		{"/var/lib/postgresql/15/main/postmaster.pid", false, true}, {"/etc/ld.so.cache", false, false}, {"/srv/data/x", false, true}, {"/tmp", true, true},
		{"/etc/machine-id", false, true}, {"/root/.cache/x", false, true},
	} {
		if why := drift.Leave(c.path, c.folder, []string{"/srv/data"}); (why != "") != c.leave {
			t.Errorf("%s is left out: %q", c.path, why)
		}
	}
}

func TestSecret(t *testing.T) {
	for _, c := range []struct {
		path, head string
		secret     bool
	}{
		{"/root/.ssh/id_rsa", "", true}, {"/root/.ssh/id_rsa.pub", "", false}, {"/root/.ssh/authorized_keys", "ssh-rsa x", true}, {"/root/.ssh/known_hosts", "h ssh-rsa x", false},
		{"/etc/ssl/private/a.key", "-----BEGIN RSA PRIVATE KEY-----\n", true}, {"/etc/ssl/a.pem", "cert\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n", true},
		{"/etc/ssl/a.pem", "-----BEGIN CERTIFICATE-----\n", false}, {"/usr/bin/openssl", "x -----BEGIN PRIVATE KEY-----", false},
		{"/root/a.pub", "-----BEGIN OPENSSH PRIVATE KEY-----\n", true}, {"/opt/a.yml", "tls:\n  key: |\n    -----BEGIN EC PRIVATE KEY-----\n", true},
		{"/opt/account.json", `{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nx`, true}, {"/root/key.gpg", "\n-----BEGIN PGP PRIVATE KEY BLOCK-----\n", true},
		{"/root/.docker/config.json", "{}", true}, {"/home/a/.netrc", "", true}, {"/etc/apt/auth.conf.d/x", "", true}, {"/root/my.netrc", "", false},
	} {
		if why := drift.Secret(c.path, []byte(c.head)); (why != "") != c.secret {
			t.Errorf("%s %q is a secret: %q", c.path, c.head, why)
		}
	}
}

func TestWithoutPasswords(t *testing.T) {
	image := "root:*:1:0:99999:7:::\nold:$6$a$b:1:0:99999:7:::\n"
	now := "root:$y$j9T$x$y:2:0:99999:7:::\nold:$6$a$b:1:0:99999:7:::\nwww:!:3::::::\nlocked:!$6$c$d:1:::::\ntwice:!!$6$e$f:1:::::\n"
	text, names := drift.WithoutPasswords(image, now)
	want := "root:*:2:0:99999:7:::\nold:$6$a$b:1:0:99999:7:::\nwww:!:3::::::\nlocked:*:1:::::\ntwice:*:1:::::\n"
	if text != want || !cmp.Equal(names, []string{"root", "locked", "twice"}) {
		t.Errorf("%v\n%s", names, cmp.Diff(want, text))
	}
}

func TestRows(t *testing.T) {
	var files []drift.File
	for _, p := range strings.Fields("/opt/a /opt/a/1 /opt/a/2 /opt/a/3 /opt/a/4 /opt/b /opt/b/1 /srv/x") {
		files = append(files, drift.File{Path: p, Kind: drift.Added, Class: drift.ByHand})
	}
	var got []string
	for _, r := range drift.Rows(files, 3) {
		got = append(got, r.Words())
	}
	want := []string{"`/opt/a/` with 4 files and folders: added", "`/opt/b/1`: added", "`/srv/x`: added"}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	files[3].Kind = drift.Changed
	if got := drift.Rows(files, 3); len(got) != len(files)-2 {
		t.Errorf("a folder in which not all is new was folded: %+v", got)
	}
}

func TestRecipe(t *testing.T) {
	d := drift.Compare(world())
	r := drift.Recipe{
		Image: "shop:2", Instance: "/shop.0", From: "berth/base:bookworm", FromID: "sha256:1", By: "ann@desk", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Message: "for the shop", LeftOut: map[string]string{"/usr/bin/ls": "a private key", "/a\n## Packages\x1b[2J": "x"}, Earlier: "# shop:1\n",
	}
	text := r.Text(d)
	for _, want := range []string{
		"# shop:2\n", "by ann@desk, 2 January 2026 03:04 UTC", "- nginx (deb): installed 1.22\n", "Installed because they need them: nginx-common 1.22.",
		"- openssl (deb): upgraded 3.0.9 -> 3.0.11", "- nginx: enabled", "`/etc/bash.bashrc`: changed (bash)", "- `/usr/bin/ls`: a private key", "\n---\n\nThe image before:\n\n# shop:1\n",
		"base: \"berth/base:bookworm\"\n", "  - \"nginx=1.22\"\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	_, yaml, _ := strings.Cut(text, "```yaml\n")
	yaml, _, _ = strings.Cut(yaml, "```")
	if got, err := recipe.Decode([]byte(yaml)); err != nil || got.Name != "shop" || got.Version != "2" || got.Base != "berth/base:bookworm" || len(got.Packages) != 2 {
		t.Errorf("as berth build reads it: %+v %v", got, err)
	}
	if !strings.Contains(text, `/a\n## Packages\x1b[2J`) || strings.Contains(text, "\x1b") {
		t.Errorf("a file's name is more than that:\n%s", text)
	}
	if _, said := (drift.Recipe{}).Labels(drift.Drift{})[drift.LabelMessage]; !said {
		t.Error("the label of the image below shows through")
	}
	if got := r.Labels(d)[drift.LabelPackages]; got != "-nano +nginx=1.22 openssl=3.0.9->3.0.11" {
		t.Errorf("label %q", got)
	}
}

// TestOrderOfVersions: what dpkg --compare-versions says of these.
func TestOrderOfVersions(t *testing.T) {
	ordered := strings.Fields("1.0~rc1-1 1.0-1 1.0-1+b1 1.0-1+deb12u1 1.0-2 1.0.1-1 1.2-1 1.10-1 1:0.1-1")
	for i := range ordered {
		for j := range ordered {
			in := drift.Input{Before: []drift.Package{{Name: "p", Version: ordered[i]}}, After: []drift.Package{{Name: "p", Version: ordered[j]}}}
			want := drift.Upgraded
			if j < i {
				want = drift.Downgraded
			}
			if got := drift.Compare(in).Packages; i != j && (len(got) != 1 || got[0].Kind != want) {
				t.Errorf("%s -> %s: %+v", ordered[i], ordered[j], got)
			}
		}
	}
}

// TestEveryPathIsToldOnce: nothing is lost, whatever differs.
func TestEveryPathIsToldOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom(strings.Fields("etc var lib log run nginx x.pid rc2.d S01a passwd tmp"))
		seen := map[string]bool{}
		var in drift.Input
		for range rapid.IntRange(0, 20).Draw(t, "paths") {
			p := "/" + strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "path"), "/")
			if !seen[p] {
				in.Changes = append(in.Changes, drift.Change{Kind: rapid.SampledFrom([]drift.Kind{drift.Added, drift.Removed}).Draw(t, "kind"), Path: p})
			}
			seen[p] = true
		}
		in.Owners = drift.NewOwners(in.Changes)
		d := drift.Compare(in)
		for _, f := range append(d.Files, d.Other...) {
			if !seen[f.Path] {
				t.Fatalf("%s is told twice, or was never there", f.Path)
			}
			delete(seen, f.Path)
		}
		if len(seen) > 0 {
			t.Fatalf("not told: %v", seen)
		}
	})
}

func FuzzReaders(f *testing.F) {
	f.Add(status)
	f.Add("??5?????? c /etc/x\nmissing /y\n")
	f.Add("P\ta\t0:1-1\tnoarch\nF\ta\tc\t/etc/a\n")
	f.Fuzz(func(t *testing.T, text string) {
		owners := drift.NewOwners([]drift.Change{{Kind: drift.Added, Path: "/etc/a"}})
		owners.Divert(text)
		for _, p := range drift.Status(text, owners) {
			if p.Name == "" {
				t.Error("a package without a name")
			}
		}
		_, _ = drift.ReadRPM(bufio.NewScanner(strings.NewReader(text)), owners)
		for _, found := range drift.ReadFindings(text) {
			if !strings.HasPrefix(found.Path, "/") {
				t.Errorf("finding %+v has no path", found)
			}
		}
		if cleaned, _ := drift.WithoutPasswords("", text); strings.Contains(cleaned, ":$") && strings.Count(cleaned, "\n") == 0 && strings.HasPrefix(text, "root:$") {
			t.Errorf("a password is left in %q", cleaned)
		}
		drift.Compare(drift.Input{AccountsBefore: map[string]string{"/etc/passwd": text}, AccountsAfter: map[string]string{"/etc/passwd": ""}, Owners: owners})
	})
}
