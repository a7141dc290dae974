package marathon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
)

// Bounds of what is read at all. The size of the body is bounded by the API; these keep a small body from costing much.
const (
	maxDepth   = 64     // nested arrays and objects; group trees nest, apps need seven
	maxEntries = 10_000 // of one array or object
)

type kind int

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// node is one JSON value. Absent and null are both a nil *node to readers, as Marathon treats them alike.
type node struct {
	kind   kind
	text   string // string, or the number as written
	truth  bool
	list   []*node
	fields map[string]*node
}

// parse reads a whole body. Its error is a *Faults with Syntax set.
func parse(body []byte) (*node, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, &Faults{Message: "Please specify data in JSON format", Syntax: "the request body is empty"}
	}
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		return nil, syntaxFault(syntaxText(body, err))
	}
	d := json.NewDecoder(bytes.NewReader(whole))
	d.UseNumber()
	n, err := parseValue(d, 0)
	if err != nil {
		return nil, syntaxFault(err.Error())
	}
	return n, nil
}

func syntaxFault(text string) *Faults { return &Faults{Message: invalidJSON, Syntax: text} }

// syntaxText adds the position, as people look for it: line and column.
func syntaxText(body []byte, err error) string {
	syntax := (*json.SyntaxError)(nil)
	if !errors.As(err, &syntax) {
		return err.Error()
	}
	before := body[:min(int(max(syntax.Offset-1, 0)), len(body))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("%v at line %d, column %d", err, line, column)
}

func parseValue(d *json.Decoder, depth int) (*node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if depth >= maxDepth {
			return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
		}
		if t == '[' {
			return parseArray(d, depth)
		}
		return parseObject(d, depth)
	case bool:
		return &node{kind: kindBool, truth: t}, nil
	case json.Number:
		return &node{kind: kindNumber, text: t.String()}, nil
	case string:
		return &node{kind: kindString, text: t}, nil
	}
	return &node{kind: kindNull}, nil
}

func parseArray(d *json.Decoder, depth int) (*node, error) {
	n := &node{kind: kindArray, list: []*node{}}
	for d.More() {
		if len(n.list) == maxEntries {
			return nil, fmt.Errorf("an array with more than %d elements", maxEntries)
		}
		element, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		n.list = append(n.list, element)
	}
	_, err := d.Token()
	return n, err
}

func parseObject(d *json.Decoder, depth int) (*node, error) {
	n := &node{kind: kindObject, fields: map[string]*node{}}
	for d.More() {
		if len(n.fields) == maxEntries {
			return nil, fmt.Errorf("an object with more than %d keys", maxEntries)
		}
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		field, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		n.fields[key.(string)] = field
	}
	_, err := d.Token()
	return n, err
}

// keys are an object's keys with a value other than null, sorted.
func (n *node) keys() []string {
	keys := make([]string, 0, len(n.fields))
	for k, v := range n.fields {
		if v.kind != kindNull {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

// raw is the value in compact form with sorted keys and without nulls, so that equal values are equal bytes.
func (n *node) raw() json.RawMessage {
	var b bytes.Buffer
	n.write(&b)
	return b.Bytes()
}

func (n *node) write(b *bytes.Buffer) {
	switch n.kind {
	case kindNull:
		b.WriteString("null")
	case kindBool:
		fmt.Fprint(b, n.truth)
	case kindNumber:
		b.WriteString(n.text)
	case kindString:
		writeString(b, n.text)
	case kindArray:
		b.WriteByte('[')
		for i, e := range n.list {
			if i > 0 {
				b.WriteByte(',')
			}
			e.write(b)
		}
		b.WriteByte(']')
	case kindObject:
		b.WriteByte('{')
		for i, k := range n.keys() {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, k)
			b.WriteByte(':')
			n.fields[k].write(b)
		}
		b.WriteByte('}')
	}
}

func writeString(b *bytes.Buffer, s string) {
	text, _ := json.Marshal(s) // a string always marshals
	b.Write(text)
}
