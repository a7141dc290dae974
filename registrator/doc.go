// Package registrator keeps one host's instances in Consul: host state and container inventory come in, package services
// decides, and the difference to what the local Consul agent has is written there.
//
// An instance is registered once its own probes pass, with its container's own address; it is out within a second of its
// container's death, and before TERM when it drains. Only services with our owner's id in their meta are ever
// written or removed, always at the agent that has them, and only when they differ: a resync resets no check.
// The registrator never stops, starts or probes a container, and when it ends the services stay, as the containers do.
package registrator
