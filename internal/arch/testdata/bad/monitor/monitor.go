// Package monitor is a component.
package monitor
