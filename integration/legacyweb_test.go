//go:build integration

package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/integration/rig"
	"github.com/berth-project/berth/spec"
)

// TestLegacyWeb: what an operator expects of a machine: a log-in at an address of its own, the services, a name, a quota.
func TestLegacyWeb(t *testing.T) {
	requireReal(t, "docker", webImage)
	b := rig.New(t, rig.Options{Binary: binary})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 2, rig.HTTPCheck("/healthz")))
	b.Settle(60 * time.Second)

	for seat, c := range b.Running(app, 2, 10*time.Second) {
		login := b.SSH(c.Address)
		run := func(command string) string {
			t.Helper()
			out, err := login.Run(command)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		processes := strings.Fields(run("ps -e -o comm="))
		for _, want := range []string{"s6-svscan", "sshd", "nginx", "cron"} {
			if !slices.Contains(processes, want) {
				t.Errorf("seat %d: no %s among %v", seat, want, processes)
			}
		}
		id := spec.SeatID{App: spec.AppID(app), Index: seat}
		if got := run("hostname"); got != id.Hostname() {
			t.Errorf("seat %d: host name %q, want %q", seat, got, id.Hostname())
		}
		if got := run("cat /proc/1/comm"); got != "s6-svscan" {
			t.Errorf("seat %d: process 1 is %s", seat, got)
		}
		if got := run("cat /etc/motd"); !strings.Contains(got, app) {
			t.Errorf("seat %d: the motd does not say whose instance this is: %q", seat, got)
		}
		if got, want := cpuQuota(t, c.PID), 10*time.Millisecond; got != want {
			t.Errorf("seat %d: quota %v, want %v in 100 ms", seat, got, want)
		}
		for name, method := range map[string]ssh.AuthMethod{
			"password":             ssh.Password("root"),
			"keyboard-interactive": ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return nil, nil }),
		} {
			l, err := rig.Dial(c.Address, method)
			if err == nil {
				l.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "attempted methods [none]") {
				t.Errorf("seat %d: %s is offered: %v", seat, name, err)
			}
		}
	}
}

// TestRebootKeepsTheInstance: `reboot` inside restarts the services, and neither the task nor its files are lost.
func TestRebootKeepsTheInstance(t *testing.T) {
	requireReal(t, "docker", webImage)
	b := rig.New(t, rig.Options{Binary: binary})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 1))
	before := b.Running(app, 1, 30*time.Second)[0]
	login := b.SSH(before.Address)
	// Nothing of the instance's own may be started again, so it is nginx's process that tells.
	old, err := login.Run("touch /root/kept && pgrep -o nginx")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = login.Run("reboot") // the connection may end before the answer
	rig.Eventually(t, 30*time.Second, "the services are started again", func() error {
		l, err := rig.Dial(before.Address, ssh.PublicKeys(b.Key))
		if err != nil {
			return err
		}
		defer l.Close()
		_, err = l.Run("test -f /root/kept && n=$(pgrep -o nginx) && test $n != " + old)
		return err
	})
	if after := b.Running(app, 1, 5*time.Second)[0]; after != before {
		t.Errorf("reboot ended the task: %+v became %+v", before, after)
	}
}

// TestCommandRunsInTheBaseImage: a definition without an image never runs on the host.
func TestCommandRunsInTheBaseImage(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary})
	definition := b.App("cmd", "", 1, rig.With("cmd", "hostname > /tmp/whoami; sleep 1000"))
	delete(definition, "container")
	delete(definition, "networks") // Marathon's default is the host's network; Berth's is an address of its own
	b.Create(definition)
	c := b.Running(b.AppID("cmd"), 1, 30*time.Second)[0]
	login := b.SSH(c.Address)
	rig.Eventually(t, 10*time.Second, "the command ran inside", func() error {
		_, err := login.Run("grep -qx cmd-0." + b.Pool + " /tmp/whoami && pgrep -x s6-svscan && pgrep -x sleep")
		return err
	})
}
