package monitor

import (
	"bytes"
	"fmt"
)

// hostKeys take no instance; seatKeys take [APP,SEAT].
func hostKeys() []string { return []string{"berth.ping", "berth.version", "berth.discovery"} }

func seatKeys() []string {
	return []string{
		"berth.cpu.usage", "berth.cpu.quota", "berth.cpu.throttled", "berth.mem.used", "berth.mem.limit", "berth.mem.pct",
		"berth.net.in", "berth.net.out", "berth.procs", "berth.uptime", "berth.health",
	}
}

// UserParameters is the file for zabbix_agentd's Include folder: binary is where berth-zabbix lies, socket the monitor's.
// Zabbix itself refuses parameters with characters that a shell would act on.
func UserParameters(binary, socket string) []byte {
	var b bytes.Buffer
	b.WriteString("# Items of Berth's instances, for zabbix_agentd. Made by Berth; changes are lost.\n")
	command := fmt.Sprintf("%s --socket %s", binary, socket)
	for _, key := range hostKeys() {
		if key == "berth.discovery" {
			fmt.Fprintf(&b, "UserParameter=%s[*],%s %s \"$1\"\n", key, command, key)
			continue
		}
		fmt.Fprintf(&b, "UserParameter=%s,%s %s\n", key, command, key)
	}
	for _, key := range seatKeys() {
		fmt.Fprintf(&b, "UserParameter=%s[*],%s %s \"$1\" \"$2\"\n", key, command, key)
	}
	return b.Bytes()
}
