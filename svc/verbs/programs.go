package verbs

// Programs lists the names under which this package answers, for the links of an image.
func Programs() []string {
	return []string{
		"chkconfig", "halt", "init", "initctl", "invoke-rc.d", "journalctl", "poweroff", "reboot", "runlevel", "service", "shutdown",
		"systemctl", "systemd-analyze", "systemd-run", "systemd-sysusers", "systemd-tmpfiles", "telinit", "update-rc.d",
	}
}

// program finds what a name runs.
func program(name string) func(*call, []string) int {
	switch name {
	case "service":
		return service
	case "systemctl":
		return systemctl
	}
	return nil
}
