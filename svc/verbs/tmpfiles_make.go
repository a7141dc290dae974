package verbs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// createOne does a line's work.
func (t *tmp) createOne(l tmpLine) error {
	switch l.kind {
	case 'd', 'D', 'v', 'q', 'Q':
		return t.makeDir(l)
	case 'e', 'z', 'Z', 'w':
		return t.each(l, func(full string) error {
			switch info, err := os.Lstat(full); {
			case err != nil:
				return err
			case l.kind == 'w':
				return t.write(l, full, info)
			case l.kind == 'Z':
				return filepath.WalkDir(full, func(p string, _ fs.DirEntry, err error) error {
					if err != nil {
						return err
					}
					return t.own(l, p, false)
				})
			case l.kind == 'e' && !info.IsDir():
				return nil
			}
			return t.own(l, full, false)
		})
	case 'f':
		return t.makeFile(l)
	case 'L':
		return t.makeLink(l)
	case 'p', 'c', 'b':
		return t.makeNode(l)
	case 'C':
		return t.copyTree(l)
	}
	return nil // r and R are for --remove
}

// safe refuses a path that leads through a link which neither root nor the caller made: a daemon could send root elsewhere with it.
func (t *tmp) safe(p string) error {
	at := t.Root
	for _, part := range strings.Split(strings.Trim(path.Dir(p), "/"), "/") {
		at = filepath.Join(at, part)
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode()&fs.ModeSymlink != 0 && stat.Uid != 0 && int(stat.Uid) != t.UID {
			return fmt.Errorf("unsafe path: %s is a link of user %d", strings.TrimPrefix(at, t.Root), stat.Uid)
		}
	}
	return nil
}

// place is where a path is in the tree: an absolute link within it is not followed out of it.
func (t *tmp) place(p string) (string, error) {
	if err := t.safe(p); err != nil {
		return "", err
	}
	if t.rooted || t.Root != "/" {
		return t.inside(p, 0)
	}
	return p, nil
}

// inside follows the links of a path's folders below another root.
func (t *tmp) inside(p string, depth int) (string, error) {
	at := "/"
	parts := strings.Split(strings.Trim(p, "/"), "/")
	for i, part := range parts {
		next := path.Join(at, part)
		target, err := os.Readlink(t.path(next))
		if err != nil || i == len(parts)-1 {
			at = next
			continue
		}
		if depth > 40 {
			return "", syscall.ELOOP
		}
		if !path.IsAbs(target) {
			target = path.Join(at, target)
		}
		return t.inside(path.Join(append([]string{target}, parts[i+1:]...)...), depth+1)
	}
	return t.path(at), nil
}

// each calls f for all that a path's pattern matches.
func (t *tmp) each(l tmpLine, f func(full string) error) error {
	full, err := t.place(l.path)
	if err != nil {
		return err
	}
	found := []string{full}
	if isGlob(l.path) {
		if found, err = filepath.Glob(full); err != nil {
			return err
		}
	} else if _, err := os.Lstat(full); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all []error
	for _, f1 := range found {
		all = append(all, f(f1))
	}
	return errors.Join(all...)
}

// own sets mode and owner as the line gives them. A link keeps its mode, which nobody asks for.
func (t *tmp) own(l tmpLine, full string, made bool) error {
	info, err := os.Lstat(full)
	if err != nil {
		return err
	}
	uid, gid := l.uid, l.gid
	if l.freshUser && !made {
		uid = -1
	}
	if l.freshGrp && !made {
		gid = -1
	}
	if uid >= 0 || gid >= 0 {
		if err := t.Chown(full, uid, gid); err != nil {
			return err
		}
	}
	if !l.hasMode || l.fresh && !made || info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	mode := l.mode
	if l.masked {
		mode = maskMode(mode, info)
	}
	return chmodItself(full, mode)
}

// chmodItself is os.Chmod that does not follow a link, which a daemon may put in a file's place at any moment. The kernel knows such a call since
// 6.6 only; before, the way is over the descriptor's name.
func chmodItself(file string, mode fs.FileMode) error {
	const pathOnly = 0x200000 // O_PATH, which package syscall does not have
	fd, err := syscall.Open(file, pathOnly|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "chmod", Path: file, Err: err}
	}
	defer syscall.Close(fd)
	var info syscall.Stat_t
	if err := syscall.Fstat(fd, &info); err != nil || info.Mode&syscall.S_IFMT == syscall.S_IFLNK {
		return err
	}
	return os.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}

// maskMode takes from a mode what the file does not have: execution of a file that nobody executes, writing and reading alike.
func maskMode(mode fs.FileMode, info fs.FileInfo) fs.FileMode {
	have := info.Mode().Perm()
	if have&0o111 == 0 {
		mode &^= 0o111
	}
	if have&0o222 == 0 {
		mode &^= 0o222
	}
	if have&0o444 == 0 {
		mode &^= 0o444
	}
	if !info.IsDir() {
		mode &^= fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	}
	return mode
}

func (t *tmp) makeDir(l tmpLine) error {
	full, err := t.place(l.path)
	if err != nil {
		return err
	}
	info, err := os.Lstat(full)
	if err == nil && !info.IsDir() {
		// A link that root made to a folder counts as one: /var/run.
		if target, err := os.Stat(full); err == nil && target.IsDir() && info.Mode()&fs.ModeSymlink != 0 {
			return nil
		}
		if !l.force {
			return fmt.Errorf("exists and is not a directory")
		}
		if err := os.Remove(full); err != nil {
			return err
		}
	}
	if err == nil && info.IsDir() {
		return t.own(l, full, false)
	}
	if err := os.MkdirAll(full, 0o755); err != nil {
		return err
	}
	if !l.hasMode {
		l.mode, l.hasMode = 0o755, true
	}
	return t.own(l, full, true)
}

