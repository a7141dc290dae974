package calico

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Selector says which labels are meant, in Calico's language: all(), has(k), k == 'v', k != 'v', k in {'a', 'b'}, k not in
// {...}, k contains 's', k starts with 's', k ends with 's', and of these !, &&, || and parentheses.
type Selector struct {
	matches func(labels map[string]string) bool
}

// Matches says whether a thing with these labels is meant.
func (s Selector) Matches(labels map[string]string) bool {
	return s.matches != nil && s.matches(labels)
}

// selectorDepth bounds nesting, so that no text can exhaust the stack.
const selectorDepth = 100

// ParseSelector reads a selector. Empty text means all, as in Calico.
func ParseSelector(text string) (Selector, error) {
	tokens, err := selectorTokens(text)
	if err != nil {
		return Selector{}, err
	}
	if len(tokens) == 0 {
		return Selector{func(map[string]string) bool { return true }}, nil
	}
	p := selectorParser{tokens: tokens}
	m, err := p.or(0)
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("%s is not expected here", p.tokens[0])
	}
	if err != nil {
		return Selector{}, err
	}
	return Selector{m}, nil
}

// Labels that everything in a namespace has, for NamespaceSelectors and for selectors.
const (
	LabelNamespace     = "projectcalico.org/namespace"
	LabelNamespaceName = "projectcalico.org/name"      // on a namespace, in Calico
	LabelMetadataName  = "kubernetes.io/metadata.name" // and in Kubernetes
)

// ParseNamespaceSelector reads a selector of namespaces. As in Calico, all() means everything that is in a namespace, and global()
// what is in none.
func ParseNamespaceSelector(text string) (Selector, error) {
	text = strings.ReplaceAll(text, "all()", "has("+LabelNamespace+")")
	return ParseSelector(strings.ReplaceAll(text, "global()", "!has("+LabelNamespace+")"))
}

// NamespaceLabels are what a namespace's selectors see of the one with the name; "": of what is in none.
func NamespaceLabels(name string) map[string]string {
	if name == "" {
		return nil
	}
	return map[string]string{LabelNamespace: name, LabelNamespaceName: name, LabelMetadataName: name}
}

// token is a piece of a selector: a word, a quoted text, or an operator.
type token struct {
	text   string
	quoted bool
}

func (t token) String() string {
	if t.quoted {
		return fmt.Sprintf("'%s'", t.text)
	}
	return t.text
}

func (t token) is(text string) bool { return !t.quoted && t.text == text }

// label says whether the token can be a label's name.
func (t token) label() bool { return !t.quoted && t.text != "" && labelRune(rune(t.text[0])) }

func labelRune(r rune) bool {
	return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_./-", r))
}

func selectorTokens(text string) ([]token, error) {
	var out []token
	for {
		text = strings.TrimLeft(text, " \t\r\n")
		if text == "" {
			return out, nil
		}
		if q := text[0]; q == '\'' || q == '"' {
			end := strings.IndexByte(text[1:], q)
			if end < 0 {
				return nil, fmt.Errorf("the quote before %s has no end", text[1:])
			}
			out = append(out, token{text[1 : 1+end], true})
			text = text[end+2:]
			continue
		}
		n := strings.IndexFunc(text, func(r rune) bool { return !labelRune(r) })
		switch {
		case n < 0:
			n = len(text)
		case n == 0 && slices.ContainsFunc([]string{"&&", "||", "==", "!="}, func(op string) bool { return strings.HasPrefix(text, op) }):
			n = 2
		case n == 0 && strings.ContainsRune("!(){},", rune(text[0])):
			n = 1
		case n == 0:
			return nil, fmt.Errorf("%q is not expected here", []rune(text)[0])
		}
		out = append(out, token{text: text[:n]})
		text = text[n:]
	}
}

// matcher is one compiled part of a selector.
type matcher = func(map[string]string) bool

type selectorParser struct{ tokens []token }

