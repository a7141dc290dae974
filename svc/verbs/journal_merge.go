package verbs

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// source reads one unit's log from its oldest file on, line by line: a container has little memory, and logs are long.
type source struct {
	reader
	files []string
	file  *os.File
	lines *bufio.Reader
	head  entry // the next one
	ok    bool  // there is one
	mark  place
}

// place is how far a log has been read.
type place struct {
	file   os.FileInfo // of "current"
	offset int64
}

// open begins with the first file that can have something of at least a time: s6-log names a file by when it was closed.
func (c *call) open(r reader, since time.Time) *source {
	s := &source{reader: r}
	for _, f := range c.logFiles(r.unit) {
		name := filepath.Base(f)
		if len(name) > 25 && name[0] == '@' && !since.IsZero() {
			if closed, ok := tai64n(name[1:25]); ok && closed.Before(since) {
				continue
			}
		}
		s.files = append(s.files, f)
	}
	s.advance()
	return s
}

// advance reads the next entry into head.
func (s *source) advance() {
	for {
		if s.lines == nil && !s.nextFile() {
			s.ok = false
			return
		}
		line, err := s.lines.ReadSlice('\n')
		if whole := bytes.HasSuffix(line, []byte("\n")); whole {
			s.mark.offset += int64(len(line))
			if s.head, s.ok = s.entry(string(line[:len(line)-1])); s.ok {
				return
			}
			continue
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			s.mark.offset += int64(len(line))
			continue // a line longer than s6-log makes any
		}
		s.file.Close()
		s.lines = nil
	}
}

func (s *source) nextFile() bool {
	for len(s.files) > 0 {
		f, err := os.Open(s.files[0])
		s.files = s.files[1:]
		if err != nil {
			continue // rotated away meanwhile
		}
		info, _ := f.Stat()
		s.file, s.lines, s.mark = f, bufio.NewReaderSize(f, maxLine), place{file: info}
		return true
	}
	return false
}

// merge gives the entries of several logs by time.
func merge(sources []*source, each func(entry) bool) {
	for {
		var first *source
		for _, s := range sources {
			if s.ok && (first == nil || s.head.at.Before(first.head.at)) {
				first = s
			}
		}
		if first == nil {
			return
		}
		if !each(first.head) {
			for _, s := range sources {
				if s.lines != nil {
					s.file.Close()
				}
			}
			return
		}
		first.advance()
	}
}

// more reads what was written to a log since its place; "current" may have been closed and begun anew in between.
func (c *call) more(r reader, from *place) []entry {
	files := c.logFiles(r.unit)
	if len(files) == 0 {
		return nil
	}
	var all []entry
	now := files[len(files)-1]
	if info, err := os.Stat(now); err != nil || from.file == nil || !os.SameFile(info, from.file) {
		for _, f := range files[:len(files)-1] {
			if old, err := os.Stat(f); err == nil && from.file != nil && os.SameFile(old, from.file) {
				all = append(all, r.from(f, from)...)
			}
		}
		*from = place{}
	}
	return append(all, r.from(now, from)...)
}

// from reads the whole lines of a file behind a place and moves it.
func (r reader) from(name string, from *place) []entry {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || from.file != nil && info.Size() <= from.offset {
		return nil
	}
	if _, err := f.Seek(from.offset, 0); err != nil {
		return nil
	}
	text := make([]byte, info.Size()-from.offset)
	n, _ := f.Read(text)
	text = text[:n]
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	from.file, from.offset = info, from.offset+int64(len(text))
	return r.read(bytes.NewReader(text))
}
