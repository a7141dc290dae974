package verbs

// Programs lists the names under which this package answers, for the links of an image.
func Programs() []string {
	return []string{
		"chkconfig", "halt", "init", "initctl", "invoke-rc.d", "journalctl", "poweroff", "reboot", "runlevel", "service", "shutdown",
		"start-stop-daemon", "systemctl", "systemd-analyze", "systemd-detect-virt", "systemd-escape", "systemd-notify", "systemd-run", "systemd-sysusers", "systemd-tmpfiles", "telinit", "update-rc.d",
	}
}

// program finds what a name runs.
func program(name string) func(*call, []string) int {
	switch name {
	case "systemctl":
		return systemctl
	case "service":
		return service
	case "chkconfig":
		return chkconfig
	case "update-rc.d":
		return updateRC
	case "invoke-rc.d":
		return invokeRC
	case "runlevel":
		return showRunlevel
	case "init", "telinit":
		return telinit
	case "shutdown":
		return shutdown
	case "poweroff", "halt", "reboot":
		return powerOff
	case "initctl":
		return initctl
	case "start-stop-daemon":
		return startStopDaemon
	case "journalctl":
		return journalctl
	case "systemd-tmpfiles":
		return tmpfiles
	case "systemd-sysusers":
		return sysusers
	case "systemd-analyze":
		return analyze
	case "systemd-run":
		return systemdRun
	case "systemd-detect-virt":
		return detectVirt
	case "systemd-escape":
		return escapeTexts
	case "systemd-notify":
		return notify
	}
	return nil
}
