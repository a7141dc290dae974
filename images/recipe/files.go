package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxFiles bounds what one image takes from its folder.
const maxFiles = 200_000

// alwaysIgnored is never copied with a folder: it is about the image, not of it.
var alwaysIgnored = []string{".git", ".svn", ".hg", "berth.yaml"}

// copyFiles adds the steps that copy files and folders. Single files that go into one folder with one owner share a step, as each
// is a layer.
func (d *draft) copyFiles(at string, files []File) {
	for i := 0; i < len(files); {
		f := files[i]
		info, err := fs.Lstat(d.dir, path.Clean(f.Source))
		if err != nil {
			d.missing(at, f, err)
			i++
			continue
		}
		if info.IsDir() {
			d.copyFolder(f)
			i++
			continue
		}
		folder, same := path.Dir(target(f)), []File{f}
		for i++; i < len(files); i++ {
			next := files[i]
			info, err := fs.Lstat(d.dir, path.Clean(next.Source))
			if err != nil || info.IsDir() || path.Dir(target(next)) != folder || next.Owner != f.Owner {
				break
			}
			same = append(same, next)
		}
		d.copySingle(folder, same)
	}
}

func (d *draft) missing(at string, f File, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no such file or folder")
	}
	d.faults = append(d.faults, Fault{Line: f.line, Path: at, Text: fmt.Sprintf("copy %s: %v", f.Source, err)})
}

// target is the full path of a single file in the image.
func target(f File) string {
	if strings.HasSuffix(f.Destination, "/") {
		return f.Destination + path.Base(path.Clean(f.Source))
	}
	return f.Destination
}

// next is a place in the context for what one step copies.
func (d *draft) next() string {
	d.copies++
	return fmt.Sprintf("files/%d", d.copies-1)
}

func chown(owner string) string {
	if owner == "" {
		return ""
	}
	return "--chown=" + owner + " "
}

func (d *draft) copySingle(folder string, files []File) {
	at := d.next()
	var needs []Entry
	var names []string
	for _, f := range files {
		name := path.Clean(f.Source)
		e, err := d.entry(name, at+"/"+path.Base(target(f)), f.Mode)
		if err != nil {
			d.missing("files", f, err)
			continue
		}
		needs, names = append(needs, e), append(names, target(f))
	}
	// The folder, not the file, is the source: a link would be followed, and folders that exist keep their mode and owner.
	title := "copy " + strings.Join(names, ", ")
	if len(names) > 3 {
		title = fmt.Sprintf("copy %d files to %s", len(names), folder)
	}
	d.add(Step{Title: title, Text: "COPY " + chown(files[0].Owner) + words(at+"/", strings.TrimSuffix(folder, "/")+"/"), Needs: needs})
}

func (d *draft) copyFolder(f File) {
	at, source := d.next(), path.Clean(f.Source)
	var needs []Entry
	err := fs.WalkDir(d.dir, source, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inner := strings.TrimPrefix(strings.TrimPrefix(name, source), "/")
		if source == "." {
			inner = name
		}
		switch {
		case name == source:
			return nil
		case d.ignored(inner) && e.IsDir():
			return fs.SkipDir
		case d.ignored(inner):
			return nil
		case len(needs) >= maxFiles:
			return fmt.Errorf("it holds more than %d files; name what is not needed under ignore", maxFiles)
		}
		one, err := d.entry(name, at+"/"+inner, f.Mode)
		needs = append(needs, one)
		return err
	})
	if err != nil {
		d.missing("files", f, err)
		return
	}
	// The folder itself is in the context even if it is empty.
	needs = append(needs, Entry{Name: at, Mode: fs.ModeDir | 0o755})
	what := source
	if what == "." {
		what = "the folder"
	}
	d.add(Step{Title: "copy " + what + " to " + f.Destination, Text: "COPY " + chown(f.Owner) + words(at+"/", strings.TrimSuffix(f.Destination, "/")+"/"), Needs: needs})
}

// ignored says whether a path below a copied folder is left out: a pattern is for the whole path or for any file's own name.
func (d *draft) ignored(name string) bool {
	for _, list := range [][]string{alwaysIgnored, d.Ignore} {
		for _, pattern := range list {
			pattern = strings.TrimSuffix(pattern, "/")
			if whole, _ := path.Match(pattern, name); whole {
				return true
			}
			if last, _ := path.Match(pattern, path.Base(name)); last {
				return true
			}
		}
	}
	return false
}

// entry describes one file of the folder. Its mode is that which was asked for, or does not depend on the checkout's umask.
func (d *draft) entry(name, inContext string, mode fs.FileMode) (Entry, error) {
	info, err := fs.Lstat(d.dir, name)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: inContext, Source: name}
	switch kind := info.Mode().Type(); {
	case kind == fs.ModeDir:
		e.Mode = fs.ModeDir | 0o755
		if mode != 0 {
			e.Mode = fs.ModeDir | mode | mode>>2&0o111 // who may read it may enter it
		}
		d.read[name] = "folder " + e.Mode.String()
		return e, nil
	case kind == fs.ModeSymlink:
		if e.Link, err = fs.ReadLink(d.dir, name); err != nil {
			return Entry{}, err
		}
		e.Mode = fs.ModeSymlink | 0o777
		d.read[name] = "link " + e.Link
		return e, nil
	case kind != 0:
		return Entry{}, fmt.Errorf("%s is neither a file nor a folder nor a link", name)
	}
	e.Mode = 0o644
	if info.Mode()&0o100 != 0 {
		e.Mode = 0o755
	}
	if mode != 0 {
		e.Mode = mode
	}
	e.Sum, err = d.sum(name)
	// The mode by its own name, as sum keeps the content's digest under the file's.
	d.read[name+"\x00mode"] = e.Mode.String()
	return e, err
}

// content is a file that this package makes.
func content(name, text string, mode fs.FileMode) Entry {
	return Entry{Name: name, Content: []byte(text), Mode: mode}
}