func (p *selectorParser) take(text string) bool {
	if len(p.tokens) > 0 && p.tokens[0].is(text) {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

func (p *selectorParser) next() (token, error) {
	if len(p.tokens) == 0 {
		return token{}, errors.New("the selector ends too early")
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t, nil
}

func (p *selectorParser) want(text string) error {
	if t, err := p.next(); err != nil {
		return err
	} else if !t.is(text) {
		return fmt.Errorf("want %s, got %s", text, t)
	}
	return nil
}

func (p *selectorParser) or(depth int) (matcher, error) {
	left, err := p.and(depth)
	for err == nil && p.take("||") {
		a := left
		var b matcher
		b, err = p.and(depth)
		left = func(l map[string]string) bool { return a(l) || b(l) }
	}
	return left, err
}

func (p *selectorParser) and(depth int) (matcher, error) {
	left, err := p.not(depth)
	for err == nil && p.take("&&") {
		a := left
		var b matcher
		b, err = p.not(depth)
		left = func(l map[string]string) bool { return a(l) && b(l) }
	}
	return left, err
}

func (p *selectorParser) not(depth int) (matcher, error) {
	if depth > selectorDepth {
		return nil, errors.New("the selector is nested too deeply")
	}
	if p.take("!") {
		m, err := p.not(depth + 1)
		return func(l map[string]string) bool { return !m(l) }, err
	}
	if p.take("(") {
		m, err := p.or(depth + 1)
		if err == nil {
			err = p.want(")")
		}
		return m, err
	}
	return p.term()
}

// term is all(), global(), has(k), or a comparison of a label.
func (p *selectorParser) term() (matcher, error) {
	t, err := p.next()
	if err != nil {
		return nil, err
	}
	if !t.label() {
		return nil, fmt.Errorf("want a label, got %s", t)
	}
	if p.take("(") {
		return p.call(t.text)
	}
	return p.comparison(t.text)
}

func (p *selectorParser) call(name string) (matcher, error) {
	switch name {
	case "all":
		return func(map[string]string) bool { return true }, p.want(")")
	case "has":
		key, err := p.next()
		if err != nil {
			return nil, err
		}
		if !key.label() {
			return nil, fmt.Errorf("has() wants a label, got %s", key)
		}
		return func(l map[string]string) bool { _, ok := l[key.text]; return ok }, p.want(")")
	}
	return nil, fmt.Errorf("%s() is not supported: want all() or has(LABEL)", name)
}

// comparison of the label's value. As in Calico, != and "not in" hold for things without the label, the others do not.
func (p *selectorParser) comparison(key string) (matcher, error) {
	op, err := p.next()
	if err != nil {
		return nil, err
	}
	var holds func(have string, want []string) bool
	absent, many := false, false
	switch {
	case op.is("=="):
		holds = func(have string, want []string) bool { return have == want[0] }
	case op.is("!="):
		holds, absent = func(have string, want []string) bool { return have != want[0] }, true
	case op.is("contains"):
		holds = func(have string, want []string) bool { return strings.Contains(have, want[0]) }
	case op.is("starts"):
		holds, err = func(have string, want []string) bool { return strings.HasPrefix(have, want[0]) }, p.want("with")
	case op.is("ends"):
		holds, err = func(have string, want []string) bool { return strings.HasSuffix(have, want[0]) }, p.want("with")
	case op.is("in"):
		holds, many = func(have string, want []string) bool { return slices.Contains(want, have) }, true
	case op.is("not"):
		holds, absent, many = func(have string, want []string) bool { return !slices.Contains(want, have) }, true, true
		err = p.want("in")
	default:
		return nil, fmt.Errorf("%s after label %s is no comparison", op, key)
	}
	if err != nil {
		return nil, err
	}
	want, err := p.values(many)
	return func(l map[string]string) bool {
		have, ok := l[key]
		if !ok {
			return absent
		}
		return holds(have, want)
	}, err
}

// values are one quoted text, or a set of them in braces.
func (p *selectorParser) values(many bool) ([]string, error) {
	if !many {
		v, err := p.next()
		if err == nil && !v.quoted {
			err = fmt.Errorf("want a quoted value, got %s", v)
		}
		return []string{v.text}, err
	}
	if err := p.want("{"); err != nil {
		return nil, err
	}
	var out []string
	for !p.take("}") {
		v, err := p.next()
		if err == nil && !v.quoted {
			err = fmt.Errorf("want a quoted value, got %s", v)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v.text)
		if !p.take(",") {
			return out, p.want("}")
		}
	}
	return out, nil
}
