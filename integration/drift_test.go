//go:build integration

package integration

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/images/builder"
	"github.com/berth-project/berth/images/drift"
	"github.com/berth-project/berth/images/instance"
	"github.com/berth-project/berth/integration/rig"
)

// byHand is what an operator does to a machine: a package of the house is installed and its configuration edited, another
// is removed, a password is set, files and secrets are put somewhere.
const byHand = `set -e
mkdir -p /tmp/pkg/DEBIAN /tmp/pkg/etc/housed /tmp/pkg/usr/sbin /tmp/pkg/var/lib/housed
printf 'Package: housed\nVersion: 1.2-1\nArchitecture: all\nMaintainer: House <house@example.com>\nDescription: a daemon of the house\n' > /tmp/pkg/DEBIAN/control
echo /etc/housed/housed.conf > /tmp/pkg/DEBIAN/conffiles
printf '#!/bin/sh\nset -e\nuseradd --system housed\necho id-of-this > /var/lib/housed/id\n' > /tmp/pkg/DEBIAN/postinst
chmod 755 /tmp/pkg/DEBIAN/postinst
echo listen=80 > /tmp/pkg/etc/housed/housed.conf
printf '#!/bin/sh\necho housed\n' > /tmp/pkg/usr/sbin/housed
chmod 755 /tmp/pkg/usr/sbin/housed
dpkg-deb --build /tmp/pkg /tmp/housed.deb >/dev/null
dpkg -i /tmp/housed.deb >/dev/null 2>&1
echo listen=8080 > /etc/housed/housed.conf
dpkg --purge --force-depends less >/dev/null 2>&1
echo '# by hand' >> /etc/bash.bashrc
mkdir -p /opt/shop/lib
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i > /opt/shop/lib/$i; done
ln -s lib/1 /opt/shop/current
chown -R housed /opt/shop
mkdir -p /root/.ssh
printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\nx\n' > /root/.ssh/id_ed25519
echo 'ssh-ed25519 AAAA ann' > /root/.ssh/authorized_keys
printf -- '-----BEGIN CERTIFICATE-----\nx\n-----BEGIN PRIVATE KEY-----\nx\n' > /opt/shop/both.pem
echo 'root:new-secret' | chpasswd
echo 'ls' > /root/.bash_history
echo 'a line' > /var/log/housed.log
mkdir -p /var/log/housed
`

// TestDrift: what was done by hand is told, and becomes an image without secrets in which it works.
func TestDrift(t *testing.T) {
	image := builtBase()
	requireReal(t, "docker", image)
	tag := "berth-it-drift:" + strings.ToLower(rand.Text())
	t.Cleanup(func() { // after the instance that runs from it
		if out, err := exec.Command("docker", "rmi", "-f", tag).CombinedOutput(); err != nil && !strings.Contains(string(out), "No such image") {
			t.Errorf("remove the image: %v %s", err, out)
		}
	})
	b := rig.New(t, rig.Options{Binary: binary})
	app := b.AppID("pet")
	b.Create(b.App("pet", image, 1, rig.With("env", map[string]string{"DB_PASSWORD": "in-the-environment"})))
	b.Settle(60 * time.Second)
	pet := b.Running(app, 1, 10*time.Second)[0]

	if out := b.CLI("drift", app+".0"); !strings.Contains(out, "is as its image") {
		t.Errorf("an instance that nobody touched:\n%s", out)
	}
	if out, err := b.SSH(pet.Address).Run(byHand); err != nil {
		t.Fatalf("work by hand: %v\n%s", err, out)
	}

	var found []struct {
		Instance string
		instance.Look
	}
	decode(t, b.CLI("drift", app, "--json", "--all"), &found)
	got := found[0].Drift
	if len(got.Packages) != 2 {
		t.Fatalf("packages: %+v", got.Packages)
	}
	if want := []drift.PackageChange{
		{Name: "housed", Format: "deb", Arch: "all", Kind: drift.Installed, To: "1.2-1"},
		{Name: "less", Format: "deb", Arch: got.Packages[1].Arch, Kind: drift.Removed, From: got.Packages[1].From},
	}; !cmp.Equal(got.Packages, want) {
		t.Error(cmp.Diff(want, got.Packages))
	}
	if want := []drift.AccountChange{{Name: "housed", What: "user", Kind: drift.Added}, {Name: "root", What: "password", Kind: drift.Changed}, {Name: "housed", What: "group", Kind: drift.Added}}; !cmp.Equal(got.Accounts, want) {
		t.Error(cmp.Diff(want, got.Accounts))
	}
	classes := map[string]drift.Class{}
	for _, f := range slices.Concat(got.Files, got.Other) {
		classes[f.Path] = f.Class
	}
	for path, class := range map[string]drift.Class{
		"/etc/housed/housed.conf": drift.Conffile, "/etc/bash.bashrc": drift.Conffile, "/usr/sbin/housed": drift.OfPackage, "/etc/housed": drift.OfPackage,
		"/var/lib/housed/id": drift.Data, "/opt/shop/lib/7": drift.ByHand, "/opt/shop/current": drift.ByHand, "/root/.bash_history": drift.Noise,
		"/var/log/housed.log": drift.Noise, "/etc/passwd": drift.Account, "/var/lib/dpkg/status": drift.Noise, "/usr/bin/less": drift.OfPackage,
	} {
		if classes[path] != class {
			t.Errorf("%s is called %q, want %q", path, classes[path], class)
		}
	}
	table := b.CLI("drift", app+".0")
	for _, want := range []string{"housed   deb     installed 1.2-1", "/etc/bash.bashrc", "configuration of bash", "/opt/shop/", "files and folders", "Not shown:"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}

	var made struct {
		instance.Committed
		RollOut json.RawMessage
	}
	decode(t, lastJSON(b.CLI("drift", app+".0", "--commit", tag, "-m", "for the shop", "-o", "json")), &made)
	for path, why := range map[string]string{"/root/.ssh/id_ed25519": "credentials", "/opt/shop/both.pem": "a private key", "/root/.ssh/authorized_keys": "says who may log in"} {
		if made.LeftOut[path] != why {
			t.Errorf("%s was left out as %q, want %q", path, made.LeftOut[path], why)
		}
	}
	if out, err := b.TryCLI(t.Context(), nil, "drift", app+".0", "--commit", tag); err == nil || !strings.Contains(out, "never overwritten") {
		t.Errorf("a tag that exists: %v %s", err, out)
	}
	checkCommitted(t, b, tag)

	// The pet becomes the next version of its app.
	change := filepath.Join(t.TempDir(), "change.json")
	if err := os.WriteFile(change, made.RollOut, 0o600); err != nil {
		t.Fatal(err)
	}
	b.CLI("apply", "--merge", "--wait", "-f", change)
	next := b.Running(app, 1, 30*time.Second)[0]
	if out, err := b.SSH(next.Address).Run("housed; cat /etc/housed/housed.conf"); err != nil || out != "housed\nlisten=8080" {
		t.Errorf("the next version: %q %v", out, err)
	}
	if out := b.CLI("drift", app+".0"); !strings.Contains(out, "is as its image "+tag) {
		t.Errorf("the next version, untouched:\n%s", out)
	}
	passing(t, b, "containers", "ps", "-aq", "--filter", "name=berth-helper-")
	passing(t, b, "images", "images", "-q", "--filter", "label=berth.snapshot")
}

