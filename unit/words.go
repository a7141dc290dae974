package unit

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	errQuote = errors.New("unbalanced quotes")
	errSlash = errors.New("a backslash at the end")
)

// mode is how words are cut.
type wordMode int

const (
	// unescape resolves C's escapes ("\n", "\x20", "\s" for a space); an unknown one stays as it is.
	unescape wordMode = 1 << iota
	// relax takes a missing closing quote as if it were there.
	relax
	// keepSlash leaves backslashes alone.
	keepSlash
)

const blanks = " \t\n\r"

// nextWord takes one word from the front: quotes hold blanks together and go away, wherever in the word they are. ok is false at the end.
func nextWord(s string, mode wordMode) (word, rest string, ok bool, err error) {
	s = strings.TrimLeft(s, blanks)
	if s == "" {
		return "", "", false, nil
	}
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && mode&keepSlash == 0:
			if i+1 == len(s) {
				if mode&relax == 0 {
					return "", "", false, errSlash
				}
				b.WriteByte(c)
				continue
			}
			i += escape(&b, s[i+1:], mode)
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			b.WriteByte(c)
		case c == '\'' || c == '"':
			quote = c
		case strings.IndexByte(blanks, c) >= 0:
			return b.String(), strings.TrimLeft(s[i:], blanks), true, nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 && mode&relax == 0 {
		return "", "", false, errQuote
	}
	return b.String(), "", true, nil
}

// escape writes what the text after a backslash stands for and returns how long it is.
func escape(b *strings.Builder, s string, mode wordMode) int {
	if mode&unescape == 0 {
		b.WriteByte(s[0])
		return 1
	}
	if at := strings.IndexByte(`abfnrtvs\"'`, s[0]); at >= 0 {
		b.WriteByte("\a\b\f\n\r\t\v \\\"'"[at])
		return 1
	}
	for _, form := range []struct {
		lead        string
		digits, max int
		base        int
		char        bool
	}{{"x", 2, 0xff, 16, false}, {"u", 4, utf8.MaxRune, 16, true}, {"U", 8, utf8.MaxRune, 16, true}, {"", 3, 0xff, 8, false}} {
		digits, found := strings.CutPrefix(s, form.lead)
		if !found || len(digits) < form.digits {
			continue
		}
		n, err := strconv.ParseUint(digits[:form.digits], form.base, 32)
		if err != nil || n == 0 || n > uint64(form.max) {
			continue
		}
		if form.char {
			b.WriteRune(rune(n))
		} else {
			b.WriteByte(byte(n))
		}
		return len(form.lead) + form.digits
	}
	b.WriteByte('\\')
	b.WriteByte(s[0])
	return 1
}

// words cuts a whole value.
func words(s string, mode wordMode) ([]string, error) {
	var all []string
	for {
		w, rest, ok, err := nextWord(s, mode)
		if err != nil || !ok {
			return all, err
		}
		all, s = append(all, w), rest
	}
}
