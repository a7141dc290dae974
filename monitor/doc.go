// Package monitor lets others watch one host's instances. Host state and container inventory come in, control group and /proc
// files are sampled once an interval (monitor/sampler), and every output answers from the newest snapshot in memory: a unix socket
// one item of Zabbix's in microseconds.
//
// Items are keyed by app and seat, never by container id, so that an instance's history goes on through every restart.
// The host's own zabbix_agentd asks through the UserParameter file (UserParameters) and the client berth-zabbix. The
// Docker Engine is never asked: its statistics call takes seconds.
package monitor
