package verbs

import (
	"slices"
	"strings"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// property is one line of `systemctl show`.
type property struct{ name, value string }

// show prints what is known of units for a program. A unit that does not exist has properties, too: LoadState says so, and the code is 0.
func (s *ctl) show(names []string) int {
	if len(names) == 0 {
		s.print(s.managerProperties())
		return exitOK
	}
	first := true
	for _, name := range s.expand(names) {
		if !first {
			s.printf("\n")
		}
		first = false
		u := s.look(name)
		if u.hidden != nil {
			s.errorf("Failed to get properties of %s: %s", name, reason(u.hidden))
			return exitFailure
		}
		s.print(s.unitProperties(u))
	}
	return exitOK
}

// print keeps the order of the properties, not of the command line, as systemctl does. Empty ones show if they were asked for by name.
func (s *ctl) print(all []property) {
	for _, p := range all {
		asked := slices.ContainsFunc(s.properties, func(want string) bool { return want == p.name })
		switch {
		case len(s.properties) > 0 && !asked:
		case p.value == "" && !asked && !s.all:
		case s.value:
			s.printf("%s\n", p.value)
		default:
			s.printf("%s=%s\n", p.name, p.value)
		}
	}
}

// unitProperties are a unit's: of its kind first, then what all units have.
func (s *ctl) unitProperties(u seen) []property {
	var all []property
	switch {
	case u.Service != nil:
		all = s.serviceProperties(u)
	case u.Timer != nil:
		all = s.timerProperties(u)
	}
	return append(all, s.commonProperties(u)...)
}

// commonProperties are of the interface org.freedesktop.systemd1.Unit.
func (s *ctl) commonProperties(u seen) []property {
	list := func(names []string) string { return strings.Join(names, " ") }
	state := s.fileState(u.Unit)
	fragment, source := u.Path, ""
	if u.SysV != nil {
		fragment, source = "/run/systemd/generator.late/"+u.Name, u.SysV.Script
	}
	description := u.Description
	if description == "" {
		description = u.Name
	}
	loadError := ""
	switch u.Load {
	case unit.NotFound:
		loadError = `org.freedesktop.systemd1.NoSuchUnit "Unit ` + u.Name + ` not found."`
	case unit.Masked:
		loadError = `org.freedesktop.systemd1.UnitMasked "Unit ` + u.Name + ` is masked."`
	case unit.BadSetting:
		loadError = `org.freedesktop.systemd1.BadUnitSetting "Unit ` + u.Name + ` has a bad unit file setting."`
	}
	since, activeSince, inactiveSince := "", "", ""
	if !u.Since.IsZero() {
		since = s.when(u.Since)
		if u.Active == manager.IsActive || u.Active == manager.Reloading {
			activeSince = since
		} else if u.Active != manager.Activating {
			inactiveSince = since
		}
	}
	asserted := strings.HasPrefix(u.State.Condition, "Assert")
	loaded := u.Load == unit.Loaded
	startable := yesNo(loaded && !unit.IsTemplate(u.Name))
	return []property{
		{"Id", u.Name}, {"Names", list(u.Names)}, {"Requires", list(u.Requires)}, {"Requisite", list(u.Requisite)}, {"Wants", list(u.Wants)},
		{"BindsTo", list(u.BindsTo)}, {"OnSuccess", list(u.OnSuccess)}, {"OnFailure", list(u.OnFailure)}, {"PartOf", list(u.PartOf)}, {"WantedBy", s.wantedBy(u, u.Install.WantedBy)},
		{"RequiredBy", s.wantedBy(u, u.Install.RequiredBy)}, {"Conflicts", list(u.Conflicts)}, {"Before", list(u.Before)}, {"After", list(u.After)},
		{"Triggers", s.triggers(u)}, {"TriggeredBy", s.triggeredBy(u)}, {"PropagatesReloadTo", list(u.PropagatesReloadTo)},
		{"Documentation", list(u.Docs)}, {"Description", description}, {"LoadState", string(u.Load)}, {"ActiveState", string(u.Active)},
		{"FreezerState", "running"}, {"SubState", u.Sub}, {"FragmentPath", fragment}, {"SourcePath", source}, {"DropInPaths", list(u.DropIns)},
		{"UnitFileState", string(state)}, {"UnitFilePreset", s.preset(u.Name)}, {"StateChangeTimestamp", since},
		{"InactiveExitTimestamp", activeSince}, {"ActiveEnterTimestamp", activeSince}, {"ActiveExitTimestamp", inactiveSince},
		{"InactiveEnterTimestamp", inactiveSince}, {"CanStart", startable}, {"CanStop", yesNo(loaded)}, {"CanReload", yesNo(loaded && canReload(u.Unit))},
		{"CanIsolate", yesNo(u.Kind == unit.KindTarget && loaded)}, {"CanFreeze", "no"}, {"StopWhenUnneeded", "no"}, {"RefuseManualStart", yesNo(u.RefuseManualStart)},
		{"RefuseManualStop", yesNo(u.RefuseManualStop)}, {"AllowIsolate", "no"}, {"DefaultDependencies", s.setting(u, "Unit", "DefaultDependencies", "yes")},
		{"OnSuccessJobMode", "fail"}, {"OnFailureJobMode", "replace"}, {"IgnoreOnIsolate", "no"}, {"NeedDaemonReload", "no"},
		{"JobTimeoutUSec", "infinity"}, {"JobRunningTimeoutUSec", "infinity"}, {"JobTimeoutAction", "none"},
		{"ConditionResult", yesNo((u.State.Condition == "" || asserted) && !u.Since.IsZero())}, {"AssertResult", yesNo(!asserted && !u.Since.IsZero())},
		{"LoadError", loadError}, {"Transient", "no"}, {"Perpetual", "no"},
		{"StartLimitIntervalUSec", duration(u.StartLimitInterval)}, {"StartLimitBurst", number(u.StartLimitBurst)}, {"StartLimitAction", "none"},
		{"FailureAction", "none"}, {"SuccessAction", "none"}, {"CollectMode", "inactive"},
	}
}

// setting is the last value of a key, or what holds without one.
func (s *ctl) setting(u seen, section, key, otherwise string) string {
	for _, set := range slices.Backward(u.Settings) {
		if set.Section == section && set.Key == key {
			return set.Value
		}
	}
	return otherwise
}

// wantedBy keeps of the targets of [Install] those in which the unit is enabled.
func (s *ctl) wantedBy(u seen, targets []string) string {
	var all []string
	for _, target := range targets {
		t := s.units().Unit(target)
		if slices.Contains(t.Wants, u.Name) || slices.Contains(t.Requires, u.Name) {
			all = append(all, target)
		}
	}
	return strings.Join(all, " ")
}

// triggers is the unit that a timer, socket or path is for: of its name, unless it says another.
func (s *ctl) triggers(u seen) string {
	otherwise := strings.TrimSuffix(u.Name, "."+string(u.Kind)) + ".service"
	switch {
	case u.Load != unit.Loaded:
	case u.Timer != nil && u.Timer.Unit != "":
		return u.Timer.Unit
	case u.Kind == unit.KindTimer:
		return s.setting(u, "Timer", "Unit", otherwise)
	case u.Kind == unit.KindPath:
		return s.setting(u, "Path", "Unit", otherwise)
	case u.Kind == unit.KindSocket:
		return s.setting(u, "Socket", "Service", otherwise)
	}
	return ""
}

// triggeredBy are the units of the same name that would start a service.
func (s *ctl) triggeredBy(u seen) string {
	if u.Kind != unit.KindService || u.Load != unit.Loaded {
		return ""
	}
	var all []string
	for _, kind := range []string{".timer", ".socket", ".path"} {
		name := strings.TrimSuffix(u.Name, ".service") + kind
		if s.units().Unit(name).Load == unit.Loaded {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

// managerProperties are what `systemctl show` without a unit tells.
func (s *ctl) managerProperties() []property {
	known := s.known()
	all := []property{
		{"Version", strings.TrimPrefix(version, "systemd ")}, {"Virtualization", "docker"}, {"Architecture", architecture()},
		{"Tainted", ""}, {"NNames", number(len(known))}, {"NFailedUnits", number(s.failed())}, {"NJobs", "0"},
		{"UnitPath", strings.Join([]string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"}, " ")},
		{"DefaultStandardOutput", "journal"}, {"DefaultStandardError", "inherit"}, {"DefaultTimeoutStartUSec", "1min 30s"},
		{"DefaultTimeoutStopUSec", "1min 30s"}, {"DefaultRestartUSec", "100ms"}, {"DefaultStartLimitIntervalUSec", "10s"}, {"DefaultStartLimitBurst", "5"},
		{"SystemState", s.systemState()},
	}
	if since, ok := s.bootTime(); ok {
		all = slices.Insert(all, 4, property{"UserspaceTimestamp", s.when(since)})
	}
	return all
}
