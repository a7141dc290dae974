package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// What a seat is called in Zabbix, where it is a host of its own. The scheduler's discovery makes these hosts and the hosts'
// agents feed them, so both must find the same name.
const (
	// DefaultCluster is the cluster's name in them.
	DefaultCluster = "berth"
	// ZabbixFigures is the key of the trapper item that takes all figures of an instance at once, as JSON.
	ZabbixFigures = "berth.figures"

	maxZabbixHost = 128 // of hosts.host in Zabbix's schema, in characters
	maxCluster    = 32
)

// CheckCluster refuses names that Zabbix's host names could not begin with, or after which the rest could not be told apart.
func CheckCluster(name string) error {
	if name == "" || len(name) > maxCluster {
		return fmt.Errorf("cluster %q: need 1 to %d letters, digits and dashes", name, maxCluster)
	}
	for _, c := range []byte(name) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return fmt.Errorf("cluster %q: need 1 to %d letters, digits and dashes", name, maxCluster)
		}
	}
	return nil
}

// ZabbixHost is the technical name of the seat's host: "berth.prod_web.0" for seat 0 of "/prod/web". Ids cannot contain "_", so
// no two seats have the same; those that are too long are cut after a part of the id and have a digest of it after "__", which no
// whole one contains. "" is DefaultCluster.
func (s SeatID) ZabbixHost(cluster string) string {
	if cluster == "" {
		cluster = DefaultCluster
	}
	name := cluster + "." + s.Safe()
	if len(name) <= maxZabbixHost {
		return name
	}
	tail := "__" + HostnameSuffix(s.App) + "." + strconv.Itoa(s.Index)
	return strings.TrimRight(name[:maxZabbixHost-len(tail)], "_") + tail
}
