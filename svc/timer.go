package svc

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/wholefile"
	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// cronFile is where cron finds a timer: it reads no file with a dot in its name.
func (s *Supervisor) cronFile(name string) string {
	return s.path(cronFolder, "berth-"+strings.NewReplacer(".", "_", "@", "_at_", "\\", "_").Replace(name))
}

// cronMark ends the first line of our files among cron's.
const cronMark = ", while it is active; made by systemctl."

// forgetTimers takes back what was given to cron before the container's start and is not to be started with it.
func (s *Supervisor) forgetTimers(starting []string) {
	files, _ := filepath.Glob(s.path(cronFolder, "berth-*"))
	for _, file := range files {
		if slices.ContainsFunc(starting, func(name string) bool { return s.cronFile(name) == file }) {
			continue // cron may be reading it just now, for its @reboot
		}
		text, _ := os.ReadFile(file)
		if first, _, _ := strings.Cut(string(text), "\n"); strings.HasSuffix(first, cronMark) {
			_ = os.Remove(file)
		}
	}
}

// startTimer gives a timer to cron.
func (s *Supervisor) startTimer(u *unit.Unit) error {
	t := u.Timer
	if t == nil || t.Refused != "" {
		reason := "it says no time"
		if t != nil {
			reason = t.Refused
		}
		return &manager.Error{Unit: u.Name, Result: "not-supported", Err: fmt.Errorf("cron cannot keep this timer: %s", reason)}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s%s\nPATH=%s\n", title(u), cronMark, defaultPath)
	for _, line := range t.Cron {
		fmt.Fprintf(&b, "%s root systemctl start --quiet '%s'\n", line, t.Unit)
	}
	if t.OnBoot > 0 {
		fmt.Fprintf(&b, "@reboot root sleep %d && systemctl start --quiet '%s'\n", int(math.Ceil(t.OnBoot.Seconds())), t.Unit)
	}
	if err := os.MkdirAll(filepath.Dir(s.cronFile(u.Name)), 0o755); err != nil {
		return err
	}
	if err := wholefile.ReplaceFor(s.cronFile(u.Name), []byte(b.String()), 0o644); err != nil {
		return &manager.Error{Unit: u.Name, Result: "resources", Err: err}
	}
	_, err := s.update(u.Name, func(r *record) {
		r.Result = "success"
		r.set(manager.IsActive, "waiting", uptime())
	})
	return err
}

// stopTimer takes it back.
func (s *Supervisor) stopTimer(u *unit.Unit) error {
	err := os.Remove(s.cronFile(u.Name))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	_, noteErr := s.update(u.Name, func(r *record) { r.set(manager.Inactive, "dead", uptime()) })
	return errors.Join(err, noteErr)
}
