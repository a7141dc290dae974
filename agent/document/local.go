package document

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// every is how often a local file is looked at.
const every = 2 * time.Second

// Local is the document of a host without a scheduler: a file that its operators write. It has the form of the document that
// the scheduler sends; "Host" and "Version" may be left out.
type Local struct {
	file, host string
	log        logrus.FieldLogger
	document   watch.Value[*spec.HostDocument]
	seen       os.FileInfo // the file as it was last read
	trouble    watch.Value[string]
}

// Trouble is why the file as it is now cannot be used; "": it can.
func (l *Local) Trouble() string {
	text, _ := l.trouble.Get()
	return text
}

// NewLocal reads the file; it fails when that cannot be used. Later changes that cannot be used are said in the log, and the
// last good document stays.
func NewLocal(file, host string, log logrus.FieldLogger) (*Local, error) {
	l := &Local{file: file, host: host, log: log}
	return l, l.look()
}

// Document is the newest document.
func (l *Local) Document() *watch.Value[*spec.HostDocument] { return &l.document }

// Run follows the file until ctx ends.
func (l *Local) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := l.look(); err != nil {
				l.log.WithError(err).Error("the host document is unusable; going on with the last good one")
			}
		}
	}
}

// look reads the file when it is another one than last time, or was changed.
func (l *Local) look() error {
	s, err := os.Stat(l.file)
	if errors.Is(err, os.ErrNotExist) && l.seen != nil {
		return nil // someone is just replacing it
	}
	if err != nil {
		return fmt.Errorf("read host document: %w", err)
	}
	if l.seen != nil && os.SameFile(s, l.seen) && s.ModTime().Equal(l.seen.ModTime()) && s.Size() == l.seen.Size() {
		return nil
	}
	l.seen = s
	d, err := l.read()
	if err != nil {
		l.trouble.Set(err.Error())
		return err
	}
	l.trouble.Set("")
	l.document.Set(d)
	return nil
}

func (l *Local) read() (*spec.HostDocument, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, fmt.Errorf("read host document: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read host document: %w", err)
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("read host document %s: longer than %d bytes", l.file, maxDocument)
	}
	return decodeLocal(b, l.host, l.file)
}

// decodeLocal is Decode for what a person wrote: the host's name may be left out.
func decodeLocal(b []byte, host, file string) (*spec.HostDocument, error) {
	var d spec.HostDocument
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("read host document %s: %w", file, err)
	}
	if d.Schema != schema {
		return nil, fmt.Errorf("read host document %s: its \"Schema\" is %d, this version reads %d", file, d.Schema, schema)
	}
	if d.Host != "" && d.Host != host {
		return nil, fmt.Errorf("read host document %s: it is for host %q, this is %q", file, d.Host, host)
	}
	d.Host, d.FenceAfter, d.Withdrawn = host, 0, nil // nobody else gives this host's addresses away
	return &d, nil
}
