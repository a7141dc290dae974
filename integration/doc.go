// Package integration holds the tests that need the real world: a Docker Engine, a Consul server, network namespaces, root.
// They know Berth only from outside, by its command line, its API and what it does to the machine. Package rig below sets the
// world up; command bench measures it. Run them with `make test`, or `go test -tags integration ./integration`.
package integration
