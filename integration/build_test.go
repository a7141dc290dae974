//go:build integration

package integration

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/integration/rig"
)

// workshop is what the tests of berth build share: a base whose only package repository is a folder in it, so that no mirror is
// needed, and a queue of their own.
type workshop struct {
	t      *testing.T
	engine *rig.Engine
	name   string // begins the name of every image that is made
	base   string
	dir    string
	env    []string
}

// newWorkshop makes the base, with packages of so many files each.
func newWorkshop(t *testing.T, packages map[string]int) *workshop {
	t.Helper()
	requireReal(t, "docker", baseImage)
	w := &workshop{t: t, engine: rig.MachineEngine(t), dir: t.TempDir(), name: fmt.Sprintf("berth-it-build-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)}
	w.base = w.name + "/base:1"
	w.env = append(os.Environ(), "BERTH_BUILD_DIR="+filepath.Join(w.dir, "queue"), "DOCKER_CONFIG="+filepath.Join(w.dir, "docker"))
	t.Cleanup(w.clean)
	w.write("base/Dockerfile", "FROM "+baseImage+"\nCOPY repo/ /srv/repo/\nRUN rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list\n")
	for name, files := range packages {
		w.deb("base/repo", name, files)
	}
	w.write("base/repo/index.sh", `for f in *.deb; do dpkg-deb -f $f; echo "Filename: ./$f"; echo "Size: $(stat -c %s $f)"; echo "SHA256: $(sha256sum $f | cut -d' ' -f1)"; echo; done >Packages`)
	w.run(filepath.Join(w.dir, "base/repo"), "sh", "-e", "index.sh")
	w.run(w.dir, "docker", "build", "-q", "-t", w.base, "base")
	return w
}

// clean removes what the test has built, and what was fetched of it. Layers below are of no name and go with the images.
func (w *workshop) clean() {
	ctx := context.Background()
	out, err := exec.CommandContext(ctx, "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").Output()
	if err != nil {
		w.t.Error(err)
	}
	for line := range strings.Lines(string(out)) {
		if ref, id, _ := strings.Cut(strings.TrimSpace(line), " "); strings.Contains(ref, w.name) {
			if strings.HasSuffix(ref, ":<none>") {
				ref = id
			}
			if out, err := exec.CommandContext(ctx, "docker", "rmi", "-f", ref).CombinedOutput(); err != nil && !strings.Contains(string(out), "No such image") {
				w.t.Errorf("remove %s: %v: %s", ref, err, out)
			}
		}
	}
}

func (w *workshop) write(name, text string) {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644))
	if strings.HasPrefix(text, "#!") {
		err = errors.Join(err, os.Chmod(file, 0o755))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *workshop) run(dir string, command ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, w.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%v: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// deb makes a package of so many files of 4 KiB, which do not compress.
func (w *workshop) deb(folder, name string, files int) {
	w.t.Helper()
	root := "debs/" + name
	w.write(root+"/DEBIAN/control", fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a package of the tests\n", name))
	w.write(root+"/usr/share/"+name+"/about", name+"\n")
	for i := range files {
		var content [4096]byte
		_, _ = rand.Read(content[:])
		w.write(fmt.Sprintf("%s/usr/share/%s/%d/%d", root, name, i/100, i), string(content[:]))
	}
	if err := os.MkdirAll(filepath.Join(w.dir, folder), 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.run(w.dir, "dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, filepath.Join(folder, name+"_1.0_all.deb"))
}

// built is what berth build said.
type built struct {
	code     int
	out, err string
}

func (w *workshop) command(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, binary, append([]string{"build"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &out, &errs
	return cmd, &out, &errs
}

func (w *workshop) build(args ...string) built {
	w.t.Helper()
	cmd, out, errs := w.command(w.t.Context(), args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return built{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// want fails unless a build ended with the code and said all of the texts.
func (w *workshop) want(b built, code int, texts ...string) {
	w.t.Helper()
	if b.code != code {
		w.t.Fatalf("exit code %d, want %d:\n%s%s", b.code, code, b.out, b.err)
	}
	for _, text := range texts {
		if !strings.Contains(b.out+b.err, text) {
			w.t.Errorf("%q is not in:\n%s%s", text, b.out, b.err)
		}
	}
}

func (w *workshop) recipe(folder, version, more string) {
	w.t.Helper()
	w.write(folder+"/berth.yaml", fmt.Sprintf("name: %s/%s\nversion: %q\nbase: %s\n%s", w.name, folder, version, w.base, more))
}

const shopRecipe = `
users: [shop]
packages: [%s, ./local_1.0_all.deb]
files:
  - {source: serve, destination: /srv/shop/}
  - {source: shop.conf, destination: /etc/shop.conf, mode: "0640", owner: "root:shop"}
  - {source: shop.conf, destination: /root/}
environment: {GREETING: 'say "hi" for $5'}
services:
  - {name: shop, command: /srv/shop/serve, user: shop, directory: /srv/shop, environment: {MODE: "it's"}, health: {command: test -s /tmp/state}}
ports: [80]
commands: [echo made >/srv/made]
`

// TestBuild goes the way of an image: built, run, changed, refused, raised, a package more.
func TestBuild(t *testing.T) {
	w := newWorkshop(t, map[string]int{"it-alpha": 1, "it-beta": 1})
	w.deb("shop", "local", 1)
	w.write("shop/serve", "#!/bin/sh\necho \"$(id -un) $(pwd) $MODE $GREETING $HOME\" >/tmp/state\nexec sleep 1000\n")
	w.write("shop/shop.conf", "a\n")
	w.recipe("shop", "1", fmt.Sprintf(shopRecipe, "it-alpha"))
	ref := w.name + "/shop:"
	w.want(w.build("shop", "--dry-run"), 0, "FROM "+w.base, "install it-alpha")
	if _, err := w.engine.TryDocker("image", "inspect", ref+"1"); err == nil {
		t.Error("a dry run has built an image")
	}
	first := w.build("shop")
	w.want(first, 0, "install it-alpha, local_1.0_all.deb", "is built")
	if strings.TrimSpace(first.out) != ref+"1" {
		t.Errorf("stdout is %q", first.out)
	}

	container := strings.ReplaceAll(w.name, "/", "-")
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", container).Run() })
	w.engine.Docker("run", "-d", "--name", container, ref+"1")
	rig.Eventually(t, 30*time.Second, "the service runs", func() error {
		state, err := w.engine.TryDocker("exec", container, "cat", "/tmp/state")
		if want := `shop /srv/shop it's say "hi" for $5 /srv`; err == nil && state != want {
			err = fmt.Errorf("got %q, want %q", state, want)
		}
		return err
	})
	got := w.engine.Docker("exec", container, "stat", "-c", "%a %U:%G %n", "/root", "/etc/shop.conf", "/root/shop.conf", "/usr/share/local/about", "/usr/share/it-alpha/about", "/srv/made")
	want := "700 root:root /root\n640 root:shop /etc/shop.conf\n644 root:root /root/shop.conf\n644 root:root /usr/share/local/about\n644 root:root /usr/share/it-alpha/about\n644 root:root /srv/made"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	w.engine.Docker("exec", container, "/usr/lib/berth/health")

	id := w.engine.Docker("image", "inspect", "-f", "{{.Id}}", ref+"1")
	w.want(w.build("shop"), 0, "is there already")
	w.write("shop/shop.conf", "b\n")
	w.want(w.build("shop"), 3, ref+"1 exists on this machine with other contents", "raise version", "--tag")
	if now := w.engine.Docker("image", "inspect", "-f", "{{.Id}}", ref+"1"); now != id {
		t.Error("a refused build has changed the image")
	}
	w.want(w.build("shop", "--tag", "2"), 0, "install it-alpha, local_1.0_all.deb (as before)", "is built")
	w.recipe("shop", "3", fmt.Sprintf(shopRecipe, "it-beta, it-alpha"))
	w.want(w.build("shop"), 0, "install it-alpha, local_1.0_all.deb (as before)", "install it-beta\n", "is built")

	w.recipe("shop", "4", "packages: [it-missing]\n")
	w.want(w.build("shop"), 1, "Unable to locate package it-missing", "install it-missing")
	w.recipe("shop", "4", "packges: [x]\nports: [x]\n")
	w.want(w.build("shop"), 3, "line 4: \"packges\" is not known", "line 5: ports[0]")
	w.engine.Docker("rm", "-f", container)
	if left := w.engine.Docker("ps", "-aq", "--filter", "ancestor="+w.base); left != "" {
		t.Errorf("containers are left: %s", left)
	}
}

// TestBuildPush to a registry that asks for a password, as the same image from another machine, and against another's version.
func TestBuildPush(t *testing.T) {
	w := newWorkshop(t, map[string]int{"it-alpha": 1})
	address, config := registry(t)
	w.write("shop/shop.conf", "a\n")
	const files = "files: [{source: shop.conf, destination: /etc/}]\n"
	w.recipe("shop", "1", files)
	place := address + "/" + w.name + "/shop"

	w.want(w.build("shop", "--push", place), 1, place, "docker login "+address)
	credentials, err := os.ReadFile(filepath.Join(config, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("docker/config.json", string(credentials))
	b := w.build("shop", "--push", place)
	w.want(b, 0, "is built", place+":1 is pushed")
	if strings.TrimSpace(b.out) != place+":1" {
		t.Errorf("stdout is %q", b.out)
	}
	w.want(w.build("shop", "--push", place), 0, place+":1 is in the registry already")

	id := w.engine.Docker("image", "inspect", "-f", "{{.Id}}", place+":1")
	forget := func() {
		t.Helper()
		w.engine.Docker("rmi", "-f", id)
	}
	forget()
	w.want(w.build("shop", "--push", place), 0, "fetching it to compare", "is there already", place+":1 is in the registry already")
	if now := w.engine.Docker("image", "inspect", "-f", "{{.Id}}", w.name+"/shop:1"); now != id {
		t.Errorf("another image is used than the registry's: %s, not %s", now, id)
	}
	forget()
	w.write("shop/shop.conf", "b\n")
	refused := w.build("shop", "--push", place)
	w.want(refused, 3, place+":1 exists in the registry with other contents")
	w.recipe("shop", "2", "push: "+place+"\n"+files)
	w.want(w.build("shop", "--no-push"), 0, "is built")
	w.want(w.build("shop"), 0, place+":2 is pushed")
	for _, said := range []built{b, refused} {
		if strings.Contains(said.out+said.err, "pull-secret") {
			t.Errorf("the password was printed: %s", said.err)
		}
	}
	w.engine.Docker("rmi", "-f", w.engine.Docker("image", "inspect", "-f", "{{.Id}}", place+":2"))
	w.engine.Docker("--config", config, "pull", "-q", place+":2")
	if got := w.engine.Docker("run", "--rm", "--entrypoint", "cat", place+":2", "/etc/shop.conf"); got != "b" {
		t.Errorf("the pulled image has %q", got)
	}
}

// TestBuildKilled: a builder that is killed, in the queue or at work, frees its place; one that is interrupted leaves nothing.
func TestBuildKilled(t *testing.T) {
	w := newWorkshop(t, map[string]int{"it-alpha": 1})
	cores := 0
	if _, err := fmt.Sscan(w.engine.Docker("info", "-f", "{{.NCPU}}"), &cores); err != nil {
		t.Fatal(err)
	}
	type builder struct {
		cmd *exec.Cmd
	}
	start := func(name, command string) builder {
		t.Helper()
		w.recipe(name, "1", "commands: ['"+command+"']\n")
		cmd, _, _ := w.command(t.Context(), name)
		log, err := os.Create(filepath.Join(w.dir, name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return builder{cmd: cmd}
	}
	says := func(name, text string) {
		t.Helper()
		rig.Eventually(t, time.Minute, name+" says "+text, func() error {
			said, err := os.ReadFile(filepath.Join(w.dir, name+".log"))
			if err == nil && !strings.Contains(string(said), text) {
				err = fmt.Errorf("it says %q", said)
			}
			return err
		})
	}
	forever := "sleep 4567 # " + w.name
	working := func() string { return w.engine.Docker("ps", "-aq", "--no-trunc", "--filter", "ancestor="+w.base) }
	var busy []builder
	for i := range cores {
		name := fmt.Sprintf("busy%d", i)
		busy = append(busy, start(name, forever))
		says(name, "run the recipe")
	}
	dead := start("dead", "true")
	says("dead", "0 before this one")
	next := start("next", "true")
	says("next", "1 before this one")
	if err := dead.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	says("next", "0 before this one")
	if err := busy[0].cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := next.cmd.Wait(); err != nil {
		t.Errorf("the next in the queue: %v", err)
	}
	for i, b := range busy[1:] {
		if err := b.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if _ = b.cmd.Wait(); b.cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("interrupted: exit code %d", b.cmd.ProcessState.ExitCode())
		}
		says(fmt.Sprintf("busy%d", i+1), "interrupted")
	}
	rig.Eventually(t, time.Minute, "no container is left", func() error {
		if left := working(); left != "" {
			return errors.New(left)
		}
		return nil
	})
	files, err := os.ReadDir(filepath.Join(w.dir, "queue"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), "ticket-") || strings.HasPrefix(f.Name(), "new-") {
			t.Errorf("%s is left in the queue", f.Name())
		}
	}
}

// TestBuildPackageOnly: a package more in the description costs no more than to install it over SSH.
func TestBuildPackageOnly(t *testing.T) {
	const rounds = 3
	packages := map[string]int{"it-alpha": 1}
	for i := range 2 * rounds {
		packages[fmt.Sprintf("it-more%d", i)] = 2000
	}
	w := newWorkshop(t, packages)
	w.write("shop/shop.conf", "a\n")
	list := "it-alpha"
	next := func(version int) {
		w.recipe("shop", fmt.Sprint(version), "packages: ["+list+"]\nfiles: [{source: shop.conf, destination: /etc/}]\nenvironment: {A: b}\n")
	}
	next(0)
	w.want(w.build("shop"), 0, "is built")

	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	container := w.name + "-ssh"
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", container).Run() })
	w.engine.Docker("run", "-d", "--name", container, w.name+"/shop:0")
	w.engine.Docker("exec", container, "sh", "-c", "mkdir -p -m 700 /root/.ssh; echo '"+strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))+"' >/root/.ssh/authorized_keys")
	address := w.engine.Docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", container)
	rig.Eventually(t, 30*time.Second, "SSH", func() error {
		login, err := rig.Dial(address, ssh.PublicKeys(key))
		if err == nil {
			err = login.Close()
		}
		return err
	})

	var build, overSSH time.Duration
	for i := range rounds {
		began := time.Now()
		login, err := rig.Dial(address, ssh.PublicKeys(key))
		if err == nil {
			_, err = login.Run(fmt.Sprintf("apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y it-more%d", 2*i))
			_ = login.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if overSSH == 0 || took < overSSH {
			overSSH = took
		}
		list += fmt.Sprintf(", it-more%d", 2*i+1)
		next(i + 1)
		began = time.Now()
		w.want(w.build("shop"), 0, "is built")
		if took = time.Since(began); build == 0 || took < build {
			build = took
		}
	}
	t.Logf("a package of 2000 files more: berth build %.1f s, over SSH %.1f s (best of %d each)", build.Seconds(), overSSH.Seconds(), rounds)
	// Both are measured on a machine that does other things, too.
	if build > overSSH+overSSH/4+time.Second {
		t.Errorf("a package more costs %v, over SSH %v", build, overSSH)
	}
}

// result is what berth build -o json tells of one image.
type result struct {
	Image        string
	ID           string
	QueuedSecond float64 `json:"queuedSeconds"`
	BuildSeconds float64 `json:"buildSeconds"`
}

func decodeResults(t *testing.T, text string) []result {
	t.Helper()
	var list []result
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return list
}
