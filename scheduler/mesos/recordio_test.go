package mesos

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestRecords(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
		err      string
	}{
		{"nothing", "", nil, "EOF"},
		{"two", "2\nab3\ncde", []string{"ab", "cde"}, "EOF"},
		{"empty ones", "0\n1\na0\n", []string{"a"}, "EOF"},
		{"a line end inside", "3\na\nb", []string{"a\nb"}, "EOF"},
		{"blanks about the length", " 1 \r\na", []string{"a"}, "EOF"},
		{"ends in the length", "1\na1", []string{"a"}, "unexpected EOF"},
		{"ends before the record", "1\n", nil, "unexpected EOF"},
		{"ends in the record", "3\nab", nil, "unexpected EOF"},
		{"not a number", "x\n", nil, `read record length: unexpected byte 'x'`},
		{"negative", "-1\na", nil, `read record length: unexpected byte '-'`},
		{"no length", "\na", nil, `read record length: unexpected byte '\n'`},
		{"too long", "11\n", nil, "read record: longer than 10 bytes"},
		{"far too long", "18446744073709551615\n", nil, "read record: longer than 10 bytes"},
		{"endless zeros", strings.Repeat("0", 100), nil, "read record length: line too long"},
		{"endless blanks", strings.Repeat(" ", 100), nil, "read record length: line too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, reader := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
				in := newRecords(reader(strings.NewReader(c.in)), 10)
				var got []string
				record, err := in.next()
				for ; err == nil; record, err = in.next() {
					got = append(got, string(record))
				}
				if diff := cmp.Diff(c.want, got); diff != "" || err.Error() != c.err {
					t.Errorf("%v, want %s; %s", err, c.err, diff)
				}
			}
		})
	}
}

func TestRecordsPassReadErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	for _, before := range []string{"", "1", "5\nab"} {
		in := newRecords(io.MultiReader(strings.NewReader(before), iotest.ErrReader(broken)), 10)
		if _, err := in.next(); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", before, err)
		}
	}
}
