// Package arch holds a test and nothing else: it reads the source tree and fails, with the reason, where a package breaks one
// of the rules of docs/architecture.md: who may import whom, what a deciding package may do, which package is the one door to
// a foreign system, and what every package must have. The rules stand in rules_test.go.
package arch
