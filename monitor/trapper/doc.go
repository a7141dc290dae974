// Package trapper tells Zabbix of this host's instances, each a host of Zabbix's own: once an interval the figures of every seat
// whose task runs here go to the trapper item of the seat's host, with the protocol of zabbix_sender. Snapshots and the host
// document come in, frames go out to Zabbix servers and proxies, which are kept for them while they are away, up to a limit. It
// never holds up who measures.
package trapper
