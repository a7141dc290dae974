// Package monitor lets others watch one host's instances. Host state and container inventory come in, control group and /proc
// files are sampled once an interval (monitor/sampler), and every output answers from the newest snapshot in memory: Zabbix's
// items (monitor/zabbix) over a unix socket and a port that speaks the protocol of an agent (monitor/zbxd).
//
// Items are keyed by app and seat, never by container id, so that an instance's history goes on through every restart.
// The host's own zabbix_agentd asks through the UserParameter file and the client berth-zabbix. The
// Docker Engine is never asked: its statistics call takes seconds.
package monitor
