package zbxd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// NotSupported is the word with which Zabbix marks an item that has no value.
	NotSupported = "ZBX_NOTSUPPORTED"

	// MaxRequest bounds what a server asks: a key has at most 2,048 characters, and it asks one at a time.
	MaxRequest = 64 << 10
	maxKeys    = 64

	passiveChecks = "passive checks"
	// spoken is the version of which a server is told that it is spoken, by which it chooses how it asks next time. It is
	// that of the protocol, not that of this program.
	spoken = "7.0.0"
)

// Request is what a server asks in one connection.
type Request struct {
	Keys []string
	JSON bool // as servers ask from 7.0 on: the answer is JSON as well
}

// ParseRequest reads the data of a passive check: the key alone, as up to 6.4, or JSON.
func ParseRequest(data []byte) (Request, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		key := strings.TrimRight(string(data), "\r\n")
		if key == "" {
			return Request{}, errors.New("the request has no item key")
		}
		return Request{Keys: []string{key}}, nil
	}
	var r struct {
		Request string `json:"request"`
		Data    []struct {
			Key string `json:"key"`
		} `json:"data"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Request{JSON: true}, fmt.Errorf("read the request: %w", err)
	}
	switch {
	case r.Request != passiveChecks:
		return Request{JSON: true}, fmt.Errorf("the request %.40q is unknown, only %q is answered", r.Request, passiveChecks)
	case len(r.Data) == 0 || len(r.Data) > maxKeys:
		return Request{JSON: true}, fmt.Errorf("the request has %d items, between 1 and %d are answered", len(r.Data), maxKeys)
	}
	q := Request{JSON: true}
	for _, d := range r.Data {
		q.Keys = append(q.Keys, d.Key)
	}
	return q, nil
}

// Result is what one item has: a value, or the reason why there is none.
type Result struct {
	Value []byte
	Err   error
}

// AppendAnswer appends the results of the request's items, in their order, as the request wants them.
func (q Request) AppendAnswer(dst []byte, results ...Result) []byte {
	if !q.JSON {
		for _, r := range results[:min(1, len(results))] {
			dst = appendPlain(dst, r)
		}
		return dst
	}
	dst = append(dst, `{"version":"`+spoken+`","variant":1,"data":[`...)
	for i, r := range results {
		if i > 0 {
			dst = append(dst, ',')
		}
		if r.Err != nil {
			dst = append(AppendString(append(dst, `{"error":`...), []byte(r.Err.Error())), '}')
			continue
		}
		dst = append(AppendString(append(dst, `{"value":`...), r.Value), '}')
	}
	return append(dst, "]}"...)
}

// AppendFault appends the answer to what is no request.
func (q Request) AppendFault(dst []byte, err error) []byte {
	if !q.JSON {
		return appendPlain(dst, Result{Err: err})
	}
	dst = append(dst, `{"version":"`+spoken+`","variant":1,"error":`...)
	return append(AppendString(dst, []byte(err.Error())), '}')
}

func appendPlain(dst []byte, r Result) []byte {
	if r.Err == nil {
		return append(dst, r.Value...)
	}
	dst = append(dst, NotSupported...)
	dst = append(dst, 0)
	return append(dst, r.Err.Error()...)
}

// ParseAnswer reads one plain answer: the value, or why there is none.
func ParseAnswer(data []byte) (string, error) {
	value, reason, _ := strings.Cut(string(data), "\x00")
	if value != NotSupported {
		return string(data), nil
	}
	if reason == "" {
		reason = "no reason is given"
	}
	return "", errors.New(reason)
}

// AppendString appends a text as a JSON string. Long runs that need no escape, as in the figures of a thousand containers
// within a string, are copied whole, which encoding/json does not do for bytes.
func AppendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, text[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, text[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, text[from:]...), '"')
}