// passing fails if what docker lists is there to stay. Others that use this Engine may have theirs, for a moment.
func passing(t *testing.T, b *rig.Berth, what string, list ...string) {
	t.Helper()
	first := strings.Fields(b.Engine.Docker(list...))
	rig.Eventually(t, 60*time.Second, what+" of a moment are gone", func() error {
		now := strings.Fields(b.Engine.Docker(list...))
		if first = slices.DeleteFunc(first, func(id string) bool { return !slices.Contains(now, id) }); len(first) > 0 {
			return fmt.Errorf("%s are left: %v", what, first)
		}
		return nil
	})
}

// checkCommitted looks into the image that was made of the pet.
func checkCommitted(t *testing.T, b *rig.Berth, tag string) {
	t.Helper()
	inside := func(script string) string {
		return b.Engine.Docker("run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", tag, "-c", script)
	}
	for _, path := range []string{
		"/root/.ssh/id_ed25519", "/root/.ssh/authorized_keys", "/opt/shop/both.pem", "/root/.bash_history", "/var/log/housed.log", "/etc/berth", "/run/berth", "/tmp/housed.deb",
		"/usr/bin/less", "/etc/ssh/ssh_host_ed25519_key",
	} {
		if out := inside("ls -d " + path + " 2>/dev/null || true"); out != "" {
			t.Errorf("%s is in the image", path)
		}
	}
	if out := inside("housed; stat -c %U /opt/shop/lib/7; readlink /opt/shop/current; dpkg-query -W housed; ls -d /var/log/housed; grep ^root: /etc/shadow; stat -c %a /usr/sbin/housed"); out !=
		"housed\nhoused\nlib/1\nhoused\t1.2-1\n/var/log/housed\n"+inside("grep ^root: /etc/shadow")+"\n755" || strings.Contains(out, "$") {
		t.Errorf("in the image:\n%s", out)
	}
	config := func(image, what string) string {
		return b.Engine.Docker("image", "inspect", "--format", "{{json .Config."+what+"}}", image)
	}
	for _, what := range []string{"Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Volumes"} {
		if got, want := config(tag, what), config(builtBase(), what); got != want {
			t.Errorf("%s of the image is %s, the one before has %s", what, got, want)
		}
	}
	recipe := inside("cat " + drift.RecipePath)
	for _, want := range []string{"for the shop", "housed (deb): installed 1.2-1", "less (deb): removed", "`/etc/bash.bashrc`: changed", "a private key"} {
		if !strings.Contains(recipe, want) {
			t.Errorf("no %q in the recipe:\n%s", want, recipe)
		}
	}
	got := config(tag, `Labels`)
	for _, want := range []string{`"berth.recipe.packages":"+housed=1.2-1 -less"`, fmt.Sprintf("%q:%q", builder.LabelVersion, tag[strings.LastIndex(tag, ":")+1:])} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in the labels %s", want, got)
		}
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(lastJSON(text)), into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// lastJSON is what a verb printed without what it said before.
func lastJSON(text string) string {
	lines := strings.Split(text, "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "{") || strings.HasPrefix(l, "[") })
	return strings.Join(lines[max(at, 0):], "\n")
}
