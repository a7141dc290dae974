// Package cpuquota keeps the hard CPU quota of every container on one host: package policy decides it from the host
// document and the container's labels, and once a second it is compared with the control group. What somebody or
// something changed is put back and logged with the reason. On the way it measures what the containers use.
//
// The quota is there before a container's first process, as the engine creates it; this package keeps it so through
// restarts of the engine, updates by hand and changes of the document. It never talks to the Docker Engine.
package cpuquota
