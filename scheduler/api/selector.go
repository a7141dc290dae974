package api

import (
	"fmt"
	"strings"
)

// Selector is Marathon's label selector: requirements that must all hold. The empty Selector matches everything.
type Selector []requirement

type requirement struct {
	key    string
	op     string // "" the key exists, "==", "!=", "in", "notin"
	values []string
}

// Matches says whether labels satisfy all requirements. "!=" and "notin" demand that the key exists, too, as Marathon's do.
func (s Selector) Matches(labels map[string]string) bool {
	for _, r := range s {
		if v, ok := labels[r.key]; !ok || !r.accepts(v) {
			return false
		}
	}
	return true
}

func (r requirement) accepts(value string) bool {
	switch r.op {
	case "==", "in":
		return contains(r.values, value)
	case "!=", "notin":
		return !contains(r.values, value)
	}
	return true
}

func contains(list []string, v string) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

func plain(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// ParseSelector reads "k", "k==v", "k!=v", "k in (a,b)" and "k notin (a,b)", joined by commas.
func ParseSelector(text string) (Selector, error) {
	p := &selectorParser{in: []rune(text)}
	var out Selector
	for {
		r, err := p.requirement()
		if err != nil {
			return nil, fmt.Errorf("Couldn't parse label selector '%s': %w", text, err) //nolint:staticcheck // clients see it as it is
		}
		out = append(out, r)
		p.space()
		if p.at == len(p.in) {
			return out, nil
		}
		if !p.take(",") {
			return nil, fmt.Errorf("Couldn't parse label selector '%s': ',' expected at position %d", text, p.at+1) //nolint:staticcheck // as above
		}
	}
}

type selectorParser struct {
	in []rune
	at int
}

func (p *selectorParser) space() {
	for p.at < len(p.in) && (p.in[p.at] == ' ' || p.in[p.at] == '\t') {
		p.at++
	}
}

func (p *selectorParser) take(token string) bool {
	t := []rune(token)
	if p.at+len(t) > len(p.in) || string(p.in[p.at:p.at+len(t)]) != token {
		return false
	}
	p.at += len(t)
	return true
}

func (p *selectorParser) requirement() (requirement, error) {
	key, err := p.word()
	if err != nil {
		return requirement{}, err
	}
	r := requirement{key: key}
	p.space()
	switch {
	case p.take("=="):
		r.op = "=="
	case p.take("!="):
		r.op = "!="
	case p.take("notin"):
		r.op = "notin"
	case p.take("in"):
		r.op = "in"
	default:
		return r, nil
	}
	if r.op == "in" || r.op == "notin" {
		r.values, err = p.set()
		return r, err
	}
	value, err := p.word()
	r.values = []string{value}
	return r, err
}

func (p *selectorParser) set() ([]string, error) {
	p.space()
	if !p.take("(") {
		return nil, fmt.Errorf("'(' expected at position %d", p.at+1)
	}
	var out []string
	for {
		word, err := p.word()
		if err != nil {
			return nil, err
		}
		out = append(out, word)
		p.space()
		switch {
		case p.take(")"):
			return out, nil
		case !p.take(","):
			return nil, fmt.Errorf("',' or ')' expected at position %d", p.at+1)
		}
	}
}

func (p *selectorParser) word() (string, error) {
	p.space()
	var b strings.Builder
	start := p.at
	for p.at < len(p.in) {
		c := p.in[p.at]
		if c == '\\' && p.at+1 < len(p.in) {
			p.at++
			c = p.in[p.at]
		} else if !plain(c) {
			break
		}
		b.WriteRune(c)
		p.at++
	}
	if p.at == start {
		return "", fmt.Errorf("a name or value expected at position %d", start+1)
	}
	return b.String(), nil
}
