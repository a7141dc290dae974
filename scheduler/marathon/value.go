package marathon

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The two messages that head a list of faults.
const (
	invalidJSON    = "Invalid JSON"        // type-level
	invalidMessage = "Object is not valid" // semantic
)

// value is a node with its path and the place where its faults go. Its methods read one type each, record a fault when the
// value is of another one, and return nil when there is nothing to return. A missing value (n nil) is no fault.
type value struct {
	n    *node
	path string
	f    *Faults
}

func (v value) ok() bool { return v.n != nil }

// fault records a type-level code at the value. The whole object's path is "/".
func (v value) fault(code string) {
	path := v.path
	if path == "" {
		path = "/"
	}
	v.f.Add(path, "%s", code)
}

// get is the field of an object; missing when v is no object, or has no such field, or has null there.
func (v value) get(key string) value {
	child := value{path: v.path + "/" + key, f: v.f}
	if v.n != nil && v.n.kind == kindObject {
		if n := v.n.fields[key]; n != nil && n.kind != kindNull {
			child.n = n
		}
	}
	return child
}

// need is get for required fields.
func (v value) need(key string) value {
	child := v.get(key)
	if !child.ok() && v.ok() && v.n.kind == kindObject {
		child.fault("error.path.missing")
	}
	return child
}

func (v value) is(k kind, code string) bool {
	if v.n == nil {
		return false
	}
	if v.n.kind != k {
		v.fault(code)
		return false
	}
	return true
}

func (v value) object() bool { return v.is(kindObject, "error.expected.jsobject") }

func (v value) str() *string {
	if !v.is(kindString, "error.expected.jsstring") {
		return nil
	}
	return &v.n.text
}

// strLen is str with bounds on the number of characters; most 0 means none.
func (v value) strLen(least, most int) *string {
	s := v.str()
	if s == nil {
		return nil
	}
	switch n := utf8.RuneCountInString(*s); {
	case n < least:
		v.fault("error.minLength")
	case most > 0 && n > most:
		v.fault("error.maxLength")
	}
	return s
}

// strMatch is str that must satisfy a pattern.
func (v value) strMatch(matches func(string) bool) *string {
	s := v.str()
	if s != nil && !matches(*s) {
		v.fault("error.pattern")
	}
	return s
}

// enum reads one of the literals in any letter case and returns it as listed.
func (v value) enum(literals ...string) *string {
	s := v.str()
	if s == nil {
		return nil
	}
	for _, l := range literals {
		if strings.EqualFold(l, *s) {
			return &l
		}
	}
	v.fault("error.unknown.enum.literal")
	return nil
}

func (v value) boolean() *bool {
	if !v.is(kindBool, "error.expected.jsboolean") {
		return nil
	}
	return &v.n.truth
}

// number reads a number without limits.
func (v value) number() *float64 {
	if !v.is(kindNumber, "error.expected.jsnumber") {
		return nil
	}
	x, err := strconv.ParseFloat(v.n.text, 64)
	if err != nil {
		v.fault("error.expected.jsnumber") // out of float64's range
		return nil
	}
	return &x
}

func (v value) numberIn(least, most float64) *float64 {
	x := v.number()
	if x != nil {
		v.limits(*x, least, most)
	}
	return x
}

// integer reads a 32 bit integer, as Marathon's are; 1.0 is one, "1" and 0.5 are not.
func (v value) integer() *int {
	x := v.number()
	if x == nil {
		return nil
	}
	if *x != math.Trunc(*x) || *x > math.MaxInt32 || *x < math.MinInt32 {
		v.fault("error.expected.int")
		return nil
	}
	i := int(*x)
	return &i
}

func (v value) integerIn(least, most int) *int {
	i := v.integer()
	if i != nil {
		v.limits(float64(*i), float64(least), float64(most))
	}
	return i
}

func (v value) limits(x, least, most float64) {
	if x < least {
		v.fault("error.min")
	}
	if x > most {
		v.fault("error.max")
	}
}

// items are the elements of an array; nil when there is no array, empty but not nil when it is empty.
func (v value) items() []value {
	if !v.is(kindArray, "error.expected.jsarray") {
		return nil
	}
	path := v.path
	if path == "" {
		path = "/" // the body itself is the array
	}
	items := make([]value, len(v.n.list))
	for i, n := range v.n.list {
		items[i] = value{n: n, path: path + "(" + strconv.Itoa(i) + ")", f: v.f}
	}
	return items
}

// entries are the fields of an object used as a map, sorted by key; nil when there is no object.
func (v value) entries() []entry {
	if !v.object() {
		return nil
	}
	keys := v.n.keys()
	entries := make([]entry, len(keys))
	for i, k := range keys {
		entries[i] = entry{k, v.get(k)}
	}
	return entries
}

type entry struct {
	key string
	value
}

// strs reads an array of strings; nil when there is none.
func (v value) strs() []string { return list(v, value.str) }

// strMap reads an object of strings; nil when there is none.
func (v value) strMap() map[string]string {
	entries := v.entries()
	if entries == nil {
		return nil
	}
	m := make(map[string]string, len(entries))
	for _, e := range entries {
		if s := e.str(); s != nil {
			m[e.key] = *s
		}
	}
	return m
}

// list reads an array's elements with read; nil when there is no array. Elements with faults are left out.
func list[T any](v value, read func(value) *T) []T {
	items := v.items()
	if items == nil {
		return nil
	}
	out := make([]T, 0, len(items))
	for _, item := range items {
		if t := read(item); t != nil {
			out = append(out, *t)
		}
	}
	return out
}

// or is *p, or fallback when p is nil.
func or[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}
