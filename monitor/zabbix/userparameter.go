package zabbix

import (
	"bytes"
	"fmt"
	"strings"
)

// HostKeys are the keys without parameters, and ListKeys those with [GROUP,PAGE,PAGES], which beside the figures are answered.
func HostKeys() []string { return []string{"berth.ping", "berth.version", "berth.pages", "berth.host"} }

// ListKeys are the discoveries and the master items.
func ListKeys() []string {
	return []string{
		"berth.discovery", "berth.instances", "berth.networks.discovery", "berth.networks", "berth.services.discovery", "berth.services",
	}
}

// UserParameters is the file for zabbix_agentd's Include folder: binary is where berth-zabbix lies, socket the monitor's.
// Zabbix itself refuses parameters with characters that a shell would act on.
func UserParameters(binary, socket string) []byte {
	var b bytes.Buffer
	b.WriteString("# Items of Berth's instances, for zabbix_agentd. Made by Berth; changes are lost.\n")
	add := func(params int, key string) {
		star, quoted := "", strings.Builder{}
		for n := range params {
			star = "[*]"
			fmt.Fprintf(&quoted, " \"$%d\"", n+1)
		}
		fmt.Fprintf(&b, "UserParameter=%s%s,%s --socket %s %s%s\n", key, star, binary, socket, key, quoted.String())
	}
	for _, key := range HostKeys() {
		add(0, key)
	}
	for _, key := range ListKeys() {
		add(3, key)
	}
	for _, f := range HostFigures() {
		add(0, f.Key)
	}
	for _, f := range InstanceFigures() {
		add(2, f.Key)
	}
	for _, f := range InterfaceFigures() {
		add(3, f.Key)
	}
	for _, f := range ServiceFigures() {
		add(3, f.Key)
	}
	return b.Bytes()
}
