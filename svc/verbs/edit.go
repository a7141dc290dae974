package verbs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/unit"
)

// edit lets the caller write a drop-in for units, or with --full a copy of their files below /etc, and has the manager read it.
func (s *ctl) edit(args []string) int {
	if !s.Terminal {
		s.errorf("Cannot edit units if not on a tty.")
		return exitFailure
	}
	if !s.privileged("edit units") {
		return exitFailure
	}
	editor := s.editor()
	if editor == "" {
		s.errorf("Cannot edit units, no editor available. Please set either $SYSTEMD_EDITOR, $EDITOR or $VISUAL.")
		return exitFailure
	}
	for _, name := range s.mangle(args) {
		if code := s.editOne(editor, s.units().Unit(name), name); code != exitOK {
			return code
		}
	}
	s.reread()
	if s.live() {
		return s.daemonReload(nil)
	}
	return exitOK
}

// editor is the first that is named and can be found.
func (s *ctl) editor() string {
	for _, name := range []string{"SYSTEMD_EDITOR", "EDITOR", "VISUAL"} {
		if v := s.Getenv(name); v != "" {
			return v
		}
	}
	for _, name := range []string{"editor", "nano", "vim", "vi"} {
		for _, dir := range []string{"/usr/bin/", "/bin/"} {
			if s.exists(dir + name) {
				return dir + name
			}
		}
	}
	return ""
}

func (s *ctl) editOne(editor string, u *unit.Unit, name string) int {
	dir := "/etc/systemd/system"
	if s.runtime {
		dir = "/run/systemd/system"
	}
	target := path.Join(dir, name+".d", "override.conf")
	if s.full {
		target = path.Join(dir, name)
	}
	switch {
	case u.Load == unit.Masked:
		s.errorf("Cannot edit %s: unit is masked.", name)
		return exitFailure
	case u.Path == "" && !s.force:
		s.errorf("No files found for %s.\nRun 'systemctl edit --force --full %s' to create a new unit.", name, name)
		return exitFailure
	}
	text, err := os.ReadFile(s.path(target))
	if errors.Is(err, fs.ErrNotExist) && s.full && u.Path != "" {
		text, err = os.ReadFile(s.path(u.Path))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.errorf("Failed to read %s: %s", target, cause(err))
		return exitFailure
	}
	return s.letEdit(editor, target, text)
}

// letEdit works on a copy: a file that the caller empties or leaves as it is is no change.
func (s *ctl) letEdit(editor, target string, text []byte) int {
	full := s.path(target)
	fail := func(err error) int {
		s.errorf("Failed to edit %s: %s", target, cause(err))
		return exitFailure
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return fail(err)
	}
	draft, err := os.CreateTemp(filepath.Dir(full), ".#"+filepath.Base(full))
	if err != nil {
		return fail(err)
	}
	defer os.Remove(draft.Name())
	_, err = draft.Write(text)
	if err = errors.Join(err, draft.Chmod(0o644), draft.Close()); err != nil {
		return fail(err)
	}
	code, err := s.Run(s.ctx, Program{Path: "/bin/sh", Args: []string{"-c", editor + ` "$0"`, draft.Name()}})
	if err != nil || code != 0 {
		s.errorf("Editor failed with exit code %d: nothing is changed.", code)
		return exitFailure
	}
	edited, err := os.ReadFile(draft.Name())
	if err != nil {
		return fail(err)
	}
	if strings.TrimSpace(string(edited)) == "" || string(edited) == string(text) {
		s.errorf("Editing \"%s\" canceled: temporary file is empty or was not changed.", target)
		os.Remove(filepath.Dir(full)) // a folder of drop-ins that was made for nothing
		return exitOK
	}
	if err := os.Rename(draft.Name(), full); err != nil {
		return fail(err)
	}
	if !s.quiet {
		s.errorf("Successfully installed edited file '%s'.", target)
	}
	return exitOK
}
