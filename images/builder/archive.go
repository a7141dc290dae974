package builder

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/berth-project/berth/images/recipe"
)

// archive writes a build context: the Dockerfile and its files, owned by root, without times, as the engine compares what it has
// built by all of that. Folders come before what is in them.
func archive(w io.Writer, dir fs.FS, dockerfile string, entries []recipe.Entry) error {
	t := tar.NewWriter(w)
	if err := writeFile(t, recipe.Entry{Name: "Dockerfile", Content: []byte(dockerfile), Mode: 0o644}, nil); err != nil {
		return err
	}
	made := map[string]bool{".": true}
	for _, e := range entries {
		if e.Mode.IsDir() {
			made[e.Name] = true
		}
	}
	for _, e := range entries {
		if err := writeParents(t, path.Dir(e.Name), made); err != nil {
			return err
		}
		if err := writeEntry(t, dir, e); err != nil {
			return fmt.Errorf("send %s to the engine: %w", e.Source, err)
		}
	}
	return t.Close()
}

// writeParents writes the folders that are no entries themselves.
func writeParents(t *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := writeParents(t, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
}

func writeEntry(t *tar.Writer, dir fs.FS, e recipe.Entry) error {
	mode := int64(e.Mode.Perm())
	switch {
	case e.Mode.IsDir():
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: e.Name + "/", Mode: mode})
	case e.Link != "":
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: e.Name, Linkname: e.Link, Mode: mode})
	case e.Source == "":
		return writeFile(t, e, nil)
	}
	f, err := dir.Open(e.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(t, e, f)
}

// writeFile writes an open file, or without one the entry's content. A file that is no longer what the plan speaks of, as somebody
// edited it while the build was waiting for its turn, is an error: the version would not be what its digest says.
func writeFile(t *tar.Writer, e recipe.Entry, f fs.File) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Name, Mode: int64(e.Mode.Perm()), Size: int64(len(e.Content))}
	if f != nil {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		h.Size = info.Size()
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if f == nil {
		_, err := t.Write(e.Content)
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(t, sum), f, h.Size); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != e.Sum {
		return errors.New("it was changed after the build began; build again")
	}
	return nil
}
