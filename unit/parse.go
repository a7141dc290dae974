package unit

import (
	"strings"
)

// line is one assignment as it is written, and whose fault it is.
type line struct {
	Setting
	file string
	row  int
}

// fault is something wrong with the text of a unit file. systemd goes on after it, and so do we.
type fault struct {
	file string
	row  int
	text string
}

// parse cuts the text of a unit file into assignments: "\" at the end of a line continues it with a space, comments inside of a continued
// line are skipped, white space around "=" is not part of anything.
func parse(file, text string) (lines []line, faults []fault) {
	section, held, row := "", "", 0
	text = strings.TrimPrefix(text, "\ufeff")
	flush := func(logical string) {
		logical = strings.TrimSpace(logical)
		switch {
		case logical == "":
		case logical[0] == '[':
			if !strings.HasSuffix(logical, "]") {
				faults = append(faults, fault{file, row, "a section header without its end: " + logical})
				return
			}
			section = logical[1 : len(logical)-1]
		case section == "":
			faults = append(faults, fault{file, row, "an assignment outside of a section"})
		default:
			key, value, found := strings.Cut(logical, "=")
			key = strings.TrimSpace(key)
			if !found || key == "" {
				faults = append(faults, fault{file, row, "not an assignment: " + logical})
				return
			}
			lines = append(lines, line{Setting{section, key, strings.TrimSpace(value)}, file, row})
		}
	}
	for _, raw := range strings.Split(text, "\n") {
		row++
		raw = strings.TrimSuffix(raw, "\r")
		if first := strings.TrimLeft(raw, " \t"); first != "" && (first[0] == '#' || first[0] == ';') {
			continue
		}
		if before, ok := continued(raw); ok {
			held += before + " "
			continue
		}
		flush(held + raw)
		held = ""
	}
	flush(held)
	return lines, faults
}

// continued says whether a line ends with a backslash that is not escaped itself.
func continued(s string) (string, bool) {
	n := len(s) - len(strings.TrimRight(s, `\`))
	if n%2 == 0 {
		return s, false
	}
	return s[:len(s)-1], true
}
