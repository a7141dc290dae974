package unit

import "strings"

// ParseEnvironmentFile reads an EnvironmentFile=, an /etc/default or os-release file: assignments, one a line, in the shell's quotes but without
// its expansions. What is no assignment is left out, as systemd does; a name that is assigned again counts as it is last.
func ParseEnvironmentFile(text string) []string {
	var env []string
	p := envFile{text: text}
	for p.at < len(p.text) {
		if key, value, ok := p.next(); ok && validVariable(key) {
			env = assign(env, key+"="+value)
		}
	}
	return env
}

type envFile struct {
	text string
	at   int
}

// next reads a line, or as many as the quotes hold together.
func (p *envFile) next() (key, value string, ok bool) {
	p.skip(" \t\r\n")
	if p.at == len(p.text) {
		return "", "", false
	}
	if c := p.text[p.at]; c == '#' || c == ';' {
		p.comment()
		return "", "", false
	}
	end := strings.IndexAny(p.text[p.at:], "=\n")
	if end < 0 || p.text[p.at+end] == '\n' {
		p.at += max(end, 0) + 1
		if end < 0 {
			p.at = len(p.text)
		}
		return "", "", false
	}
	key = strings.TrimSpace(p.text[p.at : p.at+end])
	p.at += end + 1
	p.skip(" \t")
	return key, p.value(), true
}

func (p *envFile) skip(set string) {
	for p.at < len(p.text) && strings.IndexByte(set, p.text[p.at]) >= 0 {
		p.at++
	}
}

// comment goes on after a backslash at the end of its line, too.
func (p *envFile) comment() {
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		if c == '\\' && p.at < len(p.text) {
			p.at++
		} else if c == '\n' {
			return
		}
	}
}

// value reads up to the end of the line. It begins with quoted pieces or not at all: a quote inside of plain text is a character like others.
// Blanks at the end of plain text are not part of it.
func (p *envFile) value() string {
	var b strings.Builder
	plain, kept := false, 0 // up to here blanks count, as they were quoted or escaped
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == '\n' || c == '\r':
			return b.String()[:max(kept, len(strings.TrimRight(b.String(), " \t")))]
		case c == '\\' && p.at < len(p.text):
			if next := p.text[p.at]; next != '\n' {
				b.WriteByte(next)
			}
			p.at++
			plain, kept = true, b.Len()
		case !plain && (c == '\'' || c == '"'):
			p.quoted(c, &b)
			p.skip(" \t")
			kept = b.Len()
		default:
			b.WriteByte(c)
			plain = true
		}
	}
	return b.String()[:max(kept, len(strings.TrimRight(b.String(), " \t")))]
}

func (p *envFile) quoted(quote byte, b *strings.Builder) {
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == quote:
			return
		case c == '\\' && quote == '"' && p.at < len(p.text):
			next := p.text[p.at]
			p.at++
			if strings.IndexByte("\"\\`$\n", next) < 0 {
				b.WriteByte('\\')
			}
			if next != '\n' {
				b.WriteByte(next)
			}
		default:
			b.WriteByte(c)
		}
	}
}
