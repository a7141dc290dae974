// Package cgroup is the only door to cgroupfs. It finds a container's control group below a given root, by a process of
// it or by its Docker id, reads what the group has used and how fast, and reads and writes what is set of it: CPU
// quota, burst and weight, the limits of memory and of processes. Version 1, version 2 and hybrid hosts look the same from
// outside, with Docker's cgroupfs and systemd drivers.
//
// It reads the kernel's small files itself: a library that loads whole hierarchies, D-Bus and eBPF would cost more than
// the handful of files that a sample of one container needs, once a second, for every container of the host. It never
// creates, removes or moves a group, and it never talks to the Docker Engine.
package cgroup
