package svc

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/internal/wholefile"
	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// cronFile is where cron finds a timer: it reads no file with a dot in its name.
func (s *Supervisor) cronFile(name string) string {
	return s.path(cronFolder, "berth-"+strings.NewReplacer(".", "_", "@", "_at_", "\\", "_").Replace(name))
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
	fmt.Fprintf(&b, "# %s, while it is active; made by systemctl.\nPATH=%s\n", title(u), defaultPath)
	for _, line := range t.Cron {
		fmt.Fprintf(&b, "%s root systemctl start --quiet %s\n", line, t.Unit)
	}
	if t.OnBoot > 0 {
		fmt.Fprintf(&b, "@reboot root sleep %d && systemctl start --quiet %s\n", int(math.Ceil(t.OnBoot.Seconds())), t.Unit)
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
