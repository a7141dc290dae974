package mesos

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxHeader is the longest length line that can be right, with room for blanks.
const maxHeader = 24

// records reads the RecordIO frames of a subscription: "<length>\n<bytes>". mesos-go's own reader is not used, as a length
// that does not fit an int makes it panic, and it holds half the bound as memory from the start.
type records struct {
	r   *bufio.Reader
	max int
	buf bytes.Buffer
}

func newRecords(r io.Reader, limit int) *records {
	return &records{r: bufio.NewReaderSize(r, 64<<10), max: limit}
}

// next returns the next record; it is valid until the call after. io.EOF comes only between records, the end inside one is
// io.ErrUnexpectedEOF. Empty records are skipped, as nothing can be said in them.
func (r *records) next() ([]byte, error) {
	for {
		n, err := r.length()
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		r.buf.Reset()
		// The buffer grows with what really arrives: a wrong length costs no memory.
		if _, err := io.CopyN(&r.buf, r.r, int64(n)); err != nil {
			return nil, unexpected(err)
		}
		return r.buf.Bytes(), nil
	}
}

// length reads a length line.
func (r *records) length() (int, error) {
	n, digits := 0, 0
	for i := 0; ; i++ {
		c, err := r.r.ReadByte()
		if err != nil {
			if i > 0 {
				err = unexpected(err)
			}
			return 0, err
		}
		switch {
		case c == '\n' && digits > 0:
			return n, nil
		case c >= '0' && c <= '9':
			digits++
			n = n*10 + int(c-'0')
		case c == ' ' || c == '\r' || c == '\t':
		default:
			return 0, fmt.Errorf("read record length: unexpected byte %q", c)
		}
		if n > r.max {
			return 0, fmt.Errorf("read record: longer than %d bytes", r.max)
		}
		if i >= maxHeader {
			return 0, errors.New("read record length: line too long")
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
