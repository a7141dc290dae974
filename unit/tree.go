package unit

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// tree reads absolute paths of a machine's files. Links are followed here and not by the fs.FS, as an absolute link of a tree that is not
// mounted at "/" would lead out of it, and as the names along the way are what aliases are.
type tree struct {
	fs   fs.FS
	dirs map[string]string // folder to what it is after links, as most questions are about the same few
}

// maxLinks is the kernel's own limit.
const maxLinks = 40

var errLoop = errors.New("too many links")

// local is the name that fs.FS knows a path by.
func local(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return "."
	}
	return p
}

// real is the path without links. A last element that does not exist is no error: what is asked next will say so.
func (t *tree) real(p string) (string, error) {
	links := 0
	return t.follow(path.Clean("/"+p), &links)
}

func (t *tree) follow(p string, links *int) (string, error) {
	if p == "/" {
		return p, nil
	}
	dir, err := t.folder(path.Dir(p), links)
	if err != nil {
		return "", err
	}
	here := path.Join(dir, path.Base(p))
	target, ok := t.link(here)
	if !ok {
		return here, nil
	}
	if *links++; *links > maxLinks {
		return "", &fs.PathError{Op: "follow", Path: p, Err: errLoop}
	}
	return t.follow(beside(here, target), links)
}

func (t *tree) folder(dir string, links *int) (string, error) {
	if found, ok := t.dirs[dir]; ok {
		return found, nil
	}
	found, err := t.follow(dir, links)
	if err == nil {
		t.dirs[dir] = found
	}
	return found, err
}

// beside is where a link's text leads.
func beside(link, target string) string {
	if path.IsAbs(target) {
		return path.Clean(target)
	}
	return path.Join(path.Dir(link), target)
}

// link is the text of a link whose folder has none in its path.
func (t *tree) link(p string) (string, bool) {
	info, err := fs.Lstat(t.fs, local(p))
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return "", false
	}
	target, err := fs.ReadLink(t.fs, local(p))
	return target, err == nil
}

// readLink is the text of a link.
func (t *tree) readLink(p string) (string, bool) {
	dir, err := t.real(path.Dir(p))
	if err != nil {
		return "", false
	}
	return t.link(path.Join(dir, path.Base(p)))
}

func (t *tree) stat(p string) (fs.FileInfo, error) {
	found, err := t.real(p)
	if err != nil {
		return nil, err
	}
	return fs.Stat(t.fs, local(found))
}

func (t *tree) readFile(p string) (string, error) {
	found, err := t.real(p)
	if err != nil {
		return "", err
	}
	text, err := fs.ReadFile(t.fs, local(found))
	return string(text), err
}

// readDir lists a folder, sorted by name. One that is not there is empty.
func (t *tree) readDir(p string) []fs.DirEntry {
	found, err := t.real(p)
	if err != nil {
		return nil
	}
	entries, _ := fs.ReadDir(t.fs, local(found))
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries
}

func (t *tree) exists(p string) bool {
	_, err := t.stat(p)
	return err == nil
}

// null says whether a path is a link to /dev/null, or an empty file: both mask what they stand for. What is at /dev/null is not asked, as a
// tree that is not mounted has no devices.
func (t *tree) null(p string) bool {
	found, err := t.real(p)
	if err != nil {
		return false
	}
	if found == "/dev/null" {
		return true
	}
	info, err := fs.Stat(t.fs, local(found))
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}
