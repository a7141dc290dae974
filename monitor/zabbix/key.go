package zabbix

import (
	"errors"
	"fmt"
	"strings"
)

// ParseKey reads "KEY" or "KEY[param,"quoted param",...]" as Zabbix writes item keys: blanks before a parameter do not
// count, and in a quoted one \" stands for a quote.
func ParseKey(text string) (key string, params []string, err error) {
	key, rest, bracket := strings.Cut(text, "[")
	if key == "" || strings.ContainsAny(key, "],\" \t") {
		return "", nil, fmt.Errorf("%.80q is no item key", text)
	}
	if !bracket {
		return key, nil, nil
	}
	for {
		var p string
		p, rest, err = parseParam(strings.TrimLeft(rest, " "))
		if err != nil {
			return "", nil, fmt.Errorf("%.80q: %w", text, err)
		}
		params = append(params, p)
		switch {
		case rest == "]":
			return key, params, nil
		case strings.HasPrefix(rest, ","):
			rest = rest[1:]
		default:
			return "", nil, fmt.Errorf("%.80q: the parameters do not end with ]", text)
		}
	}
}

// parseParam reads one parameter, up to the comma or bracket behind it.
func parseParam(text string) (param, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		i := strings.IndexAny(text, ",]")
		if i < 0 {
			return "", "", errors.New("a parameter has no end")
		}
		return text[:i], text[i:], nil
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == '"':
			b.WriteByte('"')
			i++
		case text[i] == '"':
			return b.String(), strings.TrimLeft(text[i+1:], " "), nil
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", errors.New("a quoted parameter has no end")
}
