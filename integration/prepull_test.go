//go:build integration

package integration

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/berth-project/berth/integration/rig"
)

// registry starts Debian's docker-registry with one user on a port of its own, and returns where it is and a Docker
// configuration folder with the user's credentials.
func registry(t *testing.T) (address, config string) {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		if os.Getenv("BERTH_REQUIRE_REAL") == "1" {
			t.Fatal("no docker-registry is installed (scripts/install-deps test)")
		}
		skipped.Add(1)
		t.Skip("no docker-registry is installed (scripts/install-deps test)")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the engine takes a registry on the loopback without TLS
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	hash, err := bcrypt.GenerateFromPassword([]byte("pull-secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(dir, "docker")
	for name, text := range map[string]string{
		"users": "ann:" + string(hash) + "\n",
		"registry.yml": fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}\nhttp: {addr: %s}\nauth: {htpasswd: {realm: it, path: %s/users}}\n",
			dir, address, dir),
		"docker/config.json": fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, address, base64.StdEncoding.EncodeToString([]byte("ann:pull-secret"))),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", filepath.Join(dir, "registry.yml"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	rig.Eventually(t, 20*time.Second, "the registry answers", func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	return address, config
}

// TestPrepull: a host pulls an image with the credentials of its Docker configuration before anything of it runs, says why it
// cannot have another, and takes what is there for done.
func TestPrepull(t *testing.T) {
	requireReal(t, "docker", baseImage)
	address, config := registry(t)
	image := address + "/it/" + strings.ToLower(rand.Text()) + ":1"
	remove := func() { _ = exec.Command("docker", "rmi", "-f", image).Run() }
	t.Cleanup(remove)
	engine := rig.MachineEngine(t)
	engine.Docker("tag", baseImage, image)
	engine.Docker("--config", config, "push", image)
	remove()

	t.Setenv("DOCKER_CONFIG", config)
	b := rig.New(t, rig.Options{Binary: binary})
	out := b.CLI("image", "prepull", image, "--timeout", "2m")
	if !strings.Contains(out, image+"  done") {
		t.Errorf("prepull:\n%s", out)
	}
	engine.Docker("image", "inspect", "--format", "{{.Id}}", image)
	if out := b.CLI("image", "prepull", image); !strings.Contains(out, "it was there") {
		t.Errorf("what is there:\n%s", out)
	}
	if out := b.CLI("image", "prepull", image, "--refresh"); strings.Contains(out, "it was there") || !strings.Contains(out, "done") {
		t.Errorf("refreshed:\n%s", out)
	}
	app := b.App("web", image, 0)
	b.Create(app)
	if out := b.CLI("image", "prepull", b.AppID("web")); !strings.Contains(out, image) {
		t.Errorf("of an app:\n%s", out)
	}
	out, err := b.TryCLI(t.Context(), nil, "image", "prepull", address+"/it/none:1")
	if err == nil || !strings.Contains(out, "failed") || !strings.Contains(out, "not found") {
		t.Errorf("an image that is not there: %v\n%s", err, out)
	}
	if strings.Contains(out, "pull-secret") {
		t.Errorf("the password is told:\n%s", out)
	}
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	remove()
	if out, err := b.TryCLI(t.Context(), nil, "image", "prepull", image); err == nil || !strings.Contains(out, "no basic auth credentials") && !strings.Contains(out, "unauthorized") {
		t.Errorf("without credentials: %v\n%s", err, out)
	}
}
