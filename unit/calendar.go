package unit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Calendar is a moment that comes again, as systemd.time(7) writes it. A nil list means every one.
type Calendar struct {
	Weekdays            []int // 0 is Sunday
	Years, Months, Days []int
	FromEnd             bool // Days count from the month's end
	Hours, Minutes      []int
	Seconds             []int // never nil
	Fraction            bool  // seconds with a fraction
	Zone                string
}

// shorthands are the words for whole specifications.
var shorthands = map[string]string{
	"minutely": "*:*", "hourly": "*:0", "daily": "*-*-*", "monthly": "*-*-1", "weekly": "Mon", "yearly": "*-1-1", "annually": "*-1-1",
	"quarterly": "*-1,4,7,10-1", "semiannually": "*-1,7-1", "biannually": "*-1,7-1", "bi-annually": "*-1,7-1", "semi-annually": "*-1,7-1",
	"anually": "*-1-1",
}

var dayNames = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// field is one place of a calendar.
type field struct {
	name     string
	min, max int
}

var (
	yearField   = field{"year", 0, 2199}
	monthField  = field{"month", 1, 12}
	dayField    = field{"day", 1, 31}
	hourField   = field{"hour", 0, 23}
	minuteField = field{"minute", 0, 59}
	secondField = field{"second", 0, 59}
)

// ParseCalendar reads what OnCalendar= says.
func ParseCalendar(s string) (Calendar, error) {
	c := Calendar{Hours: []int{0}, Minutes: []int{0}, Seconds: []int{0}}
	parts := strings.Fields(s)
	if len(parts) == 0 {
		return c, fmt.Errorf("%q is not a calendar specification", s)
	}
	if long, ok := shorthands[strings.ToLower(parts[0])]; ok {
		parts[0] = long
		if len(parts) > 2 {
			return c, fmt.Errorf("%q is not a calendar specification", s)
		}
	}
	steps := []func(string) (bool, error){c.weekdays, c.date, c.time, c.zone}
	for _, part := range parts {
		taken := false
		for len(steps) > 0 && !taken {
			var err error
			if taken, err = steps[0](part); err != nil {
				return c, fmt.Errorf("%q is not a calendar specification: %w", s, err)
			}
			steps = steps[1:]
		}
		if !taken {
			return c, fmt.Errorf("%q is not a calendar specification: %q", s, part)
		}
	}
	if len(parts) == 1 && c.Zone != "" {
		return c, fmt.Errorf("%q is not a calendar specification", s)
	}
	return c, nil
}

// weekdays takes "Mon,Wed..Fri"; "Mon-Fri" is how it was written once.
func (c *Calendar) weekdays(s string) (bool, error) {
	if s == "" || !letter(s[0]) || dayNumber(strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '.' || r == '-' })[0]) < 0 {
		return false, nil
	}
	for _, item := range strings.Split(strings.TrimSuffix(s, ","), ",") {
		from, to, ranged := strings.Cut(item, "..")
		if !ranged {
			from, to, ranged = strings.Cut(item, "-")
		}
		first, last := dayNumber(from), dayNumber(from)
		if ranged {
			last = dayNumber(to)
		}
		if first == 0 {
			first = 7 // a week begins on Monday
		}
		if last == 0 {
			last = 7
		}
		if first < 0 || last < first {
			return false, fmt.Errorf("%q are not weekdays", item)
		}
		for d := first; d <= last; d++ {
			c.Weekdays = append(c.Weekdays, d%7)
		}
	}
	slices.Sort(c.Weekdays)
	if c.Weekdays = slices.Compact(c.Weekdays); len(c.Weekdays) == 7 {
		c.Weekdays = nil
	}
	return true, nil
}

func letter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

func dayNumber(s string) int {
	s = strings.ToLower(s)
	return slices.IndexFunc(dayNames, func(d string) bool { return s == d || s == d[:3] })
}

