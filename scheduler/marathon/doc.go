// Package marathon turns Marathon's JSON into spec.App and back. It alone knows Marathon's names.
//
// In: a body as any Marathon client since 0.8 sends it, in the legacy or the 1.5+ form. Out: the canonical app, or
// *Faults with every violation and its path. A body passes these steps, each of which collects all its faults before the
// next one begins:
//
//	parse      bytes -> node tree (Faults.Syntax: 400)
//	read       tree -> draft: types, limits, patterns, enums ("Invalid JSON")
//	normalise  draft -> draft without legacy fields (ports, uris, ipAddress, docker.network and their like)
//	complete   draft -> spec.App with Marathon's defaults
//	validate   the app by itself; ValidateTree: the app among the others ("Object is not valid")
//
// Encode is the way back; it writes the canonical form only. What an installation permits beyond being valid Marathon
// (privileged containers, host paths, docker parameters) is scheduler/admit's question. The package does no I/O and reads
// no clock: service ports and versions are assigned by the owner of the tree (AssignServicePorts).
package marathon
