package verbs

import (
	"fmt"
	"strings"
)

// option is one that a program takes. Short is 0 where there is none.
type option struct {
	long     string
	short    byte
	value    bool // takes one
	optional bool // the value may be missing, and is then only taken from "--x=value" or "-xvalue"
}

// given is an option of a command line by its long name.
type given struct{ name, value string }

// parse takes a command line apart as getopt_long(3) does: options may stand after operands, long ones may be cut short while they are
// unique, "--" ends them. Errors are getopt's own sentences.
func parse(options []option, args []string) (found []given, rest []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return found, append(rest, args[i+1:]...), nil
		case strings.HasPrefix(arg, "--"):
			name, value, has := strings.Cut(arg[2:], "=")
			o, err := findLong(options, name)
			if err != nil {
				return nil, nil, err
			}
			switch {
			case has && !o.value:
				return nil, nil, fmt.Errorf("option '--%s' doesn't allow an argument", o.long)
			case !has && o.value && !o.optional:
				if i++; i == len(args) {
					return nil, nil, fmt.Errorf("option '--%s' requires an argument", o.long)
				}
				value = args[i]
			}
			found = append(found, given{o.long, value})
		case len(arg) > 1 && arg[0] == '-':
			var next []string
			if i+1 < len(args) {
				next = args[i+1:]
			}
			more, used, err := parseShort(options, arg[1:], next)
			if err != nil {
				return nil, nil, err
			}
			found, i = append(found, more...), i+used
		default:
			rest = append(rest, arg)
		}
	}
	return found, rest, nil
}

func findLong(options []option, name string) (option, error) {
	var match []option
	for _, o := range options {
		if o.long == name {
			return o, nil
		}
		if name != "" && strings.HasPrefix(o.long, name) {
			match = append(match, o)
		}
	}
	switch len(match) {
	case 0:
		return option{}, fmt.Errorf("unrecognized option '--%s'", name)
	case 1:
		return match[0], nil
	}
	return option{}, fmt.Errorf("option '--%s' is ambiguous", name)
}

// parseShort reads letters behind one dash. used is how many of the next words were values.
func parseShort(options []option, letters string, next []string) (found []given, used int, err error) {
	for i := 0; i < len(letters); i++ {
		at := -1
		for n, o := range options {
			if o.short == letters[i] {
				at = n
				break
			}
		}
		if at < 0 {
			return nil, 0, fmt.Errorf("invalid option -- '%c'", letters[i])
		}
		o := options[at]
		if !o.value {
			found = append(found, given{o.long, ""})
			continue
		}
		value := letters[i+1:]
		if value == "" && !o.optional {
			if len(next) == 0 {
				return nil, 0, fmt.Errorf("option requires an argument -- '%c'", letters[i])
			}
			value, used = next[0], 1
		}
		return append(found, given{o.long, value}), used, nil
	}
	return found, used, nil
}
