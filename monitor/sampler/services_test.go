package sampler

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-project/berth/monitor/figures"
)

// status is a status file as s6-supervise writes it.
func status(size int, at time.Time, pid uint64, flags byte) string {
	b := make([]byte, size)
	binary.BigEndian.PutUint64(b, uint64(taiOffset+at.Unix()))
	binary.BigEndian.PutUint64(b[24:], pid)
	b[size-1] = flags
	return string(b)
}

// services gives process 42 a root with services of all kinds, and with traps.
func (m *machine) services() {
	m.t.Helper()
	root, hour := filepath.Join(m.proc, "42/root"), time.Now().Add(-time.Hour)
	file := func(name, text string) {
		m.t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	link := func(to, name string) {
		m.t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			m.t.Fatal(err)
		}
	}
	file("run/service/cron/supervise/status", status(statusOld, hour, 30, flagWantUp))
	file("run/service/sshd/supervise/status", status(statusOld, hour, 31, flagWantUp|flagFinishing))
	file("run/service/starting/supervise/status", status(statusOld, hour, 32, flagWantUp))
	file("run/service/starting/notification-fd", "3\n")
	file("run/service/new/supervise/status", status(statusNew, hour, 34, flagWantUp|flagReady))
	file("run/service/.s6-svscan/supervise/status", status(statusOld, hour, 1, flagWantUp))
	file("run/service/broken/supervise/status", "xyz")
	file("run/service/huge/supervise/status", strings.Repeat("x", 1<<20))
	file("run/service/bad name/supervise/status", status(statusOld, hour, 30, flagWantUp))
	// A link inside the container's root is followed as the container sees it.
	file("elsewhere/supervise/status", status(statusOld, hour, 33, flagWantUp))
	link("/elsewhere", "run/service/linked")
	// Those that lead out of it find nothing, and nothing is opened that is no plain file.
	outside := m.t.TempDir()
	m.write(outside, "supervise/status", "")
	if err := os.WriteFile(filepath.Join(outside, "supervise/status"), []byte(status(statusOld, hour, 99, flagWantUp)), 0o644); err != nil {
		m.t.Fatal(err)
	}
	link(outside, "run/service/absolute")
	link("../../../../../../../../../.."+outside, "run/service/relative")
	link("/dev/zero", "run/service/device/supervise/status")
	if err := os.MkdirAll(filepath.Join(root, "run/service/pipe/supervise"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "run/service/pipe/supervise/status"), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func TestServicesAreBounded(t *testing.T) {
	m := newMachine(t)
	for n := range maxServices + 20 {
		m.write(m.proc, fmt.Sprintf("42/root/run/s6/services/s%03d/supervise/x", n), "")
		path := filepath.Join(m.proc, fmt.Sprintf("42/root/run/s6/services/s%03d/supervise/status", n))
		if err := os.WriteFile(path, []byte(status(statusOld, time.Now(), 7, flagWantUp)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if all := readServices(filepath.Join(m.proc, "42/root"), make([]byte, 4<<10)); len(all) != maxServices || all[0].Name != "s000" {
		t.Errorf("%d services: %+v", len(all), all)
	}
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(status(statusOld, time.Unix(1_700_000_000, 0), 30, flagWantUp)))
	f.Add([]byte(status(statusNew, time.Unix(1_700_000_000, 0), 30, flagWantUp|flagReady)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := parseStatus(b, time.Unix(1_700_000_000, 0))
		if !ok && s != (figures.Service{}) || s.For < 0 || s.Pid < 0 || s.Up != (s.Pid > 0) || s.Ready && !s.Up {
			t.Errorf("%q: %+v", b, s)
		}
	})
}
