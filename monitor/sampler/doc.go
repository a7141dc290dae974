// Package sampler measures one host: once an interval it reads the control group, network and service files of every container,
// and gives out a figures.Snapshot. Everything that is told to Zabbix, Prometheus and the others comes from there, so the files
// are read once however many ask. The Docker Engine is never asked: its statistics call takes seconds.
package sampler
