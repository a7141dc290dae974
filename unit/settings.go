package unit

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// setter takes the value of one setting. An error is why it has no effect; a badSetting keeps the unit from being loaded.
type setter func(value string) error

func (l *loader) tables() map[string]map[string]setter {
	u := l.unit
	tables := map[string]map[string]setter{"Unit": l.unitSettings(), "Install": l.installSettings()}
	switch u.Kind {
	case KindService:
		tables["Service"] = l.serviceSettings(u.Service)
	case KindTimer:
		tables["Timer"] = l.timerSettings()
	case KindSocket:
		tables["Socket"] = l.socketSettings()
	default:
		word := string(u.Kind)
		tables[strings.ToUpper(word[:1])+word[1:]] = nil // each setting has its reason
	}
	return tables
}

func (l *loader) unitSettings() map[string]setter {
	u := l.unit
	return map[string]setter{
		"Description":            word(&u.Description),
		"Documentation":          list(&u.Docs),
		"After":                  l.units(&u.After),
		"Before":                 l.units(&u.Before),
		"Requires":               l.units(&u.Requires),
		"Requisite":              l.units(&u.Requisite),
		"Wants":                  l.units(&u.Wants),
		"BindsTo":                l.units(&u.BindsTo),
		"PartOf":                 l.units(&u.PartOf),
		"Conflicts":              l.units(&u.Conflicts),
		"PropagatesReloadTo":     l.units(&u.PropagatesReloadTo),
		"OnFailure":              l.units(&u.OnFailure),
		"OnSuccess":              l.units(&u.OnSuccess),
		"RefuseManualStart":      flag(&u.RefuseManualStart),
		"RefuseManualStop":       flag(&u.RefuseManualStop),
		"DefaultDependencies":    flag(&l.defaults),
		"StartLimitBurst":        number(&u.StartLimitBurst),
		"StartLimitIntervalSec":  span(&u.StartLimitInterval),
		"StartLimitInterval":     span(&u.StartLimitInterval),
		"ReloadPropagatedFrom":   l.units(&u.ReloadPropagatedFrom),
		"PropagateReloadFrom":    l.units(&u.ReloadPropagatedFrom),
		"BindTo":                 l.units(&u.BindsTo),
		"PropagateReloadTo":      l.units(&u.PropagatesReloadTo),
		"RequiresOverridable":    l.units(&u.Requires),
		"RequisiteOverridable":   l.units(&u.Requisite),
		"SourcePath":             func(string) error { return nil },
		"IgnoreOnIsolate":        func(string) error { return nil },
		"AllowIsolate":           func(string) error { return nil },
		"RequiresMountsFor":      func(string) error { return nil },
		"CollectMode":            func(string) error { return nil },
		"WantsMountsFor":         func(string) error { return nil },
		"SurviveFinalKillSignal": func(string) error { return nil },
	}
}

func (l *loader) installSettings() map[string]setter {
	in := &l.unit.Install
	return map[string]setter{
		"WantedBy":        list(&in.WantedBy),
		"RequiredBy":      list(&in.RequiredBy),
		"Alias":           list(&in.Alias),
		"Also":            list(&in.Also),
		"DefaultInstance": word(&in.DefaultInstance),
	}
}

// general is what becomes of a key that no table has: a condition, one whose reason is known, or one that nobody knows.
func (l *loader) general(section, key string) setter {
	for _, word := range []string{"Condition", "Assert"} {
		if test, ok := strings.CutPrefix(key, word); ok && section == "Unit" && knownTest(test) {
			return func(v string) error { return l.condition(word == "Assert", test, v) }
		}
	}
	reason := reasonAgainst(section, key)
	if reason == "" {
		reason = fmt.Sprintf("unknown key in section [%s]", section)
	}
	return func(string) error { return without(reason) }
}

func (l *loader) condition(assert bool, test, value string) error {
	u := l.unit
	if value == "" {
		var kept []Condition
		for _, c := range u.Conditions {
			if c.Assert != assert {
				kept = append(kept, c)
			}
		}
		u.Conditions = kept
		return nil
	}
	c := Condition{Assert: assert, Test: test}
	if value, c.Trigger = strings.CutPrefix(value, "|"); c.Trigger {
		value = strings.TrimLeft(value, blanks)
	}
	if value, c.Negate = strings.CutPrefix(value, "!"); c.Negate {
		value = strings.TrimLeft(value, blanks)
	}
	c.Value = value
	if pathTest(test) && !path.IsAbs(value) {
		return fmt.Errorf("%q is not an absolute path", value)
	}
	u.Conditions = append(u.Conditions, c)
	return nil
}

func word(into *string) setter {
	return func(v string) error { *into = v; return nil }
}

func list(into *[]string) setter {
	return func(v string) error {
		if v == "" {
			*into = nil
			return nil
		}
		all, err := words(v, unescape)
		*into = append(*into, all...)
		return err
	}
}

// units takes names of units; a template is its instance of this unit's name. An empty value takes nothing back: that is how dependencies are.
func (l *loader) units(into *[]string) setter {
	return func(v string) error {
		all, err := words(v, keepSlash)
		if err != nil || IsTemplate(l.unit.Name) {
			return err // a template is never started: its instances have the names
		}
		for _, name := range all {
			if _, instance := Template(l.unit.Name); IsTemplate(name) && instance != "" {
				name = Instance(name, instance)
			}
			if !ValidName(name) || IsTemplate(name) {
				err = fmt.Errorf("%q is not the name of a unit", name)
				continue
			}
			*into = append(*into, name)
		}
		return err
	}
}

// parsed takes what a function reads of the value.
func parsed[T any](into *T, read func(string) (T, error)) setter {
	return func(v string) error {
		x, err := read(v)
		if err == nil {
			*into = x
		}
		return err
	}
}

func flag(into *bool) setter { return parsed(into, ParseBool) }

func number(into *int) setter {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number", v)
		}
		*into = n
		return nil
	}
}

// span takes a duration as it is; "infinity" is no limit, which is 0 in our words.
func span(into *time.Duration) setter {
	return func(v string) error {
		d, err := ParseDuration(v)
		if err == nil {
			if *into = d; d == forever {
				*into = 0
			}
		}
		return err
	}
}

func mode(into *uint32) setter { return parsed(into, parseMode) }

// oneOf takes one of some words.
func oneOf[T ~string](into *T, allowed ...T) setter {
	return func(v string) error {
		for _, a := range allowed {
			if v == string(a) {
				*into = a
				return nil
			}
		}
		return fmt.Errorf("%q is none of its values", v)
	}
}

// signal takes a signal's name.
func signal(into *string) setter { return parsed(into, parseSignal) }

// file takes an absolute path.
func file(into *string) setter {
	return func(v string) error {
		if v != "" && !path.IsAbs(v) {
			return fmt.Errorf("%q is not an absolute path", v)
		}
		if *into = v; v != "" {
			*into = path.Clean(v)
		}
		return nil
	}
}
