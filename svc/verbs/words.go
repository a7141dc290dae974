package verbs

import (
	"fmt"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// stamp is a time as systemctl prints it: "Sat 2026-11-21 21:10:25 UTC".
func (c *call) stamp(t time.Time) string { return t.In(c.Zone).Format("Mon 2006-01-02 15:04:05 MST") }

// ago says how long since, in systemd's steps.
func ago(d time.Duration) string {
	const day, week, month, year = 24 * time.Hour, 7 * 24 * time.Hour, 2629800 * time.Second, 31557600 * time.Second
	count := func(d time.Duration, word string) string {
		if d != 1 {
			word += "s"
		}
		return fmt.Sprintf("%d %s", d, word)
	}
	switch {
	case d >= year:
		return count(d/year, "year") + " " + count(d%year/month, "month") + " ago"
	case d >= month:
		return count(d/month, "month") + " " + count(d%month/day, "day") + " ago"
	case d >= week:
		return count(d/week, "week") + " " + count(d%week/day, "day") + " ago"
	case d >= 2*day:
		return fmt.Sprintf("%d days ago", d/day)
	case d >= 25*time.Hour:
		return fmt.Sprintf("1 day %dh ago", (d-day)/time.Hour)
	case d >= 6*time.Hour:
		return fmt.Sprintf("%dh ago", d/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dmin ago", d/time.Hour, d%time.Hour/time.Minute)
	case d >= 5*time.Minute:
		return fmt.Sprintf("%dmin ago", d/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dmin %ds ago", d/time.Minute, d%time.Minute/time.Second)
	case d >= time.Second:
		return fmt.Sprintf("%ds ago", d/time.Second)
	case d >= time.Millisecond:
		return fmt.Sprintf("%dms ago", d/time.Millisecond)
	case d > 0:
		return fmt.Sprintf("%dus ago", d/time.Microsecond)
	}
	return "now"
}

// span is a length of time as systemd writes it, down to milliseconds: "1min 30s", "1.250s", "25ms", "infinity".
func span(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	var words []string
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"y", 31557600 * time.Second}, {"month", 2629800 * time.Second}, {"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour},
		{"min", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond}} {
		if d < u.size || d < time.Millisecond && len(words) > 0 {
			continue
		}
		rest := d % u.size
		if u.name == "s" && rest >= time.Millisecond {
			words = append(words, fmt.Sprintf("%d.%03ds", d/u.size, rest/time.Millisecond))
			break
		}
		words = append(words, fmt.Sprintf("%d%s", d/u.size, u.name))
		d = rest
	}
	return strings.Join(words, " ")
}

// size is a number of bytes: "212.0K", "3.4M".
func size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	unit, letter := uint64(1024), 0
	for n/unit >= 1024 && letter < 4 {
		unit, letter = unit*1024, letter+1
	}
	// Cut, not rounded, as systemd does.
	return fmt.Sprintf("%d.%d%c", n/unit, n%unit*10/unit, "KMGTP"[letter])
}

// cut shortens text to a width, with a mark in its place.
func (c *call) cut(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	mark := c.glyph("…", "...")
	keep := width - utf8.RuneCountInString(mark)
	if keep < 0 {
		keep = 0
	}
	return string([]rune(s)[:keep]) + mark
}

// printable replaces what a terminal would take as a command.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// quoteWord quotes a word of a command line for a reader, if a shell would not read it as one.
func quoteWord(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n\r\"\\`$*?['()<>|&;!") {
		return s
	}
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "`", "\\`", `$`, `\$`).Replace(s) + `"`
}

// isGlob says whether a name is a pattern.
func isGlob(s string) bool { return strings.ContainsAny(s, "*?[") }

// matches is fnmatch(3) for unit names: they have no slashes.
func matches(patterns []string, name string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}

// commaList cuts "a,b" and drops what is empty.
func commaList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

// yesNo is systemd's boolean.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// sentence is an error in the words of the program that this one stands in for: with a capital letter, and more than one sentence at times.
type sentence string

func (s sentence) Error() string { return string(s) }

func sentencef(format string, args ...any) error { return sentence(fmt.Sprintf(format, args...)) }
