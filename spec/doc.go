// Package spec holds Berth's nouns: apps, seats, tasks, pools, leases, deployments, the host document, and the label
// keys that travel with containers. Every component may import it; it imports nothing but the standard library's values
// and never does I/O, reads a clock or starts a goroutine.
//
// The JSON form of these types is Berth's own storage and host-document form (Go field names). It is not Marathon's:
// only scheduler/marathon knows Marathon's names.
package spec
