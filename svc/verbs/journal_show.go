package verbs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/unit"
)

// show prints the entries. With a number of lines only so many are kept on the way.
func (l *logs) show(sources []*source) time.Time {
	var kept []entry
	var last time.Time
	merge(sources, func(e entry) bool {
		if !l.until.IsZero() && e.at.After(l.until) {
			return false
		}
		last = e.at
		if !l.wanted(e) {
			return true
		}
		if l.lines < 0 && !l.reverse {
			l.print(e)
			return true
		}
		if kept = append(kept, e); l.lines >= 0 && len(kept) > 2*l.lines+1000 {
			kept = slices.Clone(kept[len(kept)-l.lines:])
		}
		return true
	})
	if l.lines >= 0 {
		kept = kept[max(0, len(kept)-l.lines):]
	}
	if l.reverse {
		slices.Reverse(kept)
	}
	for _, e := range kept {
		l.print(e)
	}
	return last
}

// print writes one entry in the wanted form.
func (l *logs) print(e entry) {
	l.printed++
	switch l.output {
	case "cat":
		l.printf("%s\n", printable(e.text))
	case "json", "json-pretty":
		l.printf("%s\n", l.json(e))
	default:
		l.printf("%s\n", l.text(e))
	}
}

// text is a line of one of the short forms.
func (l *logs) text(e entry) string {
	at := e.at.In(l.Zone)
	var stamp string
	switch l.output {
	case "short-iso":
		stamp = at.Format("2006-01-02T15:04:05-0700")
	case "short-iso-precise":
		stamp = at.Format("2006-01-02T15:04:05.000000-0700")
	case "short-precise":
		stamp = at.Format("Jan 02 15:04:05.000000")
	case "short-full", "with-unit":
		stamp = at.Format("Mon 2006-01-02 15:04:05 MST")
	case "short-unix":
		stamp = fmt.Sprintf("%d.%06d", at.Unix(), at.Nanosecond()/1000)
	case "short-monotonic":
		boot, _ := l.bootTime()
		stamp = fmt.Sprintf("[%12.6f]", at.Sub(boot).Seconds())
	default:
		stamp = at.Format("Jan 02 15:04:05")
	}
	host := l.Hostname + " "
	if l.noHost {
		host = ""
	}
	from := e.from()
	if l.output == "with-unit" {
		from = e.unit + "[" + strconv.Itoa(e.pid) + "]"
	}
	line := stamp + " " + host + from + ": " + printable(e.text)
	switch {
	case e.level <= 3:
		return l.paint("0;1;31", line)
	case e.level == levelWarning:
		return l.paint("0;1;38;5;185", line)
	}
	return line
}

// json has the fields that programs look for.
func (l *logs) json(e entry) string {
	fields := map[string]string{
		"__REALTIME_TIMESTAMP": strconv.FormatInt(e.at.UnixMicro(), 10), "_HOSTNAME": l.Hostname, "SYSLOG_IDENTIFIER": e.ident,
		"_SYSTEMD_UNIT": e.unit, "MESSAGE": e.text, "PRIORITY": strconv.Itoa(e.level), "_TRANSPORT": "stdout",
	}
	if e.own {
		fields["UNIT"], fields["_SYSTEMD_UNIT"], fields["_TRANSPORT"] = e.unit, "init.scope", "journal"
	}
	if e.pid > 0 {
		fields["_PID"] = strconv.Itoa(e.pid)
	}
	encode := json.Marshal
	if l.output == "json-pretty" {
		encode = func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "\t") }
	}
	text, err := encode(fields)
	if err != nil {
		return "{}" // not possible: strings only
	}
	return string(text)
}

// fields lists the values that a field has.
func (l *logs) fields(sources []*source) int {
	seen := map[string]bool{}
	merge(sources, func(e entry) bool {
		switch {
		case !l.wanted(e):
		case l.field == "_SYSTEMD_UNIT" || l.field == "UNIT":
			seen[e.unit] = true
		case l.field == "SYSLOG_IDENTIFIER" || l.field == "_COMM":
			seen[e.ident] = true
		case l.field == "PRIORITY":
			seen[strconv.Itoa(e.level)] = true
		}
		return true
	})
	var all []string
	for v := range seen {
		all = append(all, v)
	}
	slices.Sort(all)
	for _, v := range all {
		l.printf("%s\n", v)
	}
	return exitOK
}

// pause is how often a follower looks for new lines. Waiting for the kernel to tell would need a watch for each log and its folder.
const pause = 250 * time.Millisecond

// goOn prints what is written until the caller has seen enough.
func (l *logs) goOn(sources []*source, last time.Time) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		sources = l.poll(sources, last)
	}
}

// poll prints what is new. A unit that was started since has a log that nobody knew.
func (l *logs) poll(sources []*source, last time.Time) []*source {
	var fresh []entry
	for _, s := range sources {
		fresh = append(fresh, l.more(s.reader, &s.mark)...)
	}
	for _, name := range l.loggedUnits() {
		known := slices.ContainsFunc(sources, func(s *source) bool { return s.reader.unit == name })
		if u := l.call.units().Unit(name); !known && l.wantedUnit(u) {
			s := &source{reader: l.readerOf(u)}
			fresh = append(fresh, l.more(s.reader, &s.mark)...)
			sources = append(sources, s)
		}
	}
	slices.SortStableFunc(fresh, func(a, b entry) int { return a.at.Compare(b.at) })
	for _, e := range fresh {
		if l.wanted(e) {
			l.print(e)
		}
	}
	return sources
}

// time reads what systemd.time(7) allows for a point in time.
func (l *logs) time(s string) (time.Time, error) {
	now := l.Now().In(l.Zone)
	day := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, l.Zone)
	text := strings.TrimSpace(s)
	switch text {
	case "now":
		return now, nil
	case "today":
		return day, nil
	case "yesterday":
		return day.AddDate(0, 0, -1), nil
	case "tomorrow":
		return day.AddDate(0, 0, 1), nil
	}
	if rest, ok := strings.CutPrefix(text, "@"); ok {
		if n, err := strconv.ParseFloat(rest, 64); err == nil {
			return time.UnixMicro(int64(n * 1e6)), nil
		}
	}
	sign, span := time.Duration(-1), ""
	switch {
	case strings.HasSuffix(text, " ago"):
		span = strings.TrimSuffix(text, " ago")
	case strings.HasPrefix(text, "-"):
		span = text[1:]
	case strings.HasPrefix(text, "+"):
		sign, span = 1, text[1:]
	}
	if span != "" {
		if d, err := unit.ParseDuration(strings.TrimSpace(span)); err == nil {
			return now.Add(sign * d), nil
		}
	}
	zone := l.Zone
	if rest, ok := strings.CutSuffix(text, " UTC"); ok {
		text, zone = rest, time.UTC
	}
	for _, form := range []string{"2006-01-02 15:04:05.999999", "2006-01-02T15:04:05.999999", "2006-01-02 15:04", "2006-01-02", "Mon 2006-01-02 15:04:05", time.RFC3339} {
		if at, err := time.ParseInLocation(form, text, zone); err == nil {
			return at, nil
		}
	}
	for _, form := range []string{"15:04:05", "15:04"} {
		if at, err := time.ParseInLocation(form, text, zone); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, zone), nil
		}
	}
	return time.Time{}, sentencef("Failed to parse timestamp: %s", s)
}
