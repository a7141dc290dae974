package unit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// commands takes an Exec line: one command, or several with ";" between them.
func (l *loader) commands(into *[]Command) setter {
	return func(v string) error {
		if v == "" {
			*into = nil
			return nil
		}
		all, err := parseExec(v, func(w string) (string, error) { return l.set.resolveSpecifiers(w, l.unit) })
		*into = append(*into, all...)
		return err
	}
}

// parseExec reads an Exec line, with specifiers resolved after the words are cut: a value with blanks stays one word. What cannot be a command is
// fatal for the unit, unless a "-" says that its failure does not matter.
func parseExec(v string, resolve func(string) (string, error)) ([]Command, error) {
	var all []Command
	for rest := v; ; {
		c, after, err := parseCommand(rest, resolve)
		switch {
		case err != nil && c.IgnoreFailure:
			return all, err
		case err != nil:
			return all, badSetting{err}
		case c.Path != "":
			all = append(all, c)
		}
		if rest = after; rest == "" {
			return all, nil
		}
	}
}

func parseCommand(v string, resolve func(string) (string, error)) (c Command, rest string, err error) {
	first, rest, ok, err := nextWord(v, unescape)
	if err != nil || !ok {
		return c, "", err
	}
	first = c.prefixes(first)
	if c.Path, err = resolve(first); err != nil {
		return c, "", err
	}
	switch {
	case c.Path == "":
		return c, "", errors.New("the path of the program is empty")
	case !path.IsAbs(c.Path) && strings.Contains(c.Path, "/"):
		return c, "", fmt.Errorf("%q is neither an absolute path nor a plain name", c.Path)
	case strings.HasSuffix(c.Path, "/"):
		return c, "", fmt.Errorf("%q is a folder", c.Path)
	}
	if path.IsAbs(c.Path) {
		c.Path = path.Clean(c.Path)
	}
	if !c.Argv0 {
		c.Args = []string{c.Path}
	}
	for rest != "" {
		if after, ok := separator(rest, ";"); ok {
			return c, after, c.named()
		}
		if after, ok := separator(rest, `\;`); ok {
			c.Args, rest = append(c.Args, ";"), after
			continue
		}
		var w string
		if w, rest, ok, err = nextWord(rest, unescape); err != nil || !ok {
			return c, "", err
		}
		if w, err = resolve(w); err != nil {
			return c, "", err
		}
		c.Args = append(c.Args, w)
	}
	return c, "", c.named()
}

// named refuses a command of "@" without the name that has to follow.
func (c *Command) named() error {
	if len(c.Args) == 0 {
		return errors.New("a name for the program has to follow \"@\"")
	}
	return nil
}

// separator says whether a word that is not quoted comes next.
func separator(s, word string) (string, bool) {
	after, ok := strings.CutPrefix(s, word)
	if !ok || after != "" && !strings.ContainsRune(blanks, rune(after[0])) {
		return s, false
	}
	return strings.TrimLeft(after, blanks), true
}

// prefixes takes the special characters from the front of a command's first word. Each counts once; what is left over belongs to the path.
func (c *Command) prefixes(word string) string {
	seen := ""
	for word != "" {
		at := word[0]
		switch {
		case at == '-' && !c.IgnoreFailure:
			c.IgnoreFailure = true
		case at == '@' && !c.Argv0:
			c.Argv0 = true
		case at == ':' && !c.Literal:
			c.Literal = true
		case at == '+' && !c.FullPrivilege, at == '!' && (!c.FullPrivilege || seen == "!"):
			c.FullPrivilege = true
			seen += string(at)
		default:
			return word
		}
		word = word[1:]
	}
	return word
}

// Expand gives a command's arguments with the variables of the environment ("A=b") put in: a word "$A" becomes the words of the value, "${A}"
// is its value wherever it stands, "$$" is a dollar. A variable that is not there is empty.
func Expand(c Command, env []string) ([]string, error) {
	if c.Literal {
		return slices.Clone(c.Args), nil
	}
	var out []string
	for _, w := range c.Args {
		if len(w) > 1 && w[0] == '$' && w[1] != '{' && w[1] != '$' {
			value, _ := lookup(env, w[1:])
			all, err := words(value, relax)
			if err != nil {
				return nil, fmt.Errorf("split $%s: %w", w[1:], err)
			}
			out = append(out, all...)
			continue
		}
		out = append(out, expandWord(w, env))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: nothing is left of the command after its variables are put in", c.Path)
	}
	return out, nil
}

// lookup finds a variable. The last assignment counts.
func lookup(env []string, name string) (string, bool) {
	for _, e := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

func expandWord(w string, env []string) string {
	var b strings.Builder
	for i := 0; i < len(w); i++ {
		switch {
		case strings.HasPrefix(w[i:], "$$"):
			b.WriteByte('$')
			i++
		case strings.HasPrefix(w[i:], "${") && strings.Contains(w[i:], "}"):
			end := i + strings.IndexByte(w[i:], '}')
			value, _ := lookup(env, w[i+2:end])
			b.WriteString(value)
			i = end
		default:
			b.WriteByte(w[i])
		}
	}
	return b.String()
}