// date takes "2026-*-1,15", "*-1" without the year, and "*-*~3" counted from the end.
func (c *Calendar) date(s string) (bool, error) {
	if strings.Contains(s, ":") || letter(s[0]) || !strings.ContainsAny(s, "-~") {
		return false, nil
	}
	if i := strings.LastIndexByte(s, '~'); i >= 0 {
		c.FromEnd = true
		s = s[:i] + "-" + s[i+1:]
	}
	places := strings.Split(s, "-")
	if len(places) == 2 {
		places = append([]string{"*"}, places...)
	}
	if len(places) != 3 {
		return false, fmt.Errorf("%q is not a date", s)
	}
	for i, f := range []struct {
		field
		into *[]int
	}{{yearField, &c.Years}, {monthField, &c.Months}, {dayField, &c.Days}} {
		var err error
		if *f.into, err = f.parse(places[i]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// time takes "hh:mm" and "hh:mm:ss".
func (c *Calendar) time(s string) (bool, error) {
	if !strings.Contains(s, ":") {
		return false, nil
	}
	places := strings.Split(s, ":")
	if len(places) > 3 {
		return false, fmt.Errorf("%q is not a time", s)
	}
	if len(places) == 3 {
		if whole, _, ok := strings.Cut(places[2], "."); ok && !strings.Contains(places[2], "..") {
			places[2], c.Fraction = whole, true
		}
	} else {
		places = append(places, "0")
	}
	for i, f := range []struct {
		field
		into *[]int
	}{{hourField, &c.Hours}, {minuteField, &c.Minutes}, {secondField, &c.Seconds}} {
		var err error
		if *f.into, err = f.parse(places[i]); err != nil {
			return false, err
		}
	}
	if c.Seconds == nil {
		for n := range 60 {
			c.Seconds = append(c.Seconds, n)
		}
	}
	return true, nil
}

func (c *Calendar) zone(s string) (bool, error) {
	c.Zone = s
	if !letter(s[0]) || strings.Contains(s, "..") || dayNumber(s) >= 0 {
		return false, fmt.Errorf("%q is not a time zone", s)
	}
	return true, nil
}

// parse reads one place: "*", or a list of "a", "a..b", each with "/step".
func (f field) parse(s string) ([]int, error) {
	if s == "*" {
		return nil, nil
	}
	var all []int
	for _, item := range strings.Split(s, ",") {
		span, stepText, stepped := strings.Cut(item, "/")
		from, to, ranged := strings.Cut(span, "..")
		first, err := f.number(from)
		if err != nil {
			return nil, err
		}
		last, step := first, 1
		if ranged {
			if last, err = f.number(to); err != nil {
				return nil, err
			}
		}
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step <= 0 || step > f.max || !ranged && first+step > f.max {
				return nil, fmt.Errorf("%q is not a step of a %s", item, f.name)
			}
			if !ranged {
				last = f.max
			}
		}
		if last < first {
			return nil, fmt.Errorf("%q ends before it begins", item)
		}
		for n := first; n <= last; n += step {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == f.max-f.min+1 {
		return nil, nil
	}
	return all, nil
}

func (f field) number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < f.min || n > f.max || !plainNumber(s) {
		return 0, fmt.Errorf("%q is not a %s", s, f.name)
	}
	return n, nil
}

// Cron is the line of cron that comes at the same moments in a machine of time zone `zone`, or the reason why there is none. A second within the
// minute is not kept: systemd's own AccuracySec= leaves a minute, too.
func (c Calendar) Cron(zone string) (line, refused string) {
	switch {
	case c.Years != nil:
		return "", "cron knows no years"
	case c.FromEnd:
		return "", "cron does not count days from the end of a month"
	case c.Weekdays != nil && c.Days != nil:
		return "", "cron takes a day of the month and a weekday as one or the other, not as both"
	case len(c.Seconds) > 1:
		return "", "cron does not do anything more often than once a minute"
	case c.Zone != "" && !sameZone(c.Zone, zone):
		return "", fmt.Sprintf("cron keeps the time zone of the machine (%s), not %s", zone, c.Zone)
	}
	return strings.Join([]string{
		minuteField.cron(c.Minutes), hourField.cron(c.Hours), dayField.cron(c.Days), monthField.cron(c.Months), field{"weekday", 0, 6}.cron(c.Weekdays),
	}, " "), ""
}

// cron writes a place in cron's words: steps and ranges where they are shorter.
func (f field) cron(values []int) string {
	if values == nil {
		return "*"
	}
	if n := len(values); n > 2 {
		step := values[1] - values[0]
		even := step > 1
		for i := range n - 1 {
			even = even && values[i+1]-values[i] == step
		}
		if even && values[0] == f.min && values[n-1]+step > f.max {
			return "*/" + strconv.Itoa(step)
		}
	}
	var out []string
	for i := 0; i < len(values); {
		j := i
		for j+1 < len(values) && values[j+1] == values[j]+1 {
			j++
		}
		if j-i < 2 {
			j = i
			out = append(out, strconv.Itoa(values[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", values[i], values[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

// sameZone knows the many names of UTC.
func sameZone(a, b string) bool {
	plain := func(z string) string {
		z = strings.TrimPrefix(z, "Etc/")
		if slices.Contains([]string{"", "UCT", "Universal", "Zulu", "Z", "GMT"}, z) {
			return "UTC"
		}
		return z
	}
	return plain(a) == plain(b)
}
