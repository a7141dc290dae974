package unit

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"
)

// timerUse collects a [Timer] section.
type timerUse struct {
	calendars []string
	inactive  time.Duration
	boot      bool // some OnBootSec= or its like, also of 0 s
	clock     bool // OnClockChange= or OnTimezoneChange=
}

func (l *loader) timerSettings() map[string]setter {
	t, use := l.unit.Timer, &l.timer
	accept := func(string) error { return nil }
	fromStart := func(v string) error {
		if v == "" {
			*t, *use = Timer{Unit: t.Unit, Persistent: t.Persistent}, timerUse{}
			return nil
		}
		d, err := ParseDuration(v)
		if err == nil && (!use.boot || d < t.OnBoot) {
			t.OnBoot, use.boot = d, true
		}
		return err
	}
	return map[string]setter{
		"OnCalendar": func(v string) error {
			if v == "" {
				return fromStart("")
			}
			_, err := ParseCalendar(v)
			if err == nil {
				use.calendars = append(use.calendars, v)
			}
			return err
		},
		"OnBootSec":          fromStart,
		"OnStartupSec":       fromStart,
		"OnActiveSec":        fromStart, // timers are set when the container starts
		"OnUnitActiveSec":    delay(&t.OnActive),
		"OnUnitInactiveSec":  delay(&use.inactive),
		"OnClockChange":      flag(&use.clock),
		"OnTimezoneChange":   flag(&use.clock),
		"Unit":               l.timedUnit,
		"Persistent":         flag(&t.Persistent),
		"AccuracySec":        accept,
		"RemainAfterElapse":  accept,
		"FixedRandomDelay":   accept,
		"RandomizedDelaySec": func(v string) error { _, err := ParseDuration(v); return err },
		"WakeSystem":         func(string) error { return without("a container does not wake its host") },
	}
}

func (l *loader) timedUnit(v string) error {
	if !ValidName(v) || IsTemplate(v) {
		return fmt.Errorf("%q is not the name of a unit", v)
	}
	l.unit.Timer.Unit = v
	return nil
}

// finishTimer turns a timer into cron's lines. One line that cron cannot keep refuses the timer: half a timer would be a surprise.
func (l *loader) finishTimer() {
	t, use := l.unit.Timer, &l.timer
	if t.OnActive == 0 {
		t.OnActive = use.inactive
	}
	if use.boot && t.OnBoot == 0 {
		t.OnBoot = time.Second // at once, which is not the same as never
	}
	refuse := func(reason string) { *t = Timer{Unit: t.Unit, Refused: reason} }
	if len(use.calendars) == 0 && t.OnActive == 0 && !use.boot {
		if l.unit.Name == "" || IsTemplate(l.unit.Name) {
			return
		}
		if use.clock {
			refuse("nobody watches the clock's changes in a container")
			return
		}
		l.bad = append(l.bad, "Timer unit lacks value setting. Refusing.")
		return
	}
	zone := l.set.zone()
	for _, spec := range use.calendars {
		c, err := ParseCalendar(spec)
		if err != nil {
			continue
		}
		line, reason := c.Cron(zone)
		if reason != "" {
			refuse(fmt.Sprintf("OnCalendar=%s: %s", spec, reason))
			return
		}
		t.Cron = append(t.Cron, line)
	}
	if t.OnActive > 0 {
		line, reason := every(t.OnActive, l.unit.Name)
		if reason != "" {
			refuse(reason)
			return
		}
		t.Cron = append(t.Cron, line)
	}
	t.Cron = unique(t.Cron)
}

// every is cron's line for a period. Where in the period it comes is taken from the name, so that not all timers of all containers come at once.
func every(d time.Duration, name string) (line, refused string) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	at := int(h.Sum32() >> 1)
	minutes := int(d / time.Minute)
	switch {
	case d%time.Minute != 0 || minutes == 0:
		return "", fmt.Sprintf("cron does not keep a period of %s: it counts whole minutes", d)
	case minutes == 1:
		return "* * * * *", ""
	case minutes < 60 && 60%minutes == 0:
		return fmt.Sprintf("%s * * * *", minuteField.cron(steps(at%minutes, minutes, 60))), ""
	case minutes%60 == 0 && minutes < 1440 && 1440%minutes == 0:
		return fmt.Sprintf("%d %s * * *", at%60, hourField.cron(allOrNil(steps(at/60%(minutes/60), minutes/60, 24), 24))), ""
	case minutes == 1440:
		return fmt.Sprintf("%d %d * * *", at%60, at/60%24), ""
	case minutes == 7*1440:
		return fmt.Sprintf("%d %d * * %d", at%60, at/60%24, at/1440%7), ""
	}
	return "", fmt.Sprintf("cron does not keep a period of %s: only what divides an hour or a day, and a week", d)
}

func steps(from, step, end int) []int {
	var all []int
	for n := from; n < end; n += step {
		all = append(all, n)
	}
	return all
}

func allOrNil(values []int, n int) []int {
	if len(values) == n {
		return nil
	}
	return values
}

// zone is the tree's time zone by name; UTC without any.
func (s *Set) zone() string {
	if target, ok := s.tree.readLink("/etc/localtime"); ok {
		if _, zone, ok := strings.Cut(target, "zoneinfo/"); ok {
			return zone
		}
	}
	return "UTC"
}
