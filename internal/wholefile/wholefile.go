// Package wholefile replaces small files in one step: whoever reads one, also after a crash in the middle, finds the old content or
// the new.
package wholefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// next is what the new file is called until it has its place. One writer a file is assumed.
const next = ".new"

// Replace writes a file that only its owner may read (0600). It does not wait for the disk: a crash of the host, which Docker's
// containers do not survive either, may leave an old or an empty file.
func Replace(file string, content []byte) error {
	return replace(file, content, 0o600, false)
}

// ReplaceFor is Replace for a file that others may read, too.
func ReplaceFor(file string, content []byte, mode os.FileMode) error {
	return replace(file, content, mode, false)
}

// ReplaceDurably is Replace that returns when the content, and its name, would survive a power cut.
func ReplaceDurably(file string, content []byte) error {
	if err := replace(file, content, 0o600, true); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(file))
	if err == nil {
		err = errors.Join(folder.Sync(), folder.Close())
	}
	if err != nil {
		return fmt.Errorf("make the name of %s durable: %w", file, err)
	}
	return nil
}

func replace(file string, content []byte, mode os.FileMode, durable bool) error {
	f, err := os.OpenFile(file+next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err // names the file
	}
	if _, err = f.Write(content); err == nil && mode != 0o600 {
		err = f.Chmod(mode) // whatever the umask
	}
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(file+next))
	}
	return os.Rename(file+next, file)
}
