package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// kind is what extract does with a file, by its name.
type kind int

const (
	none    kind = iota
	archive      // tar in any wrapping, or zip: the content says which
	packed       // one file, gzipped
)

func kindOf(name string) kind {
	name = strings.ToLower(name)
	for _, end := range []string{".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip"} {
		if strings.HasSuffix(name, end) {
			return archive
		}
	}
	if strings.HasSuffix(name, ".gz") {
		return packed
	}
	return none
}

// zipDirectory bounds what is read of a zip's directory, which is held in memory as a whole.
const zipDirectory = 64 << 20

// extract unpacks a file into the sandbox.
func (j *job) extract(ctx context.Context, f *os.File, k kind, name string) error {
	j.progress("unpacking %s", filepath.Base(name))
	if err := j.unpack(ctx, f, k, name); err != nil {
		return fmt.Errorf("unpack it: %w", err)
	}
	return nil
}

func (j *job) unpack(ctx context.Context, f *os.File, k kind, name string) error {
	start := make([]byte, 6)
	n, err := io.ReadFull(f, start)
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty")
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	start = start[:n]
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	switch {
	case k == packed:
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		base := filepath.Base(name)
		return j.file(ctx, base[:len(base)-len(".gz")], 0o644, z)
	case bytes.HasPrefix(start, []byte("PK")):
		i, err := f.Stat()
		if err != nil {
			return err
		}
		return j.zip(ctx, f, i.Size())
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		return j.tar(ctx, z)
	case bytes.HasPrefix(start, []byte("BZh")):
		return j.tar(ctx, bzip2.NewReader(f))
	case bytes.HasPrefix(start, []byte("\xfd7zXZ")):
		return j.xz(ctx, f)
	}
	return j.tar(ctx, f)
}

// xz unpacks by the host's xz: a file may ask for gigabytes of memory, and a process of its own can be held to a limit.
func (j *job) xz(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "xz", "--decompress", "--stdout", "--memlimit-decompress=256MiB")
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = f, &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		return errors.New("xz is not installed on this host")
	} else if err != nil {
		return err
	}
	err = j.tar(ctx, out)
	if err == nil { // padding may follow the archive; xz has more to say than that it was cut off
		const most = 1 << 20
		if n, _ := io.Copy(io.Discard, io.LimitReader(out, most)); n < most {
			err = cmd.Wait()
		}
	}
	cancel()
	_ = cmd.Wait() // at the latest now it is over
	if text := strings.TrimSpace(complaint.String()); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

func (j *job) tar(ctx context.Context, from io.Reader) error {
	// Beside the files' content what is none has a bound, too: headers can be packed as well.
	stream := 2 * j.o.Unpacked
	counted := readerFunc(func(p []byte) (int, error) {
		n, err := from.Read(p)
		if stream -= int64(n); stream < 0 {
			return 0, j.tooMuch()
		}
		return n, err
	})
	r := tar.NewReader(counted)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := j.entry(ctx, h, r); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func (j *job) entry(ctx context.Context, h *tar.Header, from io.Reader) error {
	name, err := j.place(h.Name)
	if err != nil || name == "." {
		return err
	}
	mode := h.FileInfo().Mode().Perm() // without setuid and its like
	switch h.Typeflag {
	case tar.TypeDir:
		err = j.folder(name, mode)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		err = j.file(ctx, name, mode, from)
	case tar.TypeSymlink:
		return j.symlink(name, h.Linkname)
	case tar.TypeLink:
		to, err := j.place(h.Linkname)
		if err != nil {
			return err
		}
		return j.make(name, func() error { return j.root.Link(to, name) })
	default:
		return fmt.Errorf("is of type %q; only files, folders and links are unpacked", h.Typeflag)
	}
	if err == nil && !h.ModTime.IsZero() {
		err = j.root.Chtimes(name, time.Now(), h.ModTime)
	}
	return err
}

// place is an entry's path in the sandbox. A leading slash is dropped, as tar does; a way out is refused.
func (j *job) place(name string) (string, error) {
	if j.entries--; j.entries < 0 {
		return "", fmt.Errorf("there are more than %d files", j.o.Entries)
	}
	clean := filepath.Clean(strings.TrimLeft(name, "/"))
	if name == "" || len(name) > 4096 || !filepath.IsLocal(clean) || strings.ContainsRune(name, 0) {
		return "", errors.New("is not a path in the sandbox")
	}
	return clean, nil
}

func (j *job) tooMuch() error {
	return fmt.Errorf("what it holds is larger than %d MiB", j.o.Unpacked>>20)
}

func (j *job) folder(name string, mode os.FileMode) error {
	if err := j.root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	return j.root.Chmod(name, mode|0o700)
}

// make makes room for an entry and makes it. What is there gives way, unless it is a folder with something in it.
func (j *job) make(name string, do func() error) error {
	if err := j.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := j.root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return do()
}

func (j *job) file(ctx context.Context, name string, mode os.FileMode, from io.Reader) error {
	return j.make(name, func() error {
		f, err := j.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		counted := readerFunc(func(p []byte) (int, error) {
			n, err := from.Read(p)
			if j.unpacked -= int64(n); j.unpacked < 0 {
				return 0, j.tooMuch()
			}
			return n, err
		})
		return errors.Join(j.copy(ctx, f, counted), f.Chmod(mode|0o600), f.Close())
	})
}

// symlink makes a link that stays in the sandbox.
func (j *job) symlink(name, to string) error {
	if filepath.IsAbs(to) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), to)) {
		return fmt.Errorf("is a link to %q, which is not in the sandbox", to)
	}
	return j.make(name, func() error { return j.root.Symlink(to, name) })
}

func (j *job) zip(ctx context.Context, from io.ReaderAt, size int64) error {
	directory, opened := int64(zipDirectory), false
	bounded := readerAtFunc(func(p []byte, at int64) (int, error) {
		if directory -= int64(len(p)); directory < 0 && !opened {
			return 0, errors.New("its directory is too large")
		}
		return from.ReadAt(p, at)
	})
	r, err := zip.NewReader(bounded, size)
	if err != nil {
		return err
	}
	opened = true
	for _, f := range r.File {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := j.zipEntry(ctx, f); err != nil {
			return fmt.Errorf("entry %q: %w", f.Name, err)
		}
	}
	return nil
}

func (j *job) zipEntry(ctx context.Context, f *zip.File) error {
	name, err := j.place(f.Name)
	if err != nil || name == "." {
		return err
	}
	mode := f.Mode()
	if mode.IsDir() {
		return j.folder(name, 0o755)
	}
	if t := mode.Type(); t != 0 && t != os.ModeSymlink {
		return errors.New("only files, folders and links are unpacked")
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if mode&os.ModeSymlink == 0 {
		perm := mode.Perm()
		if perm == 0 { // made where files have no mode
			perm = 0o644
		}
		return j.file(ctx, name, perm, r)
	}
	to, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return err
	}
	return j.symlink(name, string(to))
}

type readerAtFunc func(p []byte, at int64) (int, error)

func (f readerAtFunc) ReadAt(p []byte, at int64) (int, error) { return f(p, at) }