func (t *tmp) makeFile(l tmpLine) error {
	full, err := t.place(l.path)
	if err != nil {
		return err
	}
	info, err := os.Lstat(full)
	if err == nil && !info.Mode().IsRegular() {
		return errors.New("exists and is not a regular file")
	}
	made := err != nil
	if made || l.plus {
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o644)
		if err != nil {
			return err
		}
		_, err = io.WriteString(f, cText(l.argument))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	if made && !l.hasMode {
		l.mode, l.hasMode = 0o644, true
	}
	return t.own(l, full, made)
}

// write puts a line's argument into a file that is there.
func (t *tmp) write(l tmpLine, full string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return nil
	}
	flags := os.O_WRONLY | syscall.O_NOFOLLOW
	if l.plus {
		flags |= os.O_APPEND
	} else {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(full, flags, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, cText(l.argument))
	return errors.Join(err, f.Close())
}

// cText resolves C's escapes in an argument.
func cText(s string) string {
	if text, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`); err == nil {
		return text
	}
	return s
}

// factory is where lines without an argument take their files from.
const factory = "/usr/share/factory"

func (t *tmp) makeLink(l tmpLine) error {
	full, err := t.place(l.path)
	if err != nil {
		return err
	}
	target := orElse(l.argument, factory+l.path)
	if old, err := os.Readlink(full); err == nil && old == target {
		return t.own(l, full, false)
	}
	if _, err := os.Lstat(full); err == nil {
		if !l.plus {
			return nil
		}
		if err := os.RemoveAll(full); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(target, full); err != nil {
		return err
	}
	return t.own(l, full, true)
}

// makeNode makes pipes and devices. A device that the container may not have is left out, as systemd does in one.
func (t *tmp) makeNode(l tmpLine) error {
	full, err := t.place(l.path)
	if err != nil {
		return err
	}
	kind, device := uint32(syscall.S_IFIFO), 0
	if l.kind != 'p' {
		major, minor, ok := strings.Cut(l.argument, ":")
		a, err1 := strconv.ParseUint(major, 10, 12)
		b, err2 := strconv.ParseUint(minor, 10, 20)
		if !ok || err1 != nil || err2 != nil {
			return fmt.Errorf("not a device's numbers: %q", l.argument)
		}
		kind = map[byte]uint32{'c': syscall.S_IFCHR, 'b': syscall.S_IFBLK}[l.kind]
		device = int(a<<8 | b&0xff | b&^0xff<<12)
	}
	if info, err := os.Lstat(full); err == nil {
		if !l.plus || info.IsDir() {
			return t.own(l, full, false)
		}
		if err := os.Remove(full); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if err := syscall.Mknod(full, kind|0o644, device); err != nil {
		if errors.Is(err, fs.ErrPermission) && l.kind != 'p' {
			return nil
		}
		return err
	}
	if !l.hasMode {
		l.mode, l.hasMode = 0o644, true
	}
	return t.own(l, full, true)
}

// copyTree copies a file or folder to where there is none yet.
func (t *tmp) copyTree(l tmpLine) error {
	full, err := t.place(l.path)
	if err != nil {
		return err
	}
	from, err := t.place(orElse(l.argument, factory+l.path))
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(full); err == nil && len(entries) > 0 && !l.plus {
		return nil
	} else if _, err2 := os.Lstat(full); err != nil && err2 == nil {
		return nil // a file is there
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if !info.IsDir() {
		err = copyFile(from, full, info)
	} else {
		err = fillUp(from, full)
	}
	if err != nil {
		return err
	}
	return t.own(l, full, true)
}

// fillUp copies what of a folder is missing in another, with its modes; "C+" finds some of it there. No link in there leads the copy out of it.
func fillUp(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	source := os.DirFS(from)
	return fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err == nil {
			err = copyEntry(root, source, name, info)
		}
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
}

func copyEntry(root *os.Root, source fs.FS, name string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsDir():
		if err := root.Mkdir(name, 0o700); err != nil {
			return err
		}
		return root.Chmod(name, mode)
	case mode&fs.ModeSymlink != 0:
		target, err := fs.ReadLink(source, name)
		if err != nil {
			return err
		}
		return root.Symlink(target, name)
	case mode.IsRegular():
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(text)
		return errors.Join(err, f.Chmod(mode), f.Close())
	}
	return nil // no factory has sockets and devices
}

func copyFile(from, to string, info fs.FileInfo) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, info.Mode().Perm())
}

// removeOne is the part of --remove: r, R, and what is in a folder of D.
func (t *tmp) removeOne(l tmpLine) error {
	switch l.kind {
	case 'r':
		return t.each(l, func(full string) error {
			err := os.Remove(full)
			if errors.Is(err, syscall.ENOTEMPTY) {
				return nil
			}
			return err
		})
	case 'R':
		return t.each(l, os.RemoveAll)
	case 'D':
		return t.each(l, func(full string) error {
			info, err := os.Lstat(full)
			if err != nil || !info.IsDir() {
				return err
			}
			entries, err := os.ReadDir(full)
			for _, e := range entries {
				err = errors.Join(err, os.RemoveAll(filepath.Join(full, e.Name())))
			}
			return err
		})
	}
	return nil
}
