//go:build integration && slow

package integration

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// TestAnsible: a playbook does to an instance what it does to a server, and does it once.
func TestAnsible(t *testing.T) {
	requireReal(t, "docker", "ansible", baseImage)
	b := rig.New(t, rig.Options{Binary: binary})
	b.Create(b.App("site", baseImage, 1, rig.With("cpus", 2), rig.With("mem", 512)))
	b.Settle(60 * time.Second)
	address := b.Running(b.AppID("site"), 1, 10*time.Second)[0].Address

	folder := t.TempDir()
	key := filepath.Join(folder, "key")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("make a key: %v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	login := b.SSH(address)
	if out, err := login.Run("umask 077; mkdir -p ~/.ssh && cat >>~/.ssh/authorized_keys <<'END'\n" + string(public) + "END"); err != nil {
		t.Fatal(out, err)
	}

	play := func(word string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, "ansible-playbook", "--inventory", address+",", "--user", "root", "--private-key", key, "--extra-vars", "word="+word, "testdata/site.yml")
		c.Env = append(os.Environ(), "HOME="+folder, "ANSIBLE_HOME="+folder, "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1", "ANSIBLE_RETRY_FILES_ENABLED=0",
			"ANSIBLE_SSH_ARGS=-o ControlMaster=no -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR", "LC_ALL=C.UTF-8")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("ansible-playbook: %v\n%s", err, out)
		}
		text := string(out)
		return text[strings.LastIndex(text, "PLAY RECAP"):]
	}
	says := func(word string) {
		t.Helper()
		rig.Eventually(t, 10*time.Second, "the site says "+word, func() error {
			answer, err := http.Get("http://" + address + ":8081/")
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err == nil && string(body) != word {
				t.Fatalf("the site says %q, want %q", body, word)
			}
			return err
		})
	}
	if recap := play("one"); strings.Contains(recap, "changed=0") {
		t.Errorf("the first run changed nothing: %s", recap)
	}
	says("one")
	if recap := play("one"); !strings.Contains(recap, "changed=0 ") {
		t.Errorf("the second run is to change nothing: %s", recap)
	}
	before, err := login.Run("systemctl show -p MainPID --value nginx")
	if err != nil {
		t.Fatal(err)
	}
	if recap := play("two"); !strings.Contains(recap, "changed=2 ") { // the file, and the restart
		t.Errorf("the third run is to change the site and restart nginx: %s", recap)
	}
	says("two")
	if after, err := login.Run("systemctl show -p MainPID --value nginx"); err != nil || after == before || after == "0" {
		t.Errorf("nginx was not restarted: process %s, then %s, %v", before, after, err)
	}
}
