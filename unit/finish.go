package unit

// finishService settles what depends on several settings, and refuses a service that cannot be, in systemd's words.
func (l *loader) finishService() {
	s, u := l.unit.Service, l.unit
	switch {
	case s.Type == "" && l.bus:
		s.Type = DBus
	case s.Type == "" && len(s.ExecStart) > 0:
		s.Type = Simple
	case s.Type == "":
		s.Type = Oneshot
	}
	if s.Type == Oneshot && !l.given["TimeoutStartSec"] && !l.given["TimeoutSec"] {
		s.TimeoutStart = 0
	}
	if s.NotifyAccess == "" || s.NotifyAccess == "none" {
		if s.NotifyAccess = "none"; s.Type == Notify || s.Type == NotifyReload {
			s.NotifyAccess = "main"
		}
	}
	s.RestartUnset = !l.given["Restart"]
	if s.RestartKillSignal == "" {
		s.RestartKillSignal = s.KillSignal
	}
	for _, m := range l.folderModes {
		for i := range *m.folders {
			(*m.folders)[i].Mode = *m.mode
		}
	}
	if l.startOnly {
		for _, list := range [][]Command{s.ExecCondition, s.ExecStartPre, s.ExecStartPost, s.ExecReload, s.ExecStop, s.ExecStopPost} {
			for i := range list {
				list[i].FullPrivilege = true
			}
		}
	}
	if why := misfit(s, l.given["SuccessAction"]); why != "" && !IsTemplate(u.Name) {
		l.bad = append(l.bad, u.Name+": "+why)
	}
}

// misfit says in systemd's words why a service's settings do not go together; empty: they do.
func misfit(s *Service, action bool) string {
	switch {
	case len(s.ExecStart) == 0 && action:
		return ""
	case len(s.ExecStart) == 0 && len(s.ExecStop) == 0:
		return "Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing."
	case len(s.ExecStart) == 0 && s.Type != Oneshot:
		return "Service has no ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
	case len(s.ExecStart) == 0 && !s.RemainAfterExit:
		return "Service has no ExecStart= and no SuccessAction= setting and does not have RemainAfterExit=yes set. Refusing."
	case len(s.ExecStart) > 1 && s.Type != Oneshot:
		return "Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
	case s.Type == Oneshot && (s.Restart == RestartAlways || s.Restart == RestartOnSuccess):
		return "Service has Restart= set to either always or on-success, which isn't allowed for Type=oneshot services. Refusing."
	}
	return ""
}
