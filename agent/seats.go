package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/spec"
)

// seatsJob is what the seats' folders should hold.
type seatsJob struct {
	doc     *spec.HostDocument
	started map[string]time.Time // task id -> start of its container
	mounted map[string]bool      // folders (SeatID.Safe) that some container, running or not, was made with
	drained map[string]bool      // tasks that their clients have left
	again   int
}

// seatsDone says which document's folders are written.
type seatsDone struct {
	version uint64
	drained map[string]bool // of the job
	err     error
}

// drainedFile is the file in a seat's folder with the ids of its drained tasks, one a line: their images need not wait for
// clients again when they are stopped. The base image knows it (/usr/lib/berth/stop).
const drainedFile = "drained"

// seatLinger is how long the folder of a seat that left the host stays: its task may come back here.
const seatLinger = time.Hour

// seats writes the folders. It remembers what it wrote, so that an unchanged seat costs no read; at a recheck (job.again
// differs) it looks at the disk instead, as others may have changed or removed something.
type seats struct {
	dir     string
	log     logrus.FieldLogger
	written map[string][]byte    // path -> content
	gone    map[string]time.Time // folder -> first seen without its seat
	again   int                  // of the last job
	swept   bool                 // leftovers of a killed predecessor are removed
}

func newSeats(dir string, log logrus.FieldLogger) *seats {
	return &seats{dir: dir, log: log, written: map[string][]byte{}, gone: map[string]time.Time{}}
}

// apply writes every folder; one that fails does not keep the others from being written.
func (s *seats) apply(_ context.Context, j seatsJob) seatsDone {
	var errs []error
	if !s.swept {
		s.swept = true
		errs = append(errs, s.sweep())
	}
	if j.again != s.again {
		s.again = j.again
		clear(s.written)
	}
	wanted := map[string]bool{}
	for _, seat := range j.doc.Seats {
		wanted[seat.Seat.Safe()] = true
		err := s.write(j.doc, seat, j.started[seat.TaskID])
		if err == nil && s.hasDrained(j, seat) {
			err = s.put(filepath.Join(s.dir, seat.Seat.Safe(), drainedFile), drained(j, seat.Seat), 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write folder of seat %v: %w", seat.Seat, err))
		}
	}
	errs = append(errs, s.prune(wanted, j.mounted, time.Now()))
	return seatsDone{version: j.doc.Version, drained: j.drained, err: errors.Join(errs...)}
}

// hasDrained says whether the seat's folder needs a list of drained tasks: one that would be empty is made only in the place of
// another.
func (s *seats) hasDrained(j seatsJob, seat spec.HostSeat) bool {
	return j.drained[seat.TaskID] || s.written[filepath.Join(s.dir, seat.Seat.Safe(), drainedFile)] != nil
}

// drained are the drained tasks of a seat.
func drained(j seatsJob, seat spec.SeatID) []byte {
	out := []byte{}
	for _, s := range j.doc.Seats {
		if s.Seat == seat && j.drained[s.TaskID] {
			out = append(out, line(s.TaskID)...)
			for _, c := range s.Containers {
				out = append(out, line(c.TaskID)...)
			}
		}
	}
	return out
}

// plainName is a folder or key type that cannot leave its folder.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (s *seats) write(doc *spec.HostDocument, seat spec.HostSeat, since time.Time) error {
	name := seat.Seat.Safe()
	if !plainName.MatchString(name) {
		return fmt.Errorf("%q cannot be a folder's name", name)
	}
	dir := filepath.Join(s.dir, name)
	// 0755, as sshd refuses authorized_keys in a folder that others can write to, and the container's users read motd.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// The public halves go first and the private key last: an image waits for the private key.
	if err := s.put(filepath.Join(dir, "authorized_keys"), authorizedKeys(doc.AuthorizedKeys), 0o644); err != nil {
		return err
	}
	if err := s.put(filepath.Join(dir, "motd"), motd(doc.Host, seat, since), 0o644); err != nil {
		return err
	}
	for _, k := range seat.HostKeys {
		if !plainName.MatchString(k.Type) {
			return fmt.Errorf("%q cannot be a key type", k.Type)
		}
		path := filepath.Join(dir, "ssh_host_"+k.Type+"_key")
		if err := s.put(path+".pub", line(k.Public), 0o644); err != nil {
			return err
		}
		if err := s.put(path, line(k.Private), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// put replaces a file in one step, within the same folder: a container that mounts the folder sees the old or the new one.
func (s *seats) put(path string, content []byte, mode os.FileMode) error {
	if known, ok := s.written[path]; ok && bytes.Equal(known, content) {
		return nil
	}
	if same(path, content, mode) {
		s.written[path] = content
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), temporary) // 0600 from the start
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	s.written[path] = content
	return nil
}

// same says whether the file is as it should be.
func same(path string, content []byte, mode os.FileMode) bool {
	if i, err := os.Lstat(path); err != nil || i.Mode() != mode { // a symbolic link is no such file
		return false
	}
	have, err := os.ReadFile(path)
	return err == nil && bytes.Equal(have, content)
}

// temporary names files that are not complete. A killed process leaves them, private keys among them.
const temporary = ".new-*"

// sweep removes what a killed predecessor left half written; only one agent of a state folder runs at a time.
func (s *seats) sweep() error {
	left, err := filepath.Glob(filepath.Join(s.dir, "*", temporary))
	if err != nil {
		return fmt.Errorf("look for leftovers in seat folders: %w", err)
	}
	var errs []error
	for _, path := range left {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove leftover of a seat folder: %w", err))
		}
	}
	return errors.Join(errs...)
}

// prune removes the folders of seats that have been gone for a while, unless a container still mounts them.
func (s *seats) prune(wanted, mounted map[string]bool, now time.Time) error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list seat folders: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if wanted[name] || mounted[name] || !e.IsDir() {
			delete(s.gone, name)
			continue
		}
		since, ok := s.gone[name]
		if !ok {
			s.gone[name] = now
			continue
		}
		if now.Sub(since) < seatLinger {
			continue
		}
		dir := filepath.Join(s.dir, name)
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove folder of a former seat: %w", err))
			continue
		}
		delete(s.gone, name)
		for path := range s.written {
			if filepath.Dir(path) == dir {
				delete(s.written, path)
			}
		}
		s.log.WithField("seat", name).Info("folder of a former seat removed")
	}
	return errors.Join(errs...)
}

func authorizedKeys(keys []string) []byte {
	var b bytes.Buffer
	for _, k := range keys {
		b.Write(line(k))
	}
	return b.Bytes()
}

// line ends a text with one newline; OpenSSH refuses private keys without.
func line(text string) []byte { return []byte(strings.TrimRight(text, "\n") + "\n") }

// motd says whose instance this is, to whoever logs in.
func motd(host string, seat spec.HostSeat, since time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "This is %s: instance %d of app %s, a container that Berth runs.\n\n", seat.Hostname, seat.Seat.Index, seat.Seat.App)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-8s  %s\n", name, value)
		}
	}
	if seat.Address.IsValid() {
		row("address", fmt.Sprintf("%v (pool %s)", seat.Address, seat.Pool))
	}
	row("host", host)
	row("task", seat.TaskID)
	row("version", seat.AppVersion)
	if !since.IsZero() {
		row("since", since.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	b.WriteString("\nFiles outside volumes vanish with this container, at the next restart or update.\nKeep data on volumes.\n\n")
	return b.Bytes()
}
