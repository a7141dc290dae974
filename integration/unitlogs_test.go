//go:build integration

package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// shared is a buffer that one writes while others read.
type shared struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}
func (s *shared) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.buf.String() }

// builtBase is the base image as images/base/build was told to call it.
func builtBase() string { return cmp.Or(os.Getenv("BERTH_IMAGE"), baseImage) }

// TestUnitLogs: the log of a service inside an instance is read from outside, as it is written, and nothing of the reader is left.
func TestUnitLogs(t *testing.T) {
	image := builtBase()
	requireReal(t, "docker", image)
	b := rig.New(t, rig.Options{Binary: binary})
	app := b.AppID("talker")
	b.Create(b.App("talker", image, 1))
	b.Settle(60 * time.Second)
	login := b.SSH(b.Running(app, 1, 10*time.Second)[0].Address)
	if out, err := login.Run(`set -e
printf '[Service]\nExecStart=/bin/sh -c "echo a word of the talker; exec sleep 1000"\n[Install]\nWantedBy=multi-user.target\n' > /etc/systemd/system/talker.service
systemctl daemon-reload
systemctl enable --now talker`); err != nil {
		t.Fatalf("begin a service: %v %s", err, out)
	}
	rig.Eventually(t, 15*time.Second, "the service's word is there", func() error {
		if out := b.CLI("logs", app+".0", "-u", "talker"); !strings.Contains(out, "a word of the talker") {
			return errors.New(out)
		}
		return nil
	})
	if out := b.CLI("logs", app+".0", "-u", "talker", "-n", "0"); strings.Contains(out, "a word") {
		t.Errorf("no line was asked for: %s", out)
	}
	if out, err := b.TryCLI(t.Context(), nil, "logs", app+".0", "-u", "; reboot"); err == nil || !strings.Contains(out, "is no name of a service") {
		t.Errorf("a name that is none: %v %s", err, out)
	}

	ctx, stop := context.WithCancel(t.Context())
	follow := exec.CommandContext(ctx, binary, "logs", app+".0", "-u", "talker", "-f")
	follow.Env = append(os.Environ(), "BERTH_API=unix://"+b.Socket())
	follow.Cancel = func() error { return follow.Process.Signal(os.Interrupt) }
	var seen shared
	follow.Stdout, follow.Stderr = &seen, &seen
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	words := func(n int) func() error {
		return func() error {
			if strings.Count(seen.String(), "a word of the talker") < n {
				return errors.New(seen.String())
			}
			return nil
		}
	}
	rig.Eventually(t, 15*time.Second, "what there was is shown", words(1))
	if out, err := login.Run("systemctl restart talker"); err != nil {
		t.Errorf("restart: %v %s", err, out)
	}
	rig.Eventually(t, 15*time.Second, "what comes is shown", words(2))
	stop()
	_ = follow.Wait() // it was interrupted
	rig.Eventually(t, 15*time.Second, "nothing of the reader is left", func() error {
		out, err := login.Run("ps -e -o args= | grep '[j]ournalctl' || true")
		if err == nil && out != "" {
			err = errors.New(out)
		}
		return err
	})
	if out := b.CLI("drift", app+".0"); !strings.Contains(out, "service talker") || !strings.Contains(out, "/etc/systemd/system/talker.service") {
		t.Errorf("drift says nothing of the service:\n%s", out)
	}
}
